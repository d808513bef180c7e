import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda.core.preprocess import TEMPLATE, TEMPLATE_SIDE, CropRule, crop, crop_matrix, similarity, upright_box


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


def test_an_upright_chip_is_the_box_times_margin_resized():
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(rng.integers(0, 256, (400, 500, 3), np.uint8), (0, 0), 6)
    points = ((TEMPLATE - 56) * 0.5 + (250, 200)).astype(np.float32)
    x1, y1, x2, y2 = upright_box(points)
    assert (x2 - x1, y2 - y1) == pytest.approx((40.5, 53.65))
    left, top = round((x1 + x2) / 2 - 54), round((y1 + y2) / 2 - 72)  # margin 8/3: 108 x 143.07 pixels
    expected = cv2.resize(image[top : top + 143, left : left + 108], (80, 80))[:, :, ::-1]
    found = crop(image, points, CropRule(80, 8 / 3, "upright"))
    assert np.abs(found.astype(int) - expected).mean() < 1  # but for the part of a pixel by which `expected` is off
    turned = ((TEMPLATE - 56) @ np.array([[0.48, 0.14], [-0.14, 0.48]]) + (250, 200)).astype(np.float32)
    matrix = crop_matrix(turned, (400, 500), CropRule(80, 2.7, "upright"))
    assert matrix[0, 1] == matrix[1, 0] == 0


@given(x=st.floats(0, 320), y=st.floats(0, 240), scale=st.floats(0.3, 3), margin=st.floats(1.2, 4))
def test_an_upright_chip_stays_inside_the_picture_or_is_the_box(x, y, scale, margin):
    points = ((TEMPLATE - 56) * scale + (x, y)).astype(np.float32)
    back = cv2.invertAffineTransform(crop_matrix(points, (240, 320), CropRule(100, margin, "upright")))
    (left, top), (right, bottom) = cv2.transform(np.array([[[-0.5, -0.5], [99.5, 99.5]]]), back)[0] + 0.5
    assert (right - left) / (bottom - top) == pytest.approx(81 / 107.3, rel=1e-3)
    assert 81 * scale - 0.05 <= right - left <= max(margin, 1) * 81 * scale + 0.05
    if right - left > 81 * scale + 0.05:
        assert min(left, top) > -0.05
        assert right < 320.05
        assert bottom < 240.05
    if 81 * scale * margin < 300 and 107.3 * scale * margin < 220:
        assert right - left == pytest.approx(81 * scale * margin, rel=1e-3)


def test_crop_is_rgb():
    blue = np.zeros((200, 200, 3), np.uint8)
    blue[..., 0] = 255
    assert crop(blue, TEMPLATE + 40, CropRule(32, 1.5))[16, 16].tolist() == [0, 0, 255]


@pytest.mark.parametrize("points", [np.zeros((5, 2), np.float32), np.full((5, 2), np.nan, np.float32)])
def test_useless_points_are_refused(points):
    with pytest.raises(ValueError, match="coincide"):
        similarity(points)
