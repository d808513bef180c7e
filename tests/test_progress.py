"""Progress never goes back, whatever TensorRT does with its phases, and stops when told to."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda.engines import progress
from dtda.engines.events import Phase
from dtda.engines.progress import Progress, Stop, Stopped

WEIGHTS = {"convert": 1.0, "build": 3.0}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Phase]:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    return []


def test_parts_share_the_whole_by_their_weights(told: list[Phase]) -> None:
    made = Progress(told.append, WEIGHTS)
    made.enter("convert")
    made.step(0.5)
    made.enter("build")
    made.step(0.5)
    made.finish()
    assert [phase.progress for phase in told] == [0, 0.125, 0.25, 0.625, 1]
    assert [phase.name for phase in told] == ["convert", "convert", "build", "build", "build"]


def test_nested_phases_are_parts_of_a_step_of_their_parent(told: list[Phase]) -> None:
    made = Progress(told.append, {"build": 1.0})
    made.enter("build")
    made.phase_start("root", 4)
    made.step_complete("root", 0)
    made.phase_start("inner", 2)
    made.step_complete("inner", 0)
    assert told[-1] == Phase(name="inner", progress=0.375, elapsed=told[-1].elapsed)
    made.phase_finish("inner")
    made.step_complete("root", 1)
    assert (told[-1].name, told[-1].progress) == ("root", 0.5)


CALLS = st.tuples(st.sampled_from("sfp"), st.sampled_from("abc"), st.integers(0, 9))


@given(st.lists(CALLS, max_size=60))
def test_it_never_goes_back_nor_beyond(calls: list[tuple[str, str, int]]) -> None:
    """Phases that repeat, end early, are never begun or have no steps."""
    told: list[Phase] = []
    made = Progress(told.append, WEIGHTS)
    made.enter("convert")
    made.enter("build")
    for kind, name, number in calls:
        if kind == "p":
            made.phase_start(name, number)
        elif kind == "s":
            made.step_complete(name, number)
        else:
            made.phase_finish(name)
    made.finish()
    values = [phase.progress for phase in told]
    assert values == sorted(values)
    assert values[-1] == 1


def test_there_are_at_most_twenty_a_second() -> None:
    told: list[Phase] = []
    made = Progress(told.append, WEIGHTS)
    made.enter("convert")
    for step in range(10000):
        made.step(step / 10000)
    assert len(told) <= 2 + made.elapsed / progress.INTERVAL_S


def test_threads_may_tell_at_once(told: list[Phase]) -> None:
    made = Progress(told.append, {"build": 1.0})
    made.enter("build")
    made.phase_start("root", 400)

    def work(part: int) -> None:
        for step in range(100):
            made.phase_start(f"{part}", 3)
            made.step_complete("root", part * 100 + step)
            made.phase_finish(f"{part}")

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [phase.progress for phase in told]
    assert values == sorted(values)


def test_the_first_reason_to_stop_is_the_one_that_counts() -> None:
    stop = Stop()
    stop.check()
    stop.set("too slow")
    stop.set()
    with pytest.raises(Stopped) as caught:
        stop.check()
    assert caught.value.reason == "too slow"
