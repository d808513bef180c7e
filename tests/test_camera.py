from dataclasses import replace

import cv2
import numpy as np
import pytest

from dtda.core.simulate.camera import capture, draw_shot, metered
from dtda.core.simulate.config import Camera

CLEAN = Camera(
    blur=(0, 0), electrons=(1e6, 1e6), full_well=(1e6, 1e6), read_noise=(0, 0), bias=(0, 0), awb=(0, 0), cast=0,
    denoise=(0, 0), chroma_denoise=(0, 0), sharpen=(0, 0), contrast=(1, 1), saturation=(1, 1), jpeg=(98, 98), mosaic=0,
    sensor=(160, 120), output=(160, 120),
)  # fmt: skip


@pytest.fixture
def shot():
    return draw_shot(CLEAN, np.random.default_rng(0))


def _grey(level):
    return np.full((120, 160, 3), level, np.float32)


def test_exposure_follows_the_scene(shot):
    rng = np.random.default_rng(0)
    dim, _ = capture(_grey(5), shot, rng)
    bright, _ = capture(_grey(500), shot, rng)
    assert abs(float(dim.mean()) - float(bright.mean())) < 2
    assert 110 < dim.mean() < 135  # 0.2 of white in sRGB is 124


def test_a_bright_rectangle_darkens_the_rest(shot):
    scene = _grey(10)
    plain, _ = capture(scene, shot, np.random.default_rng(0))
    scene[30:90, 40:120] = 200
    lit, _ = capture(scene, shot, np.random.default_rng(0))
    assert lit[5, 5].mean() < 0.7 * plain[5, 5].mean()


def test_a_dim_room_is_noisier(shot):
    noisy = replace(shot, electrons=20.0, full_well=8000.0, read_noise=4.0)
    sd = [capture(_grey(level), noisy, np.random.default_rng(1))[0].astype(float).std() for level in (2, 50)]
    assert sd[0] > 2 * sd[1]


def test_mosaic_keeps_colours(shot):
    scene = np.zeros((120, 160, 3), np.float32)
    scene[:] = (10, 40, 90)
    plain, _ = capture(scene, shot, np.random.default_rng(0))
    mosaic, _ = capture(scene, replace(shot, mosaic=True), np.random.default_rng(0))
    np.testing.assert_allclose(mosaic[20:100, 20:140].mean((0, 1)), plain[20:100, 20:140].mean((0, 1)), atol=2)


def test_grey_world_removes_a_cast(shot):
    scene = _grey(20) * np.array([0.5, 1, 1.6], np.float32)
    balanced, _ = capture(scene, replace(shot, awb=1.0), np.random.default_rng(0))
    assert np.ptp(balanced.mean((0, 1))) < 4
    raw, _ = capture(scene, shot, np.random.default_rng(0))
    assert np.ptp(raw.mean((0, 1))) > 40


def test_file_is_the_frame_and_the_scene_is_untouched(shot):
    scene = np.random.default_rng(3).uniform(1, 50, (120, 160, 3)).astype(np.float32)
    before = scene.copy()
    frame, data = capture(scene, shot, np.random.default_rng(0))
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), frame)
    np.testing.assert_array_equal(scene, before)


def test_a_small_sensor_is_blown_up(shot):
    frame, _ = capture(_grey(10), replace(shot, output=(320, 240)), np.random.default_rng(0))
    assert frame.shape == (240, 320, 3)


def test_metering_is_finite_in_the_dark(shot):
    exposure, gains = metered(_grey(0), shot)
    assert np.isfinite(exposure)
    assert np.isfinite(gains).all()
