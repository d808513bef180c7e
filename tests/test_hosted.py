"""An engine in its own thread: who opens, uses and closes it, and what becomes of its errors."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtda.app.hosted import HostedEngine
from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo, Floats, Image

INFO = EngineInfo("a", "a", "fake", "none", "fp32", 8, 1.5, 0.5, "0" * 64)
CHIPS = np.zeros((2, 8, 8, 3), np.uint8)


class FakeEngine:
    """Remembers the threads it was used by."""

    info = INFO

    def __init__(self) -> None:
        self.used_by = [threading.current_thread()]
        self.closings = 0

    def infer(self, chips: Image) -> Floats:
        self.used_by.append(threading.current_thread())
        if len(chips) > 2:
            raise DtdaError("too many; send fewer.")
        return np.full(len(chips), 0.25, np.float32)

    def close(self) -> None:
        self.used_by.append(threading.current_thread())
        self.closings += 1


def host(opener: Any = FakeEngine) -> tuple[HostedEngine, list[Any]]:
    """A hosted engine that is open, and the engines that were made."""
    made: list[Any] = []
    there = threading.Event()

    def make() -> Any:
        made.append(opener())
        return made[-1]

    hosted = HostedEngine(make, lambda _: there.set())
    assert there.wait(2)
    return hosted, made


def test_it_is_opened_used_and_closed_in_one_thread() -> None:
    hosted, (engine,) = host()
    assert hosted.info is INFO
    assert hosted.infer(CHIPS).tolist() == [0.25, 0.25]
    hosted.close()
    hosted.close()
    assert set(engine.used_by) == {hosted}
    assert (len(engine.used_by), engine.closings, hosted.is_alive()) == (3, 1, False)
    with pytest.raises(ValueError, match="closed"):
        hosted.infer(CHIPS)


def test_what_the_engine_raises_reaches_the_caller_and_it_goes_on() -> None:
    hosted, _ = host()
    with pytest.raises(DtdaError, match="too many"):
        hosted.infer(np.zeros((3, 8, 8, 3), np.uint8))
    assert hosted.infer(CHIPS[:1]).tolist() == [0.25]
    hosted.close()


def test_why_it_cannot_be_opened_is_kept() -> None:
    hosted, made = host(lambda: 1 / 0)
    assert isinstance(hosted.error, ZeroDivisionError)
    hosted.close()
    assert (made, hosted.is_alive()) == ([], False)


def test_trouble_while_closing_is_raised_once() -> None:
    class Stuck(FakeEngine):
        def close(self) -> None:
            raise RuntimeError("busy")

    hosted, _ = host(Stuck)
    with pytest.raises(RuntimeError, match="busy"):
        hosted.close()
    hosted.close()


def test_an_abandoned_one_closes_its_engine_once_it_is_open() -> None:
    go, made = threading.Event(), []

    def make() -> Any:
        go.wait(2)
        made.append(FakeEngine())
        return made[-1]

    hosted = HostedEngine(make, lambda _: None)
    hosted.abandon()
    go.set()
    hosted.join(2)
    assert (made[0].closings, hosted.is_alive()) == (1, False)


def test_tensorrt_engines_change_over_without_a_gap_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, student: Path, tmp_path: Path
) -> None:
    """On the fake GPU, which knows whose thread a context belongs to: the old one judges while the new one opens."""
    from fake_tensorrt import install, write_engine

    from dtda.engines import ort
    from dtda.engines.registry import open_engine

    rig = install(monkeypatch, tmp_path / "engines")
    chips = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    expected = ort.open_engine(student).infer(chips)
    old: HostedEngine | None = None
    for number in range(3):
        path = tmp_path / f"{number}.engine"
        write_engine(path, student, max_batch=2)
        opened = threading.Event()
        new = HostedEngine(partial(open_engine, path), lambda _, there=opened: there.set())  # type: ignore[misc]
        while not opened.wait(0):
            if old is not None:
                np.testing.assert_allclose(old.infer(chips), expected, atol=1e-6)
        assert new.error is None
        assert new.info.provider == "Fake GPU by pycuda"
        np.testing.assert_allclose(new.infer(chips), expected, atol=1e-6)
        if old is not None:
            old.close()
        old = new
    assert old is not None
    old.close()
    rig.check()
