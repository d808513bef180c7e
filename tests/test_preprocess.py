import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda.core.preprocess import TEMPLATE, TEMPLATE_SIDE, CropRule, crop, crop_matrix, similarity


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_template_and_fit_are_insightfaces():
    face_align = pytest.importorskip("insightface.utils.face_align")
    np.testing.assert_array_equal(face_align.arcface_dst, TEMPLATE)
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = (TEMPLATE * rng.uniform(0.3, 6) + rng.normal(0, 4, (5, 2)) + rng.uniform(0, 500, 2)).astype(np.float32)
        np.testing.assert_allclose(similarity(points), face_align.estimate_norm(points), atol=1e-3)


def test_margin_one_is_the_arcface_crop():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (400, 400, 3), np.uint8), (0, 0), 3)
    points = TEMPLATE * 1.5 + 100
    chip = crop(image, points, CropRule(112, 1.2))
    expected = cv2.warpAffine(image, crop_matrix(points, (400, 400), CropRule(112, 1.2)), (112, 112))
    np.testing.assert_array_equal(chip, expected[:, :, ::-1])
    eyes = cv2.transform(points[None], crop_matrix(points, (400, 400), CropRule(112, 1.2)))[0]
    np.testing.assert_allclose(eyes, (TEMPLATE - 56) / 1.2 + 56, atol=1e-3)


@given(
    x=st.floats(0, 640),
    y=st.floats(0, 480),
    scale=st.floats(0.3, 3),
    roll=st.floats(-1.2, 1.2),
    margin=st.floats(1.2, 4),
)
def test_crop_stays_inside_the_picture_or_is_as_small_as_allowed(x, y, scale, roll, margin):
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = ((TEMPLATE - 56) @ turn.T + (x, y)).astype(np.float32)
    matrix = crop_matrix(points, (480, 640), CropRule(100, margin))
    back = cv2.invertAffineTransform(matrix)
    corners = cv2.transform(np.array([[[0, 0], [100, 0], [100, 100], [0, 100]]], np.float64), back)[0]
    side = np.linalg.norm(corners[1] - corners[0])
    smallest = 1.2 * TEMPLATE_SIDE * scale
    assert smallest - 0.05 <= side <= max(margin, 1.2) * TEMPLATE_SIDE * scale + 0.05
    if side > smallest + 0.05:
        assert corners.min() > -0.05
        assert corners[:, 0].max() < 640.05
        assert corners[:, 1].max() < 480.05


def test_a_crop_shrunk_to_the_frame_is_also_moved_into_it():
    roll, scale = 0.359375, 1.9296875  # the shrunk side times its reach is 480 plus a rounding error
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = ((TEMPLATE - 56) @ turn.T + (126, 0.05)).astype(np.float32)
    back = cv2.invertAffineTransform(crop_matrix(points, (480, 640), CropRule(100, 2.0)))
    corners = cv2.transform(np.array([[[0, 0], [100, 0], [100, 100], [0, 100]]], np.float64), back)[0]
    assert corners.min() > -0.05
    assert corners[:, 1].max() < 480.05


def test_a_face_in_the_middle_gets_the_full_margin_upright():
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    points = ((TEMPLATE - 56) @ turn.T + (320, 240)).astype(np.float32)
    matrix = crop_matrix(points, (480, 640), CropRule(128, 2.0))
    found = cv2.transform(points[None], matrix)[0]
    np.testing.assert_allclose(found, (TEMPLATE - 56) / (2 * 112) * 128 + 64, atol=0.05)


def test_crop_is_rgb():
    blue = np.zeros((200, 200, 3), np.uint8)
    blue[..., 0] = 255
    assert crop(blue, TEMPLATE + 40, CropRule(32, 1.5))[16, 16].tolist() == [0, 0, 255]


@pytest.mark.parametrize("points", [np.zeros((5, 2), np.float32), np.full((5, 2), np.nan, np.float32)])
def test_useless_points_are_refused(points):
    with pytest.raises(ValueError, match="coincide"):
        similarity(points)
