"""A GPU without one: the driver, pycuda and cuda.bindings as far as this program uses them; see also fake_tensorrt.

They keep the rules a real GPU keeps, so that host code that breaks one fails here too: a current context for every
call, copies that happen when the stream gets to them, freed memory that is poisoned, page-locked memory that must not be
touched meanwhile, destruction in order and in the thread of the making, graphs that are good for one shape only.
What a GPU would compute, onnxruntime computes on the CPU. Broken rules that a GPU would punish later or not at all are
collected in `Gpu.violations`; `Gpu.leaks` tells what was never freed.

`Gpu.fail["cuMemAlloc_v2"] = 2` makes that call return 2 from then on.
"""

from __future__ import annotations

import contextlib
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

PRIMARY = 0x1000  # the handle of the primary context
POISON = 0xDD
SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE, INVALID_CONTEXT = 0, 1, 2, 100, 201
INVALID_HANDLE, UNSUPPORTED_IN_CAPTURE, CAPTURE_INVALIDATED = 400, 900, 901

Work = Callable[[], None]


@dataclass
class Recording:
    """A stream's capture under way."""

    thread: int
    mode: int
    works: list[Work] = field(default_factory=list)
    valid: bool = True


class Gpu:
    """State of the driver and of one GPU; the methods are the driver's functions with CUresults."""

    def __init__(self, name: str = "Fake GPU", compute_capability: str = "8.9", cuda: int = 13000) -> None:
        self.name, self.compute_capability, self.cuda = name, compute_capability, cuda
        self.total = 8 << 30
        self.fail: dict[str, int] = {}
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.retained = 0
        self.stacks: dict[int, list[int]] = {}
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.streams: dict[int, list[Work]] = {}
        self.captures: dict[int, Recording] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.users: dict[int, set[int]] = {}  # execution context -> the pointers and streams it was given
        self.launches = 0
        self.graveyard: list[np.ndarray] = []  # freed memory, kept so that its address is not given out again
        self._next = 0x10

    # -- what tests ask -------------------------------------------------------------------------------------------

    @property
    def leaks(self) -> dict[str, int]:
        things = {
            "memory": len(self.memory), "pinned": len(self.pinned), "streams": len(self.streams),
            "graphs": len(self.graphs) + len(self.executables), "contexts": self.retained,
            "pushed": sum(map(len, self.stacks.values())),
        }  # fmt: skip
        return {name: count for name, count in things.items() if count}

    # -- rules ----------------------------------------------------------------------------------------------------

    def check(self, function: str, context: bool = True) -> int:
        """What the call would return before doing anything."""
        self.calls.append(function)
        if function in self.fail:
            return self.fail[function]
        if context and not self.stack():
            return INVALID_CONTEXT
        return SUCCESS

    def stack(self) -> list[int]:
        return self.stacks.setdefault(threading.get_ident(), [])

    def handle(self) -> int:
        self._next += 0x10
        return self._next

    def enqueue(self, stream: int, work: Work) -> int:
        """Put work on a stream: it is done at the next synchronise, or recorded where a capture is under way."""
        if stream not in self.streams:
            self.violations.append(f"work for the stream {stream:#x}, which is none of ours")
            return INVALID_HANDLE
        recording = self.captures.get(stream)
        if recording is not None:
            recording.works.append(work)
        else:
            self.streams[stream].append(work)
        return SUCCESS

    def outlived(self, function: str, freed: int) -> None:
        """Nothing may be freed before the execution contexts that were given it."""
        if any(freed in given for given in self.users.values()):
            self.violations.append(f"{function} of what an execution context still has")

    def drain(self, stream: int) -> None:
        works, self.streams[stream] = self.streams[stream], []
        for work in works:
            work()

    def block(self, pointer: int, nbytes: int, where: dict[int, np.ndarray], what: str) -> np.ndarray:
        """The memory a pointer means, poisoned where it is not alive or too small."""
        found = where.get(pointer)
        if found is None or found.nbytes < nbytes:
            self.violations.append(f"{what} of {nbytes} bytes at {pointer:#x}, which is not that large or was freed")
            return np.full(nbytes, POISON, np.uint8)
        return found[:nbytes]

    # -- the driver -----------------------------------------------------------------------------------------------

    def allocate(self, function: str, nbytes: int, where: dict[int, np.ndarray]) -> tuple[int, int]:
        code = self.check(function)
        if code == SUCCESS and (nbytes <= 0 or nbytes > self.total):
            code = INVALID_VALUE if nbytes <= 0 else OUT_OF_MEMORY
        if code == SUCCESS and self.captures:
            self.violations.append(f"{function} during a capture")
        if code:
            return code, 0
        block = np.full(nbytes, POISON, np.uint8)
        where[block.ctypes.data] = block
        return SUCCESS, block.ctypes.data

    def release(self, function: str, pointer: int, where: dict[int, np.ndarray]) -> int:
        code = self.check(function)
        if code:
            return code
        if pointer not in where:
            self.violations.append(f"{function} of {pointer:#x}, which is not alive")
            return INVALID_VALUE
        if any(self.streams.values()):
            self.violations.append(f"{function} while work is on a stream")
        self.outlived(function, pointer)
        block = where.pop(pointer)
        block[:] = POISON
        self.graveyard.append(block)
        return SUCCESS

    def copy(self, function: str, target: int, source: int, nbytes: int, stream: int) -> int:
        """To the GPU or from it; the host side must be page-locked, else the copy would not be asynchronous."""
        code = self.check(function)
        if code:
            return code
        to_gpu = function.startswith("cuMemcpyHtoD")
        target_in, source_in = (self.memory, self.pinned) if to_gpu else (self.pinned, self.memory)
        if (source if to_gpu else target) not in self.pinned:
            self.violations.append(f"{function} with memory that is not page-locked")

        def work() -> None:
            self.block(target, nbytes, target_in, function)[:] = self.block(source, nbytes, source_in, function)

        return self.enqueue(stream, work)

    def synchronise(self, stream: int) -> int:
        code = self.check("cuStreamSynchronize")
        if code:
            return code
        if stream not in self.streams:
            return INVALID_HANDLE
        if stream in self.captures:
            self.captures[stream].valid = False
            return UNSUPPORTED_IN_CAPTURE
        self.drain(stream)
        return SUCCESS

    def make_stream(self, flags: int) -> tuple[int, int]:
        code = self.check("cuStreamCreate")
        if code:
            return code, 0
        if flags != 1:
            self.violations.append("a stream that waits for the default stream")
        stream = self.handle()
        self.streams[stream] = []
        return SUCCESS, stream

    def end_stream(self, stream: int) -> int:
        code = self.check("cuStreamDestroy_v2")
        if code:
            return code
        if self.streams.get(stream):
            self.violations.append("a stream was destroyed with work on it")
        self.outlived("cuStreamDestroy_v2", stream)
        return SUCCESS if self.streams.pop(stream, None) is not None else INVALID_HANDLE

    def begin_capture(self, stream: int, mode: int) -> int:
        code = self.check("cuStreamBeginCapture_v2")
        if code:
            return code
        if mode != 1:
            self.violations.append("a capture that other threads can break")
        if self.streams.get(stream):
            self.violations.append("a capture of a stream with work on it")
        self.captures[stream] = Recording(threading.get_ident(), mode)
        return SUCCESS

    def end_capture(self, stream: int) -> tuple[int, int]:
        code = self.check("cuStreamEndCapture")
        recording = self.captures.pop(stream)
        if recording.thread != threading.get_ident():
            self.violations.append("a capture was ended in another thread")
        if code or not recording.valid:
            return code or CAPTURE_INVALIDATED, 0
        graph = self.handle()
        self.graphs[graph] = recording.works
        return SUCCESS, graph

    def instantiate(self, graph: int) -> tuple[int, int]:
        code = self.check("cuGraphInstantiateWithFlags")
        if code:
            return code, 0
        executable = self.handle()
        self.executables[executable] = self.graphs[graph]
        return SUCCESS, executable

    def launch(self, executable: int, stream: int) -> int:
        code = self.check("cuGraphLaunch")
        if code:
            return code
        if executable not in self.executables:
            self.violations.append("a graph that was destroyed is launched")
            return INVALID_HANDLE
        self.launches += 1
        works = self.executables[executable]
        return self.enqueue(stream, lambda: [work() for work in works] and None)

    def push(self, context: int) -> int:
        code = self.check("cuCtxPushCurrent_v2", context=False)
        if code == SUCCESS:
            self.stack().append(context)
        return code

    def pop(self) -> int:
        code = self.check("cuCtxPopCurrent_v2")
        if code == SUCCESS:
            self.stack().pop()
        return code

    def retain(self) -> int:
        code = self.check("cuDevicePrimaryCtxRetain", context=False)
        self.retained += code == SUCCESS
        return code

    def release_context(self) -> int:
        code = self.check("cuDevicePrimaryCtxRelease_v2", context=False)
        if code == SUCCESS:
            self.retained -= 1
            if self.retained < 0:
                self.violations.append("the primary context was released more often than retained")
            if self.retained == 0 and (self.memory or self.pinned or self.streams):
                self.violations.append("the context was given back before what it holds was freed")
        return code


