"""A cut-out stands in for its whole frame: whatever the crop, the chips are the same."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtda.core.data.chips import jittered
from dtda.core.data.cutout import MARGIN, cut_out, region
from dtda.core.preprocess import TEMPLATE, CropRule, crop, crop_matrix


def textured(shape, rng):
    picture = rng.uniform(0, 255, (shape[0] // 4 + 2, shape[1] // 4 + 2, 3)).astype(np.float32)
    return np.ascontiguousarray(
        cv2.resize(picture, None, fx=4, fy=4)[: shape[0], : shape[1]].clip(0, 255).astype(np.uint8)
    )


@settings(max_examples=150)
@given(
    shape=st.tuples(st.integers(60, 420), st.integers(60, 420)),
    centre=st.tuples(st.floats(-0.05, 1.05), st.floats(-0.05, 1.05)),
    size=st.floats(0.04, 1.2),
    roll=st.floats(-180, 180),
    margin=st.floats(1.2, MARGIN),
    seed=st.integers(0, 10**6),
)
def test_a_cut_out_gives_the_chips_of_the_whole_frame(shape, centre, size, roll, margin, seed):
    rng = np.random.default_rng(seed)
    frame = textured(shape, rng)
    angle = np.radians(roll)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = size * min(shape) / 112
    points = (TEMPLATE - 56) @ turn.T * scale + np.array(centre) * (shape[1], shape[0])
    points = points.astype(np.float32)
    part, moved = cut_out(frame, points)
    offset = np.round(points.astype(np.float64) - moved).astype(np.float32).mean(0)
    rule = CropRule(64, margin)
    for number in range(4):
        in_part = moved if number == 0 else jittered(moved, np.random.default_rng(number))
        chips = [crop(picture, at, rule).astype(int) for picture, at in ((part, in_part), (frame, in_part + offset))]
        assert np.abs(chips[0] - chips[1]).max() <= 1


def test_jittered_crops_of_the_largest_margin_lie_in_the_cut_out():
    frame, points = (2400, 2400), TEMPLATE * 0.5 + 1170
    x1, y1, x2, y2 = region(points, frame)
    assert min(x1, y1, frame[1] - x2, frame[0] - y2) > 300  # by its own reach, not by the frame's borders
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 1], [0, 64, 1], [64, 0, 1], [64, 64, 1]])
    for _ in range(5000):
        inverse = cv2.invertAffineTransform(crop_matrix(jittered(points, rng), frame, CropRule(64, MARGIN)))
        at = corners @ inverse.T
        assert x1 + 1 < at[:, 0].min()
        assert at[:, 0].max() < x2 - 1
        assert y1 + 1 < at[:, 1].min()
        assert at[:, 1].max() < y2 - 1


def test_a_small_face_gives_a_small_cut_out():
    frame = np.zeros((1080, 1920, 3), np.uint8)
    part, moved = cut_out(frame, TEMPLATE * 0.9 + 480)
    assert 6 * 100 < part.shape[0] < 1080
    assert 6 * 100 < part.shape[1] < 1200
    np.testing.assert_allclose(moved - moved[0], 0.9 * (TEMPLATE - TEMPLATE[0]), atol=0.02)


def test_points_in_one_place_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        cut_out(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 20, np.float32))


def test_no_configuration_asks_for_more():
    from dtda.core.training.config import DataPart

    assert DataPart(manifests=["m.csv"], margin=MARGIN).margin == MARGIN
    with pytest.raises(ValueError, match="margin"):
        DataPart(manifests=["m.csv"], margin=MARGIN + 0.01)
