"""Memory, streams and graphs through pycuda and cuda.bindings on the fake driver, and through the real libraries
without one."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fakes import PRIMARY, Gpu, Library, bindings_driver, pycuda_driver

from dtda.core.errors import DtdaError
from dtda.engines import device, driver
from dtda.engines.device import BindingsDevice, Device, DeviceError, PycudaDevice


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    made = Gpu()
    monkeypatch.setattr(driver, "library", lambda: Library(made))
    yield made
    assert made.violations == []
    assert made.leaks == {}


@pytest.fixture(params=["pycuda", "cuda.bindings"])
def opened(request: pytest.FixtureRequest, gpu: Gpu) -> Iterator[Device]:
    """A device with its context pushed."""
    made = PycudaDevice(pycuda_driver(gpu)) if request.param == "pycuda" else BindingsDevice(bindings_driver(gpu))
    made.push()
    yield made
    made.pop()
    made.close()
    made.close()


def test_names(opened: Device) -> None:
    assert opened.name == "Fake GPU"
    assert opened.library in device.LIBRARIES


def test_bytes_go_there_and_back_once_the_stream_is_waited_for(opened: Device) -> None:
    stream, memory, source, target = opened.stream(), opened.alloc(100), opened.pinned(100), opened.pinned(100)
    source.bytes[:] = np.arange(100)
    opened.upload(memory, source, 60, stream)
    opened.download(target, memory, 60, stream)
    assert target.bytes[0] != 0  # nothing has happened yet
    opened.synchronise(stream)
    np.testing.assert_array_equal(target.bytes[:60], np.arange(60))
    assert (target.bytes[60:] != np.arange(60, 100)).all()
    for thing in (memory, source, target, stream):
        opened.free(thing)
    del stream, thing


def test_memory_info(opened: Device) -> None:
    free, total = opened.memory_info()
    memory = opened.alloc(1000)
    assert opened.memory_info() == (free - 1000, total)
    opened.free(memory)


def test_a_graph_is_captured_launched_and_freed(opened: Device, gpu: Gpu) -> None:
    stream = opened.stream()
    done: list[int] = []
    handle = stream.handle
    graph = opened.capture(stream, lambda: gpu.enqueue(handle, lambda: done.append(1)) == 0)
    assert graph
    assert done == []  # capturing is not running
    for _ in range(3):
        opened.launch(graph, stream)
    opened.synchronise(stream)
    assert done == [1, 1, 1]
    opened.free_graph(graph)
    opened.free(stream)
    del stream


def test_work_that_fails_or_raises_in_a_capture_leaves_the_stream_usable(opened: Device, gpu: Gpu) -> None:
    stream = opened.stream()
    assert opened.capture(stream, lambda: False) == 0

    def broken() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened.capture(stream, broken)
    assert gpu.captures == {}
    assert gpu.leaks.keys() <= {"streams", "contexts", "pushed"}
    opened.synchronise(stream)
    opened.free(stream)
    del stream


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_capture_the_driver_refuses_is_no_graph(opened: Device, gpu: Gpu, call: str) -> None:
    stream = opened.stream()
    gpu.fail[call] = 900
    assert opened.capture(stream, lambda: True) == 0
    opened.free(stream)
    del stream


@pytest.mark.parametrize(
    ("call", "act"),
    [
        ("cuMemAlloc_v2", lambda opened: opened.alloc(10)),
        ("cuMemHostAlloc", lambda opened: opened.pinned(10)),
        ("cuStreamCreate", lambda opened: opened.stream()),
        ("cuMemGetInfo_v2", lambda opened: opened.memory_info()),
        ("cuCtxPushCurrent_v2", lambda opened: opened.push()),
    ],
)
def test_every_failure_is_a_sentence_with_a_way_out(opened: Device, gpu: Gpu, call: str, act: object) -> None:
    gpu.fail[call] = 2
    with pytest.raises(DeviceError, match=r"^The GPU failed .*close other programs") as caught:
        act(opened)
    assert isinstance(caught.value, DtdaError)
    assert "\n" not in str(caught.value)
    del gpu.fail[call]


def test_the_context_is_the_primary_one_and_given_back(gpu: Gpu) -> None:
    for make in (lambda: PycudaDevice(pycuda_driver(gpu)), lambda: BindingsDevice(bindings_driver(gpu))):
        made = make()
        assert gpu.stack() == []
        made.push()
        assert gpu.stack() == [PRIMARY]
        made.pop()
        made.close()
        assert gpu.leaks == {}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("others", [[0xBEEF], [PRIMARY], [0xBEEF, PRIMARY], [PRIMARY, 0xBEEF], [PRIMARY, PRIMARY]])
def test_what_another_library_had_pushed_stays(gpu: Gpu, others: list[int], when: str, used: bool) -> None:
    """The primary context, too: torch makes it the current one of the thread."""
    gpu.stack().extend(others if when == "before" else [])
    made = PycudaDevice(pycuda_driver(gpu))
    if used:
        made.push()
        made.pop()
    gpu.stack().extend(others if when == "meanwhile" else [])
    made.close()
    assert gpu.stack() == others
    gpu.stack().clear()


@pytest.mark.parametrize("others", [[], [0xBEEF], [PRIMARY, 0xBEEF]])
@pytest.mark.parametrize("call", ["cuCtxPushCurrent_v2", "cuDevicePrimaryCtxRelease_v2"])
def test_closing_that_fails_leaves_the_stack_as_it_was(gpu: Gpu, others: list[int], call: str) -> None:
    made = PycudaDevice(pycuda_driver(gpu))
    made.push()
    made.pop()
    gpu.stack().extend(others)
    gpu.fail[call] = 700
    if call.startswith("cuDevice"):
        with pytest.raises(DeviceError, match="context back"):
            made.close()
        gpu.retained = 0
    else:
        made.close()
    assert gpu.stack() == others
    gpu.stack().clear()


def test_a_gpu_that_is_not_there(gpu: Gpu) -> None:
    for make in (lambda: PycudaDevice(pycuda_driver(gpu), 1), lambda: BindingsDevice(bindings_driver(gpu), 1)):
        with pytest.raises(DeviceError, match="There is no GPU 1"):
            make()


def test_which_library_is_used(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda_driver(gpu))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", bindings_driver(gpu))
    monkeypatch.setattr(device, "installed", lambda: ["pycuda", "cuda.bindings"])
    for asked, given in ((None, "pycuda"), ("cuda.bindings", "cuda.bindings")):
        made = device.open_device(library=asked)
        assert made.library == given
        made.close()
    with pytest.raises(DtdaError, match="not a library for CUDA"):
        device.open_device(library="cupy")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ImportError("libcuda.so.1: cannot open shared object file: No such file or directory"), "libcuda.so.1"),
        (ModuleNotFoundError("No module named 'pytools'", name="pytools"), "pytools"),
    ],
)
def test_a_library_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(device.importlib, "import_module", fail)
    with pytest.raises(DtdaError, match=f"installed but does not load.*{text}"):
        device.open_device(library="pycuda")


def test_a_library_that_is_not_installed_names_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in (("pycuda", "pip install pycuda"), ("cuda.bindings", 'pip install "cuda-bindings>=13,<14"')):
        missing = ModuleNotFoundError(f"No module named {name!r}", name=name)
        monkeypatch.setattr(
            device.importlib, "import_module", lambda _, missing=missing: (_ for _ in ()).throw(missing)
        )
        with pytest.raises(DtdaError, match="is not installed") as caught:
            device.open_device(library=name)
        assert line in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings is optional")
def test_the_real_cuda_bindings_without_a_driver_is_one_sentence() -> None:
    """And has every function and no other result than a tuple: names are looked up where they are defined."""
    cuda = pytest.importorskip("cuda.bindings.driver")
    used = {line.split('"')[1] for line in _source() if '_call("cu' in line} | {
        "cuStreamDestroy",
        "cuMemFree",
        "cuMemFreeHost",
    }
    assert len(used) > 12
    assert all(hasattr(cuda, name) for name in used)
    try:
        driver.library()
    except OSError:
        with pytest.raises(DtdaError, match=r"cuda\.bindings finds no NVIDIA driver") as caught:
            device.open_device(library="cuda.bindings")
        assert "\n" not in str(caught.value)


def _source() -> list[str]:
    return Path(device.__file__).read_text().splitlines()


def test_the_driver_module_needs_no_driver() -> None:
    code = "import dtda.engines.driver as d, dtda.engines.device; print(repr(d.driver_version()))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).startswith(("''", "'"))


def test_functions_of_the_driver_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle passed without its type would be cut to 32 bits."""
    entries: dict[str, ctypes._CFuncPtr] = {}

    class Fake:
        def __getattr__(self, name: str) -> object:
            if name == "cuGraphLaunch" and old:
                raise AttributeError(name)
            return entries.setdefault(name, lambda *_: 0)

    old = False
    monkeypatch.setattr(driver.sys, "platform", "linux")
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: Fake())
    driver.library.cache_clear()
    try:
        driver.library()
        assert all(entry.argtypes for entry in entries.values())
        assert entries["cuStreamBeginCapture_v2"].argtypes[0] is ctypes.c_void_p
        driver.library.cache_clear()
        old = True
        with pytest.raises(DeviceError, match="too old, it lacks cuGraphLaunch"):
            driver.library()
    finally:
        driver.library.cache_clear()


def test_a_device_in_another_thread(gpu: Gpu) -> None:
    """Opened, used and closed there, it leaves nothing on that thread's stack, where pycuda would end the process."""
    stacks: list[list[int]] = []

    def work() -> None:
        made = PycudaDevice(pycuda_driver(gpu))
        made.push()
        made.free(made.alloc(8))
        made.pop()
        made.close()
        stacks.append(list(gpu.stack()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stacks == [[]]
