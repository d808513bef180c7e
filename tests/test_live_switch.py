"""The processing thread on a real pipeline, from onnxruntime to TensorRT (the fake) and back while frames go by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_tensorrt import Rig, install, write_engine

from dtda.app.mailbox import Mailbox
from dtda.app.pipeline import Pipeline
from dtda.app.records import Shot
from dtda.app.workers import Choice, Parts, Processor
from dtda.core.types import Frame, Image, Observation
from dtda.engines.detect import CenterFaceDetector
from dtda.engines.registry import open_engine


class Live:
    """A processor that is fed the same picture over and over."""

    def __init__(self, picture: Image, student: Path) -> None:
        self.inbox: Mailbox[Shot] = Mailbox()
        self.outbox: Mailbox[Observation] = Mailbox()
        self.picture = picture
        self.index = 0
        parts = Parts(
            lambda _: CenterFaceDetector(threads=1),
            open_engine,
            lambda detector, engine, threshold: Pipeline(detector, engine, threshold=threshold),
        )
        self.processor = Processor(self.inbox, self.outbox, Choice(engine=str(student)), find_parts=lambda: parts)
        self.processor.start()

    def step(self) -> Observation:
        """What is said of the next frame. One that comes while the student loads is published twice."""
        self.inbox.put_wait(Shot(Frame(self.index, self.index / 15, self.picture), 1, False, length=None, shown=True))
        self.index += 1
        while (seen := self.outbox.get(5)).frame.index < self.index - 1:
            pass
        return seen

    def until(self, true: Callable[[], object]) -> list[Observation]:
        """Frames until something is so."""
        seen, deadline = [], time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, [notice.text for notice in self.processor.notices()]
            seen.append(self.step())
        return seen

    def backend(self) -> str:
        return self.processor.info.backend if self.processor.info else ""


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    yield made
    made.check()


@pytest.fixture
def live(rig: Rig, student: Path, astronaut: Image) -> Iterator[Live]:
    made = Live(astronaut, student)
    yield made
    made.processor.stop()
    made.processor.join(5)
    assert not made.processor.is_alive()


def test_there_and_back_without_losing_a_frame(live: Live, rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    live.until(lambda: live.backend().startswith("onnxruntime"))
    live.step()
    (expected,) = live.step().verdicts
    seen = []
    for _ in range(2):
        for name, backend in ((tmp_path / "tiny.engine", "TensorRT"), (student, "onnxruntime")):
            live.processor.use_engine(str(name))
            seen += live.until(lambda backend=backend: live.backend().startswith(backend))
            seen += [live.step() for _ in range(4)]
            assert seen[-1].verdicts[0].p_frame == pytest.approx(expected.p_frame, abs=1e-6)
    assert [observation.frame.index for observation in seen] == list(range(seen[0].frame.index, live.index))
    assert all(observation.verdicts for observation in seen)  # the one before judges until the next is open
    rig.check()  # both engines are closed already, in their threads
    assert rig.gpu.launches > 0


def test_a_threshold_of_the_user_stays_with_its_student(live: Live, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    live.until(lambda: live.backend().startswith("onnxruntime"))
    live.processor.use_threshold(0.77)
    for name, backend in ((tmp_path / "tiny.engine", "TensorRT"), (student, "onnxruntime")):
        live.processor.use_engine(str(name))
        live.until(lambda backend=backend: live.backend().startswith(backend))
        live.step()
        assert live.processor.choice.threshold == 0.77
        assert live.processor._pipeline is not None
        assert live.processor._pipeline.threshold == 0.77


def test_an_engine_that_breaks_leaves_the_picture_and_frees_the_gpu(
    live: Live, rig: Rig, student: Path, tmp_path: Path
) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    live.processor.use_engine(str(tmp_path / "tiny.engine"))
    live.until(lambda: live.backend().startswith("TensorRT"))
    rig.gpu.fail["cuMemcpyHtoDAsync_v2"] = 700
    live.until(lambda: live.processor.info is None)
    assert live.step().verdicts == ()
    assert any("GPU failed while copying" in notice.text for notice in live.processor.notices())
    rig.check()


def test_a_refused_engine_leaves_the_old_one(live: Live, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "old.engine", student, version="10.16.1.11")
    live.until(lambda: live.backend())
    live.processor.use_engine(str(tmp_path / "old.engine"))
    texts: list[str] = []
    live.until(lambda: texts.extend(n.text for n in live.processor.notices()) or any("own version" in t for t in texts))
    assert live.backend().startswith("onnxruntime")


def test_stopping_closes_the_engine(rig: Rig, student: Path, astronaut: Image, tmp_path: Path) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    live = Live(astronaut, tmp_path / "tiny.engine")
    live.until(lambda: live.backend().startswith("TensorRT"))
    live.step()
    live.processor.stop()
    live.processor.join(5)
    rig.check()