class Library:
    """libcuda as `engines.driver` calls it through ctypes; results are written where byref points."""

    def __init__(self, gpu: Gpu, devices: int = 1) -> None:
        self._gpu, self._devices = gpu, devices

    def cuInit(self, flags: int) -> int:
        return self._gpu.check("cuInit", context=False)

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self._gpu.cuda
        return self._gpu.check("cuDriverGetVersion", context=False)

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._devices
        return self._gpu.check("cuDeviceGetCount", context=False)

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return self._gpu.check("cuDeviceGet", context=False)

    def cuDeviceGetName(self, text: Any, size: int, device: Any) -> int:
        text.value = self._gpu.name.encode()
        return self._gpu.check("cuDeviceGetName", context=False)

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = int(self._gpu.compute_capability.split(".")[{75: 0, 76: 1}[attribute]])
        return self._gpu.check("cuDeviceGetAttribute", context=False)

    def cuDeviceTotalMem_v2(self, value: Any, device: Any) -> int:
        value._obj.value = self._gpu.total
        return self._gpu.check("cuDeviceTotalMem_v2", context=False)

    def cuGetErrorName(self, code: int, text: Any) -> int:
        text._obj.value = f"CUDA_ERROR_{code}".encode()
        return SUCCESS

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = b"as injected"
        return SUCCESS

    def cuCtxGetCurrent(self, context: Any) -> int:
        stack = self._gpu.stack()
        context._obj.value = stack[-1] if stack else None
        return SUCCESS

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        return self._gpu.pop()

    def cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        return self._gpu.begin_capture(stream, mode)

    def cuStreamEndCapture(self, stream: int, graph: Any) -> int:
        code, made = self._gpu.end_capture(stream)
        graph._obj.value = made or None
        return code

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: int) -> int:
        code, made = self._gpu.instantiate(graph.value)
        executable._obj.value = made or None
        return code

    def cuGraphLaunch(self, executable: int, stream: int) -> int:
        return self._gpu.launch(executable, stream)

    def cuGraphDestroy(self, graph: Any) -> int:
        return SUCCESS if self._gpu.graphs.pop(graph.value, None) is not None else INVALID_VALUE

    def cuGraphExecDestroy(self, executable: int) -> int:
        code = self._gpu.check("cuGraphExecDestroy")
        return code or (SUCCESS if self._gpu.executables.pop(executable, None) is not None else INVALID_VALUE)


