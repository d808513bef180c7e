"""What is changed under a student, and how the drift of its score is summed up."""

from __future__ import annotations

import numpy as np
import pytest

from dtda.core.preprocess import TEMPLATE, upright_box
from dtda.core.robustness import ALTERS, CHANGES, altered, drifts

POINTS = (TEMPLATE * 1.5 + 40).astype(np.float32)
PICTURE = np.random.default_rng(0).integers(20, 200, (240, 320, 3), np.uint8)
CHANGED = dict(zip([name for name, _ in ALTERS], altered(PICTURE, POINTS, np.random.default_rng(1)), strict=True))


def test_errors_of_the_detector_move_the_points_and_leave_the_frame():
    for name in ("box scale -10 %", "box scale +10 %", "box shift 5 %", "crop jitter"):
        bgr, points = CHANGED[name]
        assert bgr is PICTURE
        assert not np.array_equal(points, POINTS)
    before = upright_box(POINTS)
    for name, factor in (("box scale -10 %", 0.9), ("box scale +10 %", 1.1)):
        after = upright_box(CHANGED[name][1])
        np.testing.assert_allclose(after[2:] - after[:2], factor * (before[2:] - before[:2]), rtol=1e-4)
        np.testing.assert_allclose(after[2:] + after[:2], before[2:] + before[:2], rtol=1e-4)


def test_shifts_go_all_four_ways_by_a_share_of_the_box():
    before = upright_box(POINTS)
    moves = [
        upright_box(alter(PICTURE, POINTS, np.random.default_rng(0))[1]) - before for alter in CHANGES["box shift 5 %"]
    ]
    shares = np.array([move[:2] / (before[2:] - before[:2]) for move in moves])
    np.testing.assert_allclose(shares, [[0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]], atol=1e-4)


def test_what_happens_to_the_picture_is_done_to_the_frame():
    kept = PICTURE.copy()
    for name in ("brightness -20 %", "brightness +20 %", "blur 1 px", "JPEG 95", "JPEG 75", "JPEG 50"):
        bgr, points = CHANGED[name]
        assert points is POINTS
        assert bgr.shape == PICTURE.shape
    assert CHANGED["brightness -20 %"][0].mean() == pytest.approx(0.8 * PICTURE.mean(), rel=0.01)
    assert CHANGED["brightness +20 %"][0].mean() == pytest.approx(1.2 * PICTURE.mean(), rel=0.02)
    errors = [np.abs(CHANGED[f"JPEG {quality}"][0].astype(int) - PICTURE).mean() for quality in (95, 75, 50)]
    assert errors[0] < errors[1] < errors[2]
    np.testing.assert_array_equal(PICTURE, kept)


def test_drift_is_of_scored_pictures_by_group_and_change():
    before = np.array([0.9, 0.6, 0.2, np.nan])
    after = np.repeat(before[:, None], len(ALTERS), 1)
    jitters = [number for number, (name, _) in enumerate(ALTERS) if name == "crop jitter"]
    after[1, jitters[0]] = 0.4  # of the four jitters of two live pictures, this one crosses the threshold
    live = np.array([True, True, False, False])
    found = {(each.change, each.group): each for each in drifts(before, after, {"live": live, "attack": ~live}, 0.5)}
    assert len(found) == 2 * len(CHANGES)
    jitter = found["crop jitter", "live"]
    assert (jitter.count, jitter.median, jitter.flips) == (4, 0, 0.25)
    assert jitter.p95 == pytest.approx(np.percentile([0, 0, 0, 0.2], 95))
    assert found["crop jitter", "attack"].count == 2
    assert found["JPEG 50", "live"].p95 == 0
