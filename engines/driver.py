"""NVIDIA's driver library, by ctypes: what is asked before any other library is imported, and CUDA graphs.

No import of this module or of its functions needs a GPU. pycuda has no CUDA graphs; a captured stream is the same
driver object whichever library made it, so that one implementation serves all.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dtda.core.errors import DtdaError

LIBRARIES = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
MANAGEMENT = {"linux": "libnvidia-ml.so.1", "win32": "nvml.dll"}  # knows the driver's own version
_CC_MAJOR, _CC_MINOR = 75, 76  # CUdevice_attribute
_THREAD_LOCAL = 1  # CUstreamCaptureMode: calls of other threads do not break the capture

_int, _size, _handle = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
_SIGNATURES: dict[str, list[Any]] = {
    "cuInit": [ctypes.c_uint],
    "cuDriverGetVersion": [ctypes.POINTER(_int)],
    "cuDeviceGetCount": [ctypes.POINTER(_int)],
    "cuDeviceGet": [ctypes.POINTER(_int), _int],
    "cuDeviceGetName": [ctypes.c_char_p, _int, _int],
    "cuDeviceGetAttribute": [ctypes.POINTER(_int), _int, _int],
    "cuDeviceTotalMem_v2": [ctypes.POINTER(_size), _int],
    "cuGetErrorName": [_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuGetErrorString": [_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuCtxGetCurrent": [ctypes.POINTER(_handle)],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(_handle)],
    "cuStreamBeginCapture_v2": [_handle, _int],
    "cuStreamEndCapture": [_handle, ctypes.POINTER(_handle)],
    "cuGraphInstantiateWithFlags": [ctypes.POINTER(_handle), _handle, ctypes.c_ulonglong],
    "cuGraphLaunch": [_handle, _handle],
    "cuGraphDestroy": [_handle],
    "cuGraphExecDestroy": [_handle],
}


class DeviceError(DtdaError):
    """The GPU, its driver or the library that drives it refused; the message names the call."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """compute_capability: "8.9". memory_mb: all there is."""

    name: str
    compute_capability: str
    memory_mb: int


@functools.cache
def library() -> ctypes.CDLL:
    """libcuda, its functions typed. Raises OSError where there is no driver, DeviceError when it is too old for this."""
    name = LIBRARIES.get(sys.platform)
    if name is None:
        raise OSError(f"there is no NVIDIA driver for {sys.platform}")
    cuda = ctypes.CDLL(name) if sys.platform != "win32" else _windows(name)
    for function, arguments in _SIGNATURES.items():
        try:
            entry = getattr(cuda, function)
        except AttributeError as error:
            raise DeviceError(f"The NVIDIA driver is too old, it lacks {function}; update it.") from error
        entry.argtypes, entry.restype = arguments, _int
    return cuda


def _windows(name: str) -> ctypes.CDLL:
    return ctypes.WinDLL(name)  # type: ignore[attr-defined,no-any-return,unused-ignore]  # CUDAAPI is __stdcall


def call(function: str, *arguments: Any) -> None:
    """Call the driver. Raises DeviceError on any result but success, OSError where there is no driver."""
    code = getattr(library(), function)(*arguments)
    if code:
        raise DeviceError(
            f"The GPU failed in {function} ({words(code)}); close other programs that use it and try again."
        )


def code(function: str, *arguments: Any) -> int:
    """Call the driver and return its CUresult."""
    return int(getattr(library(), function)(*arguments))


def words(code: int) -> str:
    """A CUresult as the driver explains it: "100 CUDA_ERROR_NO_DEVICE, no CUDA-capable device is detected"."""
    words = []
    for function in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        getattr(library(), function)(code, ctypes.byref(text))
        words += [text.value.decode(errors="replace")] if text.value else []
    return f"{code} {', '.join(words)}".rstrip()


def first_line(error: Exception) -> str:
    """The first line of an exception's message, without its full stop; its name where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def cuda_version() -> int:
    """The newest CUDA this driver runs, 13000 for 13.0. Needs no GPU."""
    version = _int()
    call("cuDriverGetVersion", ctypes.byref(version))
    return version.value


def driver_version() -> str:
    """As NVIDIA numbers drivers, "580.65.06"; "" where the management library does not tell."""
    try:
        nvml = ctypes.CDLL(MANAGEMENT[sys.platform])
        text = ctypes.create_string_buffer(96)
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))) == 0:
            return text.value.decode(errors="replace")
    except (KeyError, OSError, AttributeError):
        pass
    return ""


def count() -> int:
    """GPUs this process may use; `cuInit` must have succeeded."""
    number = _int()
    call("cuDeviceGetCount", ctypes.byref(number))
    return number.value


def describe(index: int = 0) -> Gpu:
    """Name, compute capability and memory of a GPU; makes no context on it."""
    device, major, minor, memory = _int(), _int(), _int(), _size()
    name = ctypes.create_string_buffer(256)
    call("cuDeviceGet", ctypes.byref(device), index)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceGetAttribute", ctypes.byref(major), _CC_MAJOR, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), _CC_MINOR, device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    text = name.value.decode(errors="replace")
    return Gpu(text, f"{major.value}.{minor.value}", memory.value >> 20)


def current_context() -> int:
    """The calling thread's current context, 0 without one."""
    context = _handle()
    call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value or 0


def pop_context() -> None:
    """Take the top context off the calling thread's stack."""
    call("cuCtxPopCurrent_v2", ctypes.byref(_handle()))


def capture(stream: int, work: Callable[[], bool]) -> int:
    """Record what `work` puts on a stream as a CUDA graph, ready to launch; 0 when that cannot be captured.

    work: enqueues on this stream from this thread, allocates and waits for nothing; False or an exception drop the
    graph. The capture is always ended, so the stream works on in either case.
    """
    if code("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL):
        return 0
    graph, executable = _handle(), _handle()
    done = False
    try:
        done = work()
    finally:
        ended = code("cuStreamEndCapture", stream, ctypes.byref(graph))
        if graph.value and not (done and ended == 0):
            code("cuGraphDestroy", graph)
    if not done or ended or not graph.value:
        return 0
    refused = code("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    code("cuGraphDestroy", graph)
    return 0 if refused else executable.value or 0


def launch(graph: int, stream: int) -> None:
    """Replay a captured graph. Raises DeviceError."""
    call("cuGraphLaunch", graph, stream)


def free_graph(graph: int) -> None:
    call("cuGraphExecDestroy", graph)