def pycuda_driver(gpu: Gpu) -> ModuleType:
    """The module pycuda.driver, with pycuda's own ways: see engines/device.py and pycuda's src/cpp/cuda.hpp."""
    module = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class LogicError(Error):
        pass

    class CudaMemoryError(Error):
        pass

    def guarded(function: str, code: int) -> None:
        if code:
            kind = CudaMemoryError if code == OUT_OF_MEMORY else LogicError
            raise kind(f"{function} failed: as injected ({code})")

    class Context:
        def __init__(self) -> None:
            self.thread, self.valid = threading.get_ident(), False
            guarded("cuDevicePrimaryCtxRetain", gpu.retain())
            self.valid = True

        def push(self) -> None:
            if threading.get_ident() != self.thread:
                gpu.violations.append("a context was pushed in another thread")
            guarded("cuCtxPushCurrent", gpu.push(PRIMARY))

        @staticmethod
        def pop() -> None:
            guarded("cuCtxPopCurrent", gpu.pop())

        def detach(self) -> None:
            gpu.push(PRIMARY)  # and leaves it there
            self.valid = False
            guarded("cuDevicePrimaryCtxRelease", gpu.release_context())

        def __del__(self) -> None:
            if self.valid:
                gpu.violations.append("a primary context was left to the garbage collector: cuCtxDetach fails on it")

    class Owned:
        """What belongs to a context and a thread."""

        def __init__(self) -> None:
            self.thread, self.alive = threading.get_ident(), True

        def end(self, what: str, code: Callable[[], int]) -> None:
            if threading.get_ident() != self.thread:
                gpu.violations.append(f"{what} was freed in another thread")
            if not self.alive:
                raise LogicError(f"{what}::free failed: invalid resource handle")
            self.alive = False
            guarded(what, code())

        def collected(self, end: Callable[[], None]) -> None:
            """As the destructors do: in the context of their own, and without an exception."""
            if self.alive:
                gpu.stack().append(PRIMARY)
                with contextlib.suppress(Error):
                    end()
                gpu.stack().pop()

    class Stream(Owned):
        def __init__(self, flags: int = 0) -> None:
            super().__init__()
            code, self.handle = gpu.make_stream(flags)
            self.alive = code == SUCCESS
            guarded("cuStreamCreate", code)

        def synchronize(self) -> None:
            guarded("cuStreamSynchronize", gpu.synchronise(self.handle))

        def __del__(self) -> None:
            self.collected(lambda: self.end("stream", lambda: gpu.end_stream(self.handle)))

    class DeviceAllocation(Owned):
        def __init__(self, nbytes: int) -> None:
            super().__init__()
            code, self.pointer = gpu.allocate("cuMemAlloc_v2", nbytes, gpu.memory)
            self.alive = code == SUCCESS
            guarded("cuMemAlloc", code)

        def __int__(self) -> int:
            return self.pointer

        def free(self) -> None:
            self.end("device_allocation", lambda: gpu.release("cuMemFree_v2", self.pointer, gpu.memory))

        def __del__(self) -> None:
            self.collected(self.free)

    class PagelockedHostAllocation(Owned):
        def __init__(self, nbytes: int) -> None:
            super().__init__()
            code, self.pointer = gpu.allocate("cuMemHostAlloc", nbytes, gpu.pinned)
            self.alive = code == SUCCESS
            guarded("cuMemHostAlloc", code)
            self.__array_interface__ = gpu.pinned[self.pointer].__array_interface__

        def free(self) -> None:
            self.end("pagelocked_host_allocation", lambda: gpu.release("cuMemFreeHost", self.pointer, gpu.pinned))

        def __del__(self) -> None:
            self.collected(self.free)

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index

        @staticmethod
        def count() -> int:
            return 1

        def name(self) -> str:
            return gpu.name

        def retain_primary_context(self) -> Context:
            return Context()

    def pagelocked_empty(shape: int, dtype: Any) -> np.ndarray:
        assert dtype is np.uint8
        return np.asarray(PagelockedHostAllocation(shape))

    def htod(target: int, source: np.ndarray, stream: Stream) -> None:
        pointer = source.ctypes.data
        guarded("cuMemcpyHtoDAsync", gpu.copy("cuMemcpyHtoDAsync_v2", target, pointer, source.nbytes, stream.handle))

    def dtoh(target: np.ndarray, source: int, stream: Stream) -> None:
        pointer = target.ctypes.data
        guarded("cuMemcpyDtoHAsync", gpu.copy("cuMemcpyDtoHAsync_v2", pointer, source, target.nbytes, stream.handle))

    def mem_get_info() -> tuple[int, int]:
        guarded("cuMemGetInfo", gpu.check("cuMemGetInfo_v2"))
        return gpu.total - sum(block.nbytes for block in gpu.memory.values()), gpu.total

    vars(module).update(
        Error=Error, LogicError=LogicError, MemoryError=CudaMemoryError, Context=Context, Stream=Stream, Device=Device,
        mem_alloc=DeviceAllocation, pagelocked_empty=pagelocked_empty, memcpy_htod_async=htod, memcpy_dtoh_async=dtoh,
        mem_get_info=mem_get_info, init=lambda: guarded("cuInit", gpu.check("cuInit", context=False)),
    )  # fmt: skip
    return module


