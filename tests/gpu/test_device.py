"""The GPU itself through pycuda and cuda.bindings: contexts, streams, graphs, memory, threads."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from dtda.engines import device, driver
from dtda.engines.device import Device, DeviceError

pytestmark = pytest.mark.gpu
MB = 1 << 20


def test_the_driver_describes_the_card(gpu: driver.Gpu) -> None:
    assert gpu.name
    assert float(gpu.compute_capability) >= 5
    assert gpu.memory_mb > 500
    assert driver.cuda_version() >= 11000


def test_the_device_is_that_card(opened: Device, gpu: driver.Gpu) -> None:
    assert opened.name == gpu.name
    free, total = opened.memory_info()
    assert 0 < free <= total
    assert total >> 20 == pytest.approx(gpu.memory_mb, rel=0.05)


def test_bytes_go_there_and_back(opened: Device) -> None:
    rng = np.random.default_rng(0)
    stream, memory = opened.stream(), opened.alloc(8 * MB)
    source, target = opened.pinned(8 * MB), opened.pinned(8 * MB)
    for count in (1, 1000, 8 * MB):
        source.bytes[:] = rng.integers(0, 256, 8 * MB, np.uint8)
        target.bytes[:] = 0
        opened.upload(memory, source, count, stream)
        opened.download(target, memory, count, stream)
        opened.synchronise(stream)
        np.testing.assert_array_equal(target.bytes[:count], source.bytes[:count])
        assert not target.bytes[count:].any()
    for thing in (memory, source, target, stream):
        opened.free(thing)
    del stream, thing


def test_the_stream_is_not_the_default_one(opened: Device) -> None:
    first, second = opened.stream(), opened.stream()
    assert 0 not in (first.handle, second.handle)
    assert first.handle != second.handle
    opened.free(first)
    opened.free(second)
    del first, second


def test_freed_memory_comes_back(opened: Device) -> None:
    opened.free(opened.alloc(MB))
    before, _ = opened.memory_info()
    for _ in range(200):
        opened.free(opened.alloc(64 * MB))
    after, _ = opened.memory_info()
    assert before - after < 8 * MB


def test_too_much_memory_is_refused_in_one_sentence(opened: Device) -> None:
    with pytest.raises(DeviceError, match="GPU failed") as caught:
        opened.alloc(1 << 50)
    assert "\n" not in str(caught.value)
    opened.free(opened.alloc(MB))


def test_a_graph_of_copies_is_replayed_with_new_contents(opened: Device) -> None:
    stream, memory = opened.stream(), opened.alloc(1000)
    source, target = opened.pinned(1000), opened.pinned(1000)

    def work() -> bool:
        opened.upload(memory, source, 1000, stream)
        opened.download(target, memory, 1000, stream)
        return True

    target.bytes[:] = 0
    source.bytes[:] = 1
    graph = opened.capture(stream, work)
    assert graph
    opened.synchronise(stream)
    assert not target.bytes.any()  # recorded, not run
    for value in (7, 8, 9):
        source.bytes[:] = value
        opened.launch(graph, stream)
        opened.synchronise(stream)
        assert (target.bytes == value).all()
    opened.free_graph(graph)
    del work
    for thing in (memory, source, target, stream):
        opened.free(thing)


def test_work_that_gives_up_in_a_capture_leaves_the_stream_usable(opened: Device) -> None:
    stream, memory, source = opened.stream(), opened.alloc(1000), opened.pinned(1000)
    assert opened.capture(stream, lambda: False) == 0
    opened.upload(memory, source, 1000, stream)
    opened.synchronise(stream)
    for thing in (memory, source, stream):
        opened.free(thing)


def test_waiting_during_a_capture_spoils_it_and_nothing_else(opened: Device) -> None:
    stream = opened.stream()

    def work() -> bool:
        with pytest.raises(DeviceError):
            opened.synchronise(stream)
        return True

    assert opened.capture(stream, work) == 0
    opened.synchronise(stream)
    opened.free(stream)


def test_a_capture_does_not_mind_other_threads(opened: Device, library: str) -> None:
    stream, memory, source = opened.stream(), opened.alloc(1000), opened.pinned(1000)

    def elsewhere() -> None:
        other = device.open_device(library=library)
        other.push()
        other.free(other.alloc(MB))
        other.pop()
        other.close()

    def work() -> bool:
        opened.upload(memory, source, 1000, stream)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return True

    graph = opened.capture(stream, work)
    assert graph
    opened.free_graph(graph)
    for thing in (memory, source, stream):
        opened.free(thing)


def test_threads_come_and_go(library: str) -> None:
    left: list[int] = []
    free: list[int] = []

    def work() -> None:
        made = device.open_device(library=library)
        made.push()
        stream, memory, pinned = made.stream(), made.alloc(MB), made.pinned(MB)
        made.upload(memory, pinned, MB, stream)
        made.synchronise(stream)
        for thing in (memory, pinned, stream):
            made.free(thing)
        del stream, thing
        free.append(made.memory_info()[0])
        made.pop()
        made.close()
        left.append(driver.current_context())

    for _ in range(30):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert left == [0] * 30
    assert max(free[5:]) - min(free[5:]) < 16 * MB


def test_a_thread_that_forgets_to_close_does_not_end_the_process(library: str) -> None:
    """pycuda aborts when a thread ends with a context on its stack; none is there between two calls."""
    code = (
        "import threading\n"
        "from dtda.engines import device\n"
        "def work():\n"
        f"    made = device.open_device(library={library!r})\n"
        "    made.push(); made.keep = [made.alloc(1000), made.stream()]; made.pop()\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join(); print('alive')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "alive" in run.stdout


def test_both_libraries_share_the_context(gpu: driver.Gpu) -> None:
    if set(device.installed()) != set(device.LIBRARIES):
        pytest.skip("not run: pycuda and cuda.bindings are not both installed")
    first, second = (device.open_device(library=name) for name in device.LIBRARIES)
    first.push()
    ours = driver.current_context()
    second.push()
    assert driver.current_context() == ours
    second.pop()
    first.pop()
    second.close()
    first.close()


def test_closing_leaves_the_context_that_was_current(library: str) -> None:
    first = device.open_device(library=library)
    first.push()
    ours = driver.current_context()
    second = device.open_device(library=library)
    second.push()
    second.pop()
    second.close()
    assert driver.current_context() == ours
    first.pop()
    assert driver.current_context() == 0
    first.close()
    assert driver.current_context() == 0


def test_torch_and_we_share_the_context(opened: Device) -> None:
    torch = pytest.importorskip("torch", reason="not run: torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("not run: this torch has no CUDA")
    before = driver.current_context()
    assert float(torch.ones(1000, device="cuda").sum()) == 1000
    assert driver.current_context() == before
    opened.free(opened.alloc(MB))
