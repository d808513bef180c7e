"""The build child seen from the window: events, cancel, crashes, and nothing left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from dtda.app import builds as module
from dtda.app.builds import NICE, Builds
from dtda.engines import events

CHILD = Path(__file__).parent / "data" / "build_child.py"
ENDS = (events.Done, events.Failed, events.Cancelled)


def child(mode: str, out: object = "x.engine") -> list[str]:
    return [sys.executable, str(CHILD), mode, str(out)]


@pytest.fixture
def builds(qtbot: QtBot) -> Iterator[Builds]:
    made = Builds()
    yield made
    made.stop(0)


@pytest.fixture
def seen(builds: Builds) -> list[Any]:
    found: list[Any] = []
    builds.happened.connect(found.append)
    return found


def ended(seen: list[Any]) -> bool:
    return bool(seen) and isinstance(seen[-1], ENDS)


def alive(pid: int) -> bool:
    """Also of a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_build_tells_its_start_its_progress_and_its_end(builds: Builds, seen: list[Any], qtbot: QtBot) -> None:
    builds.start(child("done", "/x/y.engine"))
    assert builds.running
    qtbot.waitUntil(lambda: ended(seen))
    assert not builds.running
    assert isinstance(seen[0], events.Start)
    progress = [event.progress for event in seen if isinstance(event, events.Phase)]
    assert progress == sorted(progress) != []
    assert isinstance(seen[-2], events.Compared)
    assert seen[-1] == events.Done(path="/x/y.engine", seconds=1.5, bytes=3_400_000, runs_here=True)


def test_two_builds_at_once_are_not_possible(builds: Builds, seen: list[Any], qtbot: QtBot) -> None:
    builds.start(child("slow"))
    with pytest.raises(RuntimeError, match="running"):
        builds.start(child("done"))
    builds.cancel()
    qtbot.waitUntil(lambda: ended(seen))
    builds.start(child("done"))
    qtbot.waitUntil(lambda: isinstance(seen[-1], events.Done))


def test_cancel_ends_the_child_which_says_so_itself(builds: Builds, seen: list[Any], qtbot: QtBot) -> None:
    builds.start(child("slow"))
    qtbot.waitUntil(lambda: len(seen) > 3)
    pid = builds._pid
    began = time.monotonic()
    builds.cancel()
    builds.cancel()
    qtbot.waitUntil(lambda: ended(seen))
    assert time.monotonic() - began < 2
    assert isinstance(seen[-1], events.Cancelled)
    assert not alive(pid)


def test_a_child_that_does_not_listen_is_killed_and_its_half_file_removed(
    builds: Builds, seen: list[Any], qtbot: QtBot, tmp_path: Path
) -> None:
    builds._force.setInterval(100)
    builds.start(child("deaf", tmp_path / "a.engine"))
    qtbot.waitUntil(lambda: len(seen) > 3)
    pid = builds._pid
    (tmp_path / f".a.engine.{pid}.tmp").write_bytes(b"half")
    builds.cancel()
    qtbot.waitUntil(lambda: ended(seen))
    assert isinstance(seen[-1], events.Cancelled)
    assert not alive(pid)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["slow", "deaf"])
def test_stopping_leaves_no_child(builds: Builds, seen: list[Any], qtbot: QtBot, mode: str) -> None:
    builds.start(child(mode))
    qtbot.waitUntil(lambda: len(seen) > 3)
    pid = builds._pid
    began = time.monotonic()
    builds.stop(0.5)
    assert time.monotonic() - began < 1.5
    assert not alive(pid)
    assert not builds.running


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (child("crash"), "ended by SIGKILL"),
        (child("mute"), "ended with status 3 and no result (ImportError: libnvinfer.so.11)"),
        (["/nowhere/python"], "could not be started"),
    ],
)
def test_a_child_that_says_no_end_has_failed(
    builds: Builds, seen: list[Any], qtbot: QtBot, argv: list[str], said: str
) -> None:
    builds.start(argv)
    qtbot.waitUntil(lambda: ended(seen))
    assert isinstance(seen[-1], events.Failed)
    assert said in seen[-1].text
    assert "FP32" in seen[-1].text
    assert sum(isinstance(event, ENDS) for event in seen) == 1
    assert not builds.running


def test_a_long_log_does_not_hold_up_the_window(builds: Builds, seen: list[Any], qtbot: QtBot) -> None:
    builds.start(child("flood"))
    gaps, before = [], time.perf_counter()
    while not ended(seen):
        qtbot.wait(1)
        gaps.append(time.perf_counter() - before)
        before += gaps[-1]
    assert sum(isinstance(event, events.Log) for event in seen) > 5000
    assert max(gaps) < 1.0
    assert seen[-1].runs_here  # all lines were read before the end was told


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has classes of priority")
def test_the_build_goes_after_the_picture(builds: Builds, seen: list[Any], qtbot: QtBot) -> None:
    builds.start(child("slow"))
    qtbot.waitUntil(lambda: len(seen) > 1)
    assert os.getpriority(os.PRIO_PROCESS, builds._pid) >= NICE
    module.lower_priority(2**22 + 1)  # gone meanwhile: no failure