class Result(enum.IntEnum):
    """CUresult, of which cuda.bindings makes an enumeration."""

    CUDA_SUCCESS = SUCCESS
    CUDA_ERROR_INVALID_VALUE = INVALID_VALUE
    CUDA_ERROR_OUT_OF_MEMORY = OUT_OF_MEMORY
    CUDA_ERROR_NO_DEVICE = NO_DEVICE
    CUDA_ERROR_INVALID_CONTEXT = INVALID_CONTEXT
    CUDA_ERROR_INVALID_HANDLE = INVALID_HANDLE
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


def bindings_driver(gpu: Gpu) -> ModuleType:
    """The module cuda.bindings.driver: each function returns a tuple that starts with a CUresult."""
    module = ModuleType("cuda.bindings.driver")

    def result(code: int, *values: Any) -> tuple[Any, ...]:
        return (Result(code), *values)

    def free_and_total() -> tuple[Any, ...]:
        used = sum(block.nbytes for block in gpu.memory.values())
        return result(gpu.check("cuMemGetInfo_v2"), gpu.total - used, gpu.total)

    def pair(made: tuple[int, int]) -> tuple[Any, ...]:
        return result(*made)

    def copy(name: str) -> Callable[..., tuple[Any, ...]]:
        return lambda target, source, nbytes, stream: result(gpu.copy(name, target, source, nbytes, stream))

    vars(module).update(
        cuInit=lambda flags: result(gpu.check("cuInit", context=False)),
        cuDeviceGetCount=lambda: result(SUCCESS, 1),
        cuDeviceGet=lambda index: result(SUCCESS, index),
        cuDeviceGetName=lambda size, device: result(SUCCESS, gpu.name.encode().ljust(size, b"\0")),
        cuDevicePrimaryCtxRetain=lambda device: result(gpu.retain(), PRIMARY),
        cuDevicePrimaryCtxRelease=lambda device: result(gpu.release_context()),
        cuCtxPushCurrent=lambda context: result(gpu.push(context)),
        cuCtxPopCurrent=lambda: result(gpu.pop(), PRIMARY),
        cuStreamCreate=lambda flags: pair(gpu.make_stream(flags)),
        cuStreamDestroy=lambda stream: result(gpu.end_stream(stream)),
        cuStreamSynchronize=lambda stream: result(gpu.synchronise(stream)),
        cuMemAlloc=lambda nbytes: pair(gpu.allocate("cuMemAlloc_v2", nbytes, gpu.memory)),
        cuMemFree=lambda pointer: result(gpu.release("cuMemFree_v2", pointer, gpu.memory)),
        cuMemHostAlloc=lambda nbytes, flags: pair(gpu.allocate("cuMemHostAlloc", nbytes, gpu.pinned)),
        cuMemFreeHost=lambda pointer: result(gpu.release("cuMemFreeHost", pointer, gpu.pinned)),
        cuMemcpyHtoDAsync=copy("cuMemcpyHtoDAsync_v2"),
        cuMemcpyDtoHAsync=copy("cuMemcpyDtoHAsync_v2"),
        cuMemGetInfo=free_and_total,
    )
    return module
