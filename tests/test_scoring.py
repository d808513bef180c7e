from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.app.pipeline import Pipeline
from dtda.app.scoring import score_clip
from dtda.app.sources import open_source
from dtda.core.types import Image, Label
from dtda.engines.detect import open_detector
from dtda.engines.registry import open_engine


@pytest.fixture
def pipeline(student: Path) -> Pipeline:
    return Pipeline(open_detector("centerface"), open_engine(student))


def test_p_live_is_the_mean_over_the_scored_frames(pipeline: Pipeline, clip: Path) -> None:
    score = score_clip(open_source(str(clip)), pipeline, keep_sightings=True)
    assert (score.frames, score.scored, score.non_response) == (15, 15, 0)
    assert score.p_live == pytest.approx(np.mean([seen.verdict.p_frame for seen in score.sightings]), abs=1e-6)
    assert [seen.frame for seen in score.sightings] == list(range(15))


def test_the_label_follows_the_threshold(pipeline: Pipeline, clip: Path) -> None:
    pipeline.threshold = 0.01
    live = score_clip(open_source(str(clip)), pipeline)
    assert (live.label, live.attack_reason) == (Label.LIVE, "")
    pipeline.threshold = 0.99
    spoof = score_clip(open_source(str(clip)), pipeline)
    assert (spoof.label, spoof.attack_reason) == (Label.SPOOF, "100 % of 15 scored frames below 0.99")


def test_a_picture_counts_one_frame(pipeline: Pipeline, astronaut: Image, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), astronaut)
    score = score_clip(open_source(str(path)), pipeline)
    assert (score.frames, score.scored) == (1, 1)
    assert score.label is not Label.CANNOT_TELL


def test_every_nth_frame(pipeline: Pipeline, clip: Path) -> None:
    score = score_clip(open_source(str(clip)), pipeline, every=4, keep_sightings=True)
    assert score.frames == 4
    assert [seen.frame for seen in score.sightings] == [0, 4, 8, 12]


def test_the_main_face_is_the_large_one_that_stays(
    pipeline: Pipeline, astronaut: Image, write_clip: Callable[..., Path], tmp_path: Path
) -> None:
    """A dark large face throughout, a bright smaller one beside it in the first frames."""
    dark = (astronaut[40:260, 180:400] * 0.4).astype(np.uint8)
    bright = np.asarray(cv2.resize(astronaut[40:260, 180:400], (140, 140), interpolation=cv2.INTER_AREA), np.uint8)
    both = np.full((240, 480, 3), 120, np.uint8)
    both[10:230, 10:230] = dark
    alone = both.copy()
    both[50:190, 300:440] = bright
    path = write_clip(tmp_path / "two.mp4", [both] * 6 + [alone] * 6)
    score = score_clip(open_source(str(path)), pipeline, keep_sightings=True)
    assert {seen.verdict.track for seen in score.sightings} == {0, 1}
    dark_scores = [seen.verdict.p_frame for seen in score.sightings if seen.verdict.face.box[0] < 200]
    assert score.scored == 12
    assert score.p_live == pytest.approx(np.mean(dark_scores), abs=1e-6)


def test_no_face_and_no_usable_face_say_why(pipeline: Pipeline, astronaut: Image, tmp_path: Path) -> None:
    def score(name: str, bgr: Image) -> tuple[object, ...]:
        cv2.imwrite(str(tmp_path / name), bgr)
        result = score_clip(open_source(str(tmp_path / name)), pipeline)
        return result.frames, result.scored, result.non_response, result.p_live, result.label, result.attack_reason

    empty = np.full((480, 640, 3), 90, np.uint8)
    assert score("empty.png", empty) == (1, 0, 1, None, Label.CANNOT_TELL, "no face found")
    empty[:144, :192] = cv2.resize(astronaut, (192, 144), interpolation=cv2.INTER_AREA)
    assert score("small.png", empty) == (1, 0, 1, None, Label.CANNOT_TELL, "too small")
