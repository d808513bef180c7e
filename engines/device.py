"""Memory, streams and graphs of one GPU, by pycuda or, where it is not built, by NVIDIA's cuda.bindings.

Both use the GPU's primary context, which TensorRT, torch and onnxruntime share. A device and all it hands out belong to
the thread that opened it. The context is current only between `push` and `pop`: pycuda ends the process (abort) when a
thread ends while one is pushed, so that nothing may be left pushed between two calls of an engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.types import Image
from dtda.engines import driver
from dtda.engines.driver import DeviceError as DeviceError

LIBRARIES = ("pycuda", "cuda.bindings")  # the first that is installed is used
_MODULES = {"pycuda": "pycuda.driver", "cuda.bindings": "cuda.bindings.driver"}
_WAY_OUT = "close other programs that use it, or choose an engine of onnxruntime"
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: never waits for what others put on the default stream


@dataclass(frozen=True, slots=True)
class Stream:
    """handle: CUstream, as TensorRT takes it. kept: what keeps it alive."""

    handle: int
    kept: Any = None


@dataclass(frozen=True, slots=True)
class Memory:
    """On the GPU. pointer: CUdeviceptr."""

    pointer: int
    nbytes: int
    kept: Any = None


@dataclass(frozen=True, slots=True)
class Pinned:
    """Page-locked memory of the host. bytes: uint8 [nbytes]; not to be touched after it is freed."""

    bytes: Image
    kept: Any = None


class Device(Protocol):
    """One GPU for one thread. Every method but `close` may raise DeviceError.

    name: the GPU's. library: "pycuda" or "cuda.bindings". Copies are asynchronous; the pinned array belongs to the
    stream until `synchronise`.
    """

    name: str
    library: str

    def push(self) -> None: ...
    def pop(self) -> None: ...
    def stream(self) -> Stream: ...
    def alloc(self, nbytes: int) -> Memory: ...
    def pinned(self, nbytes: int) -> Pinned: ...
    def upload(self, target: Memory, source: Pinned, nbytes: int, stream: Stream) -> None: ...
    def download(self, target: Pinned, source: Memory, nbytes: int, stream: Stream) -> None: ...
    def synchronise(self, stream: Stream) -> None: ...
    def capture(self, stream: Stream, work: Callable[[], bool]) -> int:
        """A graph of what `work` enqueues, 0 when it cannot be captured; see `driver.capture`."""

    def launch(self, graph: int, stream: Stream) -> None: ...
    def free_graph(self, graph: int) -> None: ...
    def free(self, thing: Stream | Memory | Pinned) -> None: ...
    def memory_info(self) -> tuple[int, int]:
        """Bytes (free, total)."""

    def close(self) -> None:
        """Give the context back; all it handed out is freed and nothing pushed. Idempotent."""


def installed() -> list[str]:
    """The device libraries that are installed, the one that is used first. Imports none of them."""
    return [name for name in LIBRARIES if _there(name)]


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is not there
        return False


def open_device(index: int = 0, library: str | None = None) -> Device:
    """A GPU, with nothing pushed. library: one of LIBRARIES, the first that is installed unless named.

    Raises DtdaError. What is installed but does not load is an error, never a reason to take the other one.
    """
    name = library or next(iter(installed()), LIBRARIES[-1])
    if name not in LIBRARIES:
        raise DtdaError(f"{name} is not a library for CUDA; {' and '.join(LIBRARIES)} are.")
    try:
        module = importlib.import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        if error.name is None or not _MODULES[name].startswith(error.name):
            raise _broken(name, error) from error
        raise DtdaError(f"{name} is not installed; {install_line(name)}.") from error
    except (ImportError, OSError, RuntimeError) as error:  # "libcuda.so.1: cannot open shared object file"
        raise _broken(name, error) from error
    return PycudaDevice(module, index) if name == "pycuda" else BindingsDevice(module, index)


def _broken(name: str, error: Exception) -> DtdaError:
    return DtdaError(
        f"{name} is installed but does not load ({driver.first_line(error)}); see docs/gpu.md, or use "
        f"{'cuda.bindings' if name == 'pycuda' else 'pycuda'} in its place."
    )


def install_line(library: str, cuda: int = 13000) -> str:
    """The pip line for a device library. cuda: what the driver offers, as cuDriverGetVersion says it."""
    if library == "pycuda":
        return "pip install pycuda"
    return f'pip install "cuda-bindings>={cuda // 1000},<{cuda // 1000 + 1}"'


class _Graphs:
    """CUDA graphs and the check of the thread, the same for both libraries."""

    def capture(self, stream: Stream, work: Callable[[], bool]) -> int:
        return driver.capture(stream.handle, work)

    def launch(self, graph: int, stream: Stream) -> None:
        driver.launch(graph, stream.handle)

    def free_graph(self, graph: int) -> None:
        driver.free_graph(graph)


class PycudaDevice(_Graphs):
    """By pycuda; see `Device`. pycuda.autoinit is never imported: its context is not the primary one."""

    library = "pycuda"

    def __init__(self, cuda: Any, index: int = 0) -> None:
        """cuda: the module pycuda.driver."""
        self._cuda = cuda
        self._primary = 0  # the context's handle, once it was pushed
        self._context: Any = None
        with self._told("starting"):
            cuda.init()
            if index >= cuda.Device.count():
                raise DeviceError(f"There is no GPU {index}; nvidia-smi lists those there are.")
            gpu = cuda.Device(index)
            self.name = str(gpu.name())
            self._context = gpu.retain_primary_context()

    def push(self) -> None:
        with self._told("taking the GPU's context"):
            self._context.push()
            self._primary = self._primary or driver.current_context()

    def pop(self) -> None:
        with self._told("leaving the GPU's context"):
            self._cuda.Context.pop()

    def stream(self) -> Stream:
        with self._told("making a stream"):
            made = self._cuda.Stream(_NON_BLOCKING)
            return Stream(int(made.handle), made)

    def alloc(self, nbytes: int) -> Memory:
        with self._told(f"allocating {nbytes} bytes of GPU memory"):
            made = self._cuda.mem_alloc(nbytes)
            return Memory(int(made), nbytes, made)

    def pinned(self, nbytes: int) -> Pinned:
        with self._told(f"allocating {nbytes} bytes of page-locked memory"):
            return Pinned(self._cuda.pagelocked_empty(nbytes, np.uint8))

    def upload(self, target: Memory, source: Pinned, nbytes: int, stream: Stream) -> None:
        with self._told("copying to the GPU"):
            self._cuda.memcpy_htod_async(target.pointer, source.bytes[:nbytes], stream.kept)

    def download(self, target: Pinned, source: Memory, nbytes: int, stream: Stream) -> None:
        with self._told("copying from the GPU"):
            self._cuda.memcpy_dtoh_async(target.bytes[:nbytes], source.pointer, stream.kept)

    def synchronise(self, stream: Stream) -> None:
        with self._told("waiting for the GPU"):
            stream.kept.synchronize()

    def free(self, thing: Stream | Memory | Pinned) -> None:
        with self._told("freeing"):
            if isinstance(thing, Memory):
                thing.kept.free()
            elif isinstance(thing, Pinned):
                thing.bytes.base.free()  # type: ignore[union-attr]  # of pagelocked_empty: its host allocation
            # A stream ends with the last reference to it.

    def memory_info(self) -> tuple[int, int]:
        with self._told("asking for the free memory"):
            free, total = self._cuda.mem_get_info()
            return int(free), int(total)

    def close(self) -> None:
        if self._context is None:
            return
        context, self._context = self._context, None
        before = driver.current_context()
        try:
            with self._told("giving the GPU's context back"):
                # By name: left to the garbage collector, pycuda detaches a primary context as if it were not one.
                context.detach()
        finally:
            # pycuda pushes the context in order to detach it, and leaves it there: on top of another one, or of the same
            # where torch, say, has made it current, which is to stay so. A push that failed changes nothing.
            after = driver.current_context()
            if after != before or (after and self._primary in (0, after)):
                driver.pop_context()

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:  # its errors share no base with Python's of the same names
            raise DeviceError(f"The GPU failed while {doing} ({driver.first_line(error)}); {_WAY_OUT}.") from error


class BindingsDevice(_Graphs):
    """By cuda.bindings.driver, which needs no compiler; see `Device`."""

    library = "cuda.bindings"

    def __init__(self, cuda: Any, index: int = 0) -> None:
        """cuda: the module cuda.bindings.driver."""
        self._cuda = cuda
        self._gpu: Any = None
        try:
            self._call("cuInit", 0)
        except RuntimeError as error:  # it looks for the driver at the first call only
            raise DeviceError(f"cuda.bindings finds no NVIDIA driver ({driver.first_line(error)}).") from error
        if index >= self._call("cuDeviceGetCount"):
            raise DeviceError(f"There is no GPU {index}; nvidia-smi lists those there are.")
        gpu = self._call("cuDeviceGet", index)
        self.name = self._call("cuDeviceGetName", 256, gpu).split(b"\0")[0].decode(errors="replace")
        self._context = self._call("cuDevicePrimaryCtxRetain", gpu)
        self._gpu = gpu

    def push(self) -> None:
        self._call("cuCtxPushCurrent", self._context)

    def pop(self) -> None:
        self._call("cuCtxPopCurrent")

    def stream(self) -> Stream:
        made = self._call("cuStreamCreate", _NON_BLOCKING)
        return Stream(int(made), made)

    def alloc(self, nbytes: int) -> Memory:
        made = self._call("cuMemAlloc", nbytes)
        return Memory(int(made), nbytes, made)

    def pinned(self, nbytes: int) -> Pinned:
        pointer = int(self._call("cuMemHostAlloc", nbytes, 0))
        block = (ctypes.c_uint8 * nbytes).from_address(pointer)
        return Pinned(np.ctypeslib.as_array(block), pointer)

    def upload(self, target: Memory, source: Pinned, nbytes: int, stream: Stream) -> None:
        self._call("cuMemcpyHtoDAsync", target.kept, source.kept, nbytes, stream.kept)

    def download(self, target: Pinned, source: Memory, nbytes: int, stream: Stream) -> None:
        self._call("cuMemcpyDtoHAsync", target.kept, source.kept, nbytes, stream.kept)

    def synchronise(self, stream: Stream) -> None:
        self._call("cuStreamSynchronize", stream.kept)

    def free(self, thing: Stream | Memory | Pinned) -> None:
        function = {Stream: "cuStreamDestroy", Memory: "cuMemFree", Pinned: "cuMemFreeHost"}[type(thing)]
        self._call(function, thing.kept)

    def memory_info(self) -> tuple[int, int]:
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def close(self) -> None:
        if self._gpu is not None:
            gpu, self._gpu = self._gpu, None
            self._call("cuDevicePrimaryCtxRelease", gpu)

    def _call(self, function: str, *arguments: Any) -> Any:
        """The value of a driver call, a tuple when there are several. Raises DeviceError on any result but success."""
        result, *values = getattr(self._cuda, function)(*arguments)
        if int(result):
            raise DeviceError(f"The GPU failed in {function} ({getattr(result, 'name', int(result))}); {_WAY_OUT}.")
        return values[0] if len(values) == 1 else tuple(values)
