"""The processing thread with parts made here: loading, swapping, failing, closing while busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dtda.app.mailbox import Mailbox
from dtda.app.records import Shot
from dtda.app.workers import Choice, Parts, Processor
from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo, Face, Frame, Label, Observation, Verdict

PIXEL = np.zeros((1, 1, 3), np.uint8)
FACE = Face(np.array([0, 0, 9, 9], np.float32), np.zeros((5, 2), np.float32), 0.9, 1)


def info(name: str) -> EngineInfo:
    """As of an engine; "a.x" and "a.y" are the same student."""
    return EngineInfo(name, name, "fake", "none", "fp32", 64, 1.5, 0.5, name.partition(".")[0])


class FakePipeline:
    """Says LIVE; its score is the number of frames since the last reset."""

    def __init__(self, detector: Any, engine: Any, threshold: float | None) -> None:
        self.detector, self.engine, self.threshold = detector, engine, threshold
        self.fail: Exception | None = None
        self.delay = 0.0
        self.seen = 0
        self.resets: list[int | None] = []

    def reset(self, length: int | None = None) -> None:
        self.resets.append(length)
        self.seen = 0

    def process(self, frame: Frame) -> Observation:
        time.sleep(self.delay)
        if self.fail is not None:
            raise self.fail
        self.seen += 1
        verdict = Verdict(FACE, Label.LIVE, self.seen / 100, self.seen / 100, 0.5)
        return Observation(frame, (verdict,), {"infer": 1.0})

    def close(self) -> None:
        self.engine.close()
        self.detector.close()


class Bench:
    """A processor and its surroundings. opened and closed: names of engines and detectors."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.pipelines: list[FakePipeline] = []
        self.ready = threading.Event()
        self.ready.set()
        self.slow = threading.Event()  # what engines called slow... wait for
        self.inbox: Mailbox[Shot] = Mailbox()
        self.outbox: Mailbox[Observation] = Mailbox()
        self.processor: Processor

    def find_parts(self) -> Parts:
        self.ready.wait(5)
        return Parts(self._detector, self._engine, self._build)  # type: ignore[arg-type]

    def start(self, **choice: Any) -> Processor:
        self.processor = Processor(self.inbox, self.outbox, Choice(**choice), find_parts=self.find_parts)
        self.processor.start()
        return self.processor

    def show(self, index: int, live: bool = False, take: int = 1, shown: bool = True) -> None:
        frame = Frame(index, index / 15, PIXEL, clip="a")
        self.inbox.put_wait(Shot(frame, take, live, length=30, shown=shown))

    def _detector(self, spec: str) -> Any:
        return self._part(f"detector {spec}", name=spec)

    def _engine(self, path: str, provider: str) -> Any:
        if path == "bad":
            raise DtdaError("bad: not a student; name another.")
        if path.startswith("slow"):
            self.slow.wait(5)
        return self._part(path, info=info(path))

    def _part(self, what: str, **facts: Any) -> Any:
        self.opened.append(what)
        return SimpleNamespace(close=lambda: self.closed.append(what), **facts)

    def _build(self, detector: Any, engine: Any, threshold: float | None) -> Any:
        self.pipelines.append(FakePipeline(detector, engine, threshold))
        return self.pipelines[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.ready.set()
    made.slow.set()
    made.processor.stop()
    made.processor.join(3)
    assert not made.processor.is_alive()
    assert sorted(made.opened) == sorted(made.closed)  # whatever was opened was closed, once


def until(true: Callable[[], object], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def test_each_frame_of_a_file_is_judged_also_those_that_came_while_loading(bench: Bench) -> None:
    bench.ready.clear()
    bench.start()
    bench.show(0)
    assert bench.outbox.get(2).verdicts == ()  # on screen at once
    bench.ready.set()
    assert bench.outbox.get(2).verdicts[0].label is Label.LIVE  # and judged when that is possible
    bench.show(1)
    assert bench.outbox.get(2).frame.index == 1
    assert bench.processor.tally.frames == 2


def test_a_live_picture_runs_while_loading(bench: Bench) -> None:
    bench.ready.clear()
    bench.start()
    for index in range(3):
        bench.show(index, live=True)
        seen = bench.outbox.get(2)
        assert (seen.frame.index, seen.verdicts) == (index, ())


def test_the_pipeline_forgets_at_every_new_take_and_is_told_the_length(bench: Bench) -> None:
    bench.start()
    scores = []
    for index, take in ((0, 1), (1, 1), (5, 2)):
        bench.show(index, take=take)
        scores.append(last(bench).verdicts[0].p_live)
    assert scores == [0.01, 0.02, 0.01]
    assert bench.pipelines[0].resets == [30, 30]


def last(bench: Bench) -> Observation:
    """The next judged observation."""
    while True:
        seen = bench.outbox.get(2)
        if seen.verdicts:
            return seen


def test_frames_before_a_seek_target_are_judged_but_neither_shown_nor_counted(bench: Bench) -> None:
    bench.start()
    until(lambda: bench.processor.info)
    for index in (7, 8):
        bench.show(index, shown=False)
    bench.show(9)
    seen = bench.outbox.get(2)
    assert (seen.frame.index, seen.verdicts[0].p_live) == (9, 0.03)
    assert bench.processor.tally.frames == 1


def test_an_engine_that_fails_leaves_the_picture_and_a_sentence(bench: Bench) -> None:
    processor = bench.start()
    bench.show(0)
    last(bench)
    bench.pipelines[0].fail = RuntimeError("CUDA error: device lost\nmore")
    bench.show(1)
    assert bench.outbox.get(2).verdicts == ()
    (notice,) = processor.notices()
    assert notice.level == "error"
    assert "CUDA error: device lost." in notice.text
    assert "Load again" in notice.text
    assert processor.info is None
    assert bench.closed == ["auto", "detector auto"]
    bench.show(2)
    assert bench.outbox.get(2).frame.index == 2
    processor.use_engine("auto")
    until(lambda: processor.info)
    bench.show(3)
    assert bench.outbox.get(2).verdicts


def test_an_engine_that_cannot_be_opened_is_told_and_frames_go_on(bench: Bench) -> None:
    processor = bench.start(engine="bad")
    until(lambda: not processor.loading)
    assert [notice.text for notice in processor.notices()] == ["bad: not a student; name another."]
    bench.show(0)
    assert bench.outbox.get(2).verdicts == ()
    assert bench.opened == []


def test_engines_are_swapped_and_a_bad_one_leaves_the_old(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: processor.info)
    processor.use_engine("other")
    until(lambda: processor.info == info("other"))
    assert processor.notices()[-1].level == "info"
    processor.use_engine("bad")
    until(lambda: (notices := processor.notices()) and "other stays in use" in notices[-1].text)
    assert processor.info == info("other")
    assert "auto" in bench.closed
    bench.show(0)
    assert bench.outbox.get(2).verdicts


def test_the_old_engine_judges_until_the_new_one_is_open(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: processor.info)
    processor.use_engine("slow")
    for index in range(3):
        bench.show(index, live=True)
        assert bench.outbox.get(2).verdicts
    assert processor.info == info("auto")
    assert processor.notices()[-1].text == "Opening slow…"
    bench.slow.set()
    until(lambda: processor.info == info("slow"))
    until(lambda: any("slow is in use" in notice.text for notice in processor.notices()))
    until(lambda: "auto" in bench.closed)
    assert "detector auto" not in bench.closed  # it goes on


def test_of_two_engines_asked_for_the_last_one_wins(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: processor.info)
    processor.use_engine("slow")
    until(lambda: processor.notices())
    processor.use_engine("other")
    until(lambda: processor.info == info("other"))
    bench.slow.set()
    until(lambda: "slow" in bench.closed)
    assert processor.info == info("other")


def test_closing_while_an_engine_opens_closes_it(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: processor.info)
    processor.use_engine("slow")
    until(lambda: processor.notices())
    processor.stop()
    bench.slow.set()  # the fixture sees that it was closed


def test_a_threshold_stays_with_its_student_whatever_runs_it(bench: Bench) -> None:
    processor = bench.start(engine="a.onnx", threshold=0.9)
    until(lambda: processor.info)
    processor.use_engine("a.engine")
    until(lambda: processor.info == info("a.engine"))
    assert (bench.pipelines[-1].threshold, processor.choice.threshold) == (0.9, 0.9)
    processor.use_engine("b.engine")
    until(lambda: processor.info == info("b.engine"))
    assert (bench.pipelines[-1].threshold, processor.choice.threshold) == (None, None)


def test_an_engine_that_is_refused_can_be_rebuilt_others_not(bench: Bench) -> None:
    processor = bench.start(engine="bad")
    until(lambda: not processor.loading)
    assert processor.notices()[-1].rebuild == ""
    bench._part = refuse  # type: ignore[method-assign]
    processor.use_engine("/x/far.engine")
    until(lambda: (notices := processor.notices()) and "no GPU" in notices[-1].text and not notices[-1].rebuild)
    processor.use_engine("/x/bad.engine")
    until(lambda: (notices := processor.notices()) and notices[-1].rebuild == "/x/bad.engine")


def refuse(what: str, **facts: Any) -> Any:
    raise DtdaError(f"{what}: no GPU." if "far" in what else f"{what}: stale; dtda engine build a.onnx")


def test_the_threshold_changes_while_running_and_back_to_the_students_own(bench: Bench) -> None:
    processor = bench.start(threshold=0.9)
    until(lambda: bench.pipelines)
    assert bench.pipelines[0].threshold == 0.9
    processor.use_threshold(0.3)
    until(lambda: bench.pipelines[0].threshold == 0.3)
    processor.use_threshold(None)
    until(lambda: bench.pipelines[0].threshold == 0.5)


def test_parts_that_cannot_be_imported_are_told(bench: Bench) -> None:
    def broken() -> Parts:
        raise ImportError("no module named onnxruntime")

    bench.processor = Processor(bench.inbox, bench.outbox, Choice(), find_parts=broken)
    bench.processor.start()
    until(lambda: not bench.processor.loading)
    assert "onnxruntime" in bench.processor.notices()[0].text
    bench.show(0)
    assert bench.outbox.get(2).frame.index == 0


def test_stopping_takes_no_longer_than_the_frame_in_work(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: bench.pipelines)
    bench.pipelines[0].delay = 0.3
    bench.show(0)
    time.sleep(0.05)
    began = time.perf_counter()
    processor.stop()
    processor.join(2)
    assert time.perf_counter() - began < 1
    assert not processor.is_alive()


def test_stopping_while_loading_does_not_wait_for_it(bench: Bench) -> None:
    bench.ready.clear()
    processor = bench.start()
    bench.show(0)
    bench.outbox.get(2)
    began = time.perf_counter()
    processor.stop()
    processor.join(2)
    assert time.perf_counter() - began < 0.5


def test_stopping_works_while_nobody_fetches(bench: Bench) -> None:
    processor = bench.start()
    until(lambda: bench.pipelines)
    bench.show(0)
    bench.show(1)  # the first lies unread, the second waits for the slot
    time.sleep(0.05)
    processor.stop()
    processor.join(1)
    assert not processor.is_alive()
