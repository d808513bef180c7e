from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.app.pipeline import Pipeline, tour
from dtda.app.sources import open_source
from dtda.core.types import Face, Frame, Image, Label, Reason
from dtda.engines.base import Detector
from dtda.engines.detect import open_detector
from dtda.engines.registry import open_engine


@pytest.fixture
def pipeline(student: Path) -> Iterator[Pipeline]:
    line = Pipeline(open_detector("centerface"), open_engine(student))
    yield line
    line.close()


def frames(bgr: Image, count: int) -> list[Frame]:
    return [Frame(i, i / 15, bgr) for i in range(count)]


def test_a_face_gets_a_verdict(pipeline: Pipeline, astronaut: Image) -> None:
    seen = [pipeline.process(frame) for frame in frames(astronaut, 7)]
    assert [len(observation.verdicts) for observation in seen] == [1] * 7
    assert {observation.verdicts[0].track for observation in seen} == {0}
    assert [observation.verdicts[0].reasons for observation in seen[:2]] == [(Reason.WARMING_UP,)] * 2
    last = seen[-1].verdicts[0]
    chip = seen[-1].aligned[0].chip
    assert chip is not None
    assert chip.shape == (64, 64, 3)
    assert last.p_frame == pytest.approx(chip.mean() / 255, abs=1e-3)
    assert last.p_live == pytest.approx(last.p_frame, abs=0.02)
    assert last.label is (Label.LIVE if last.p_live >= 0.5 else Label.SPOOF)
    assert seen[-1].frame.index == 6


def test_the_chip_is_rgb(student: Path, astronaut: Image) -> None:
    red = astronaut.copy()
    red[:, :, :2] //= 8
    with_red = Pipeline(open_detector("centerface"), open_engine(student))
    (aligned,) = with_red.process(Frame(0, 0, red)).aligned or with_red.process(Frame(0, 0, astronaut)).aligned
    assert aligned.chip is not None
    assert aligned.chip[..., 0].mean() > aligned.chip[..., 2].mean()


def test_detection_runs_on_every_nth_frame(pipeline: Pipeline, astronaut: Image) -> None:
    stages = [pipeline.process(frame).stage_ms for frame in frames(astronaut, 11)]
    assert [i for i, ms in enumerate(stages) if "detect" in ms] == [0, 5, 10]
    assert all({"track", "quality", "align", "infer", "decide"} <= set(ms) for ms in stages)


def test_no_face_is_an_empty_observation(pipeline: Pipeline) -> None:
    observation = pipeline.process(Frame(0, 0, np.zeros((480, 640, 3), np.uint8)))
    assert observation.verdicts == ()
    assert observation.aligned == ()


def test_five_faces_in_one_batch(pipeline: Pipeline, astronaut: Image) -> None:
    row = np.ascontiguousarray(np.hstack([astronaut[40:260, 180:400]] * 5))
    for frame in frames(row, 3):
        observation = pipeline.process(frame)
        assert {verdict.track for verdict in observation.verdicts} == set(range(5))
    assert all(verdict.scored for verdict in observation.verdicts)


def test_refused_faces_are_not_scored(pipeline: Pipeline, astronaut: Image) -> None:
    small = np.full((480, 640, 3), 100, np.uint8)
    small[:144, :192] = cv2.resize(astronaut, (192, 144), interpolation=cv2.INTER_AREA)
    (verdict,) = pipeline.process(Frame(0, 0, small)).verdicts
    assert (verdict.label, verdict.reasons) == (Label.CANNOT_TELL, (Reason.TOO_SMALL,))
    assert math.isnan(verdict.p_frame)


def test_reset_knows_single_pictures(pipeline: Pipeline, astronaut: Image) -> None:
    pipeline.reset(length=1)
    assert pipeline.process(Frame(0, 0, astronaut)).verdicts[0].label is not Label.CANNOT_TELL
    pipeline.reset()
    (verdict,) = pipeline.process(Frame(0, 0, astronaut)).verdicts
    assert verdict.reasons == (Reason.WARMING_UP,)
    assert verdict.track == 1


def test_threshold_can_be_set(student: Path, astronaut: Image) -> None:
    pipeline = Pipeline(open_detector("centerface"), open_engine(student), threshold=0.01)
    assert pipeline.threshold == 0.01
    assert [pipeline.process(frame) for frame in frames(astronaut, 3)][-1].verdicts[0].label is Label.LIVE
    pipeline.threshold = 0.99
    assert pipeline.process(Frame(3, 0.2, astronaut)).verdicts[0].label is Label.SPOOF


def test_uhd_frame(pipeline: Pipeline, astronaut: Image) -> None:
    large = np.asarray(cv2.resize(astronaut, (3840, 2880)), np.uint8)
    for frame in frames(large, 2):
        (verdict,) = pipeline.process(frame).verdicts
        assert verdict.scored


def test_the_tour_names_every_stage(pipeline: Pipeline, clip: Path) -> None:
    lines: list[str] = []
    tour(open_source(str(clip)), pipeline, 6, lines.append)
    text = "".join(lines)
    assert text.count("\nframe ") == 6
    assert "uint8 [480, 640, 3] BGR" in text
    assert "uint8 [64, 64, 3] RGB" in text
    for stage in ("detect", "track", "quality", "align", "infer", "decide"):
        assert f"{stage} " in text


class Closing:
    name = "closing"
    closed = 0

    def detect(self, bgr: Image) -> list[Face]:
        return []

    def close(self) -> None:
        self.closed += 1


def test_close_closes_both(student: Path) -> None:
    detector = Closing()
    engine = open_engine(student)
    line: Callable[[Detector], Pipeline] = lambda d: Pipeline(d, engine)  # noqa: E731
    line(detector).close()
    assert detector.closed == 1
    with pytest.raises(ValueError, match="closed"):
        engine.infer(np.zeros((1, 64, 64, 3), np.uint8))


def test_qt_and_torch_stay_out() -> None:
    code = (
        "import sys, dtda.app.pipeline, dtda.app.sources, dtda.app.mailbox;"
        "print([m for m in sys.modules if m.split('.')[0] in ('PySide6', 'torch', 'insightface')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
