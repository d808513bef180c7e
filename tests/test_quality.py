from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from dtda.core.preprocess import TEMPLATE
from dtda.core.quality import QualityGate, measure, sharpness, yaw
from dtda.core.types import Face, Image, Reason

BOX = np.array([229, 85, 336, 221], np.float32)
POINTS = np.array([[256, 127], [311, 131], [282, 155], [257, 178], [302, 181]], np.float32)
WIDTH = 107


def scaled(bgr: Image, factor: float) -> tuple[Image, Face]:
    """The portrait and its face in another size."""
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=method), np.uint8)
    return picture, Face(BOX * np.float32(factor), POINTS * np.float32(factor), 0.9)


def test_a_plain_face_passes(astronaut: Image) -> None:
    quality = measure(astronaut, Face(BOX, POINTS, 0.9))
    assert quality.ok
    assert quality.size == WIDTH
    assert 60 < quality.brightness < 200
    assert abs(quality.yaw) < 0.2


@pytest.mark.parametrize("factor", [0.5, 1, 2, 4])
def test_sharpness_does_not_depend_on_the_size_of_the_face(astronaut: Image, factor: float) -> None:
    reference = measure(*scaled(astronaut, 1)).sharpness
    assert measure(*scaled(astronaut, factor)).sharpness == pytest.approx(reference, abs=0.06)


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_blur_is_refused_relative_to_the_face(astronaut: Image, factor: float) -> None:
    picture, face = scaled(astronaut, factor)

    def reasons(share: float) -> tuple[Reason, ...]:
        return measure(cv2.GaussianBlur(picture, (0, 0), share * WIDTH * factor), face).reasons

    assert reasons(0.02) == ()
    assert reasons(0.03) == ()
    assert reasons(0.12) == (Reason.BLURRED,)


def test_noisy_dim_and_soft_webcams_pass(astronaut: Image) -> None:
    rng = np.random.default_rng(0)

    def webcam(gain: float, noise: float, blur: float, jpeg: int) -> Image:
        soft = cv2.GaussianBlur(astronaut, (0, 0), blur).astype(float) * gain
        noisy = np.clip(soft + rng.normal(0, noise, soft.shape), 0, 255).astype(np.uint8)
        packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, jpeg])[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)

    for settings in ((1, 0, 2, 40), (0.25, 8, 1.5, 60), (0.3, 2, 2.5, 30), (0.5, 15, 1, 80)):
        quality = measure(webcam(*settings), Face(BOX, POINTS, 0.9))
        assert quality.ok, (settings, quality)


def test_light(astronaut: Image) -> None:
    face = Face(BOX, POINTS, 0.9)
    assert measure((astronaut * 0.08).astype(np.uint8), face).reasons == (Reason.TOO_DARK,)
    white = np.clip(astronaut.astype(int) + 190, 0, 255).astype(np.uint8)
    assert Reason.TOO_BRIGHT in measure(white, face).reasons


def test_small_faces_are_called_small_only(astronaut: Image) -> None:
    assert measure(*scaled(astronaut, 0.3)).reasons == (Reason.TOO_SMALL,)


@pytest.mark.parametrize("cut", [(slice(None), slice(0, 300)), (slice(135, None), slice(None))])
def test_faces_cut_by_the_edge(astronaut: Image, cut: tuple[slice, slice]) -> None:
    offset = np.array([cut[1].start or 0, cut[0].start or 0], np.float32)
    face = Face(BOX - np.tile(offset, 2), POINTS - offset, 0.9)
    assert Reason.CUT_OFF in measure(np.ascontiguousarray(astronaut[cut]), face).reasons


def test_a_face_just_inside_the_frame_is_whole(astronaut: Image) -> None:
    part = np.ascontiguousarray(astronaut[80:222, 228:338])
    assert measure(part, Face(BOX - np.float32([228, 80] * 2), POINTS - np.float32([228, 80]), 0.9)).ok


def test_yaw_is_signed_and_survives_roll() -> None:
    frontal = TEMPLATE
    assert abs(yaw(frontal)) < 0.02
    turned = frontal.copy()
    turned[2, 0] += 20
    assert yaw(turned) == pytest.approx(20 / 35.2, abs=0.03)
    angle = np.radians(70)
    roll = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    assert yaw(turned @ roll.T) == pytest.approx(yaw(turned), abs=1e-3)


def test_a_turned_head_is_refused(astronaut: Image) -> None:
    points = POINTS.copy()
    points[2, 0] += 45
    assert measure(astronaut, Face(BOX, points, 0.9)).reasons == (Reason.TURNED_AWAY,)


def degenerate() -> list[Face]:
    far = np.float32([5000, 5000])
    return [
        Face(BOX, np.full((5, 2), 100, np.float32), 0.9),
        Face(BOX + np.tile(far, 2), POINTS + far, 0.9),
        Face(BOX, np.repeat(POINTS[:1], 5, axis=0) + np.float32([[0, 0], [0, 0], [1, 1], [0, 2], [0, 2]]), 0.9),
    ]


@pytest.mark.parametrize("face", degenerate())
def test_nonsense_is_refused_without_an_exception(astronaut: Image, face: Face) -> None:
    assert not measure(astronaut, face).ok


def test_limits_can_be_set(astronaut: Image) -> None:
    assert QualityGate(min_size=200).measure(astronaut, Face(BOX, POINTS, 0.9)).reasons == (Reason.TOO_SMALL,)


def test_sharpness_ignores_contrast_and_exposure() -> None:
    rng = np.random.default_rng(0)
    patch = cv2.GaussianBlur(rng.integers(60, 190, (64, 64), dtype=np.uint8), (0, 0), 1.5)
    paler: Callable[[float, float], Image] = lambda gain, shift: (patch * gain + shift).astype(np.uint8)  # noqa: E731
    assert sharpness(paler(0.5, 90)) == pytest.approx(sharpness(patch), abs=0.04)
    assert sharpness(np.full((64, 64), 90, np.uint8)) == 0
