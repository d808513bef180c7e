from dataclasses import replace

import cv2
import numpy as np
import pytest

from dtda.core.simulate.camera import capture, defocus, draw_shot, encode, metered, spread
from dtda.core.simulate.config import Camera

CLEAN = Camera(
    blur=(0, 0), skips=0, focus_error=0, flare=(0, 0), motion=0, on_face=(0, 0), electrons=(1e6, 1e6),
    full_well=(1e6, 1e6), read_noise=(0, 0), bias=(0, 0), awb=(0, 0), cast=0, denoise=(0, 0), chroma_denoise=(0, 0),
    sharpen=(0, 0), contrast=(1, 1), saturation=(1, 1), jpeg=(98, 98), mosaic=0, sensor=(160, 120), output=(160, 120),
)  # fmt: skip


@pytest.fixture
def shot():
    return draw_shot(CLEAN, np.random.default_rng(0))


def _grey(level):
    return np.full((120, 160, 3), level, np.float32)


def test_exposure_follows_the_scene(shot):
    rng = np.random.default_rng(0)
    dim = capture(_grey(5), shot, rng)
    bright = capture(_grey(500), shot, rng)
    assert abs(float(dim.mean()) - float(bright.mean())) < 2
    assert 100 < dim.mean() < 122  # 0.2 of white in BT.709 is 111


def test_a_bright_rectangle_darkens_the_rest(shot):
    scene = _grey(10)
    plain = capture(scene, shot, np.random.default_rng(0))
    scene[30:90, 40:120] = 200
    lit = capture(scene, shot, np.random.default_rng(0))
    assert lit[5, 5].mean() < 0.7 * plain[5, 5].mean()


def test_a_dim_room_is_noisier(shot):
    noisy = replace(shot, electrons=20.0, full_well=8000.0, read_noise=4.0)
    sd = [capture(_grey(level), noisy, np.random.default_rng(1)).astype(float).std() for level in (2, 50)]
    assert sd[0] > 2 * sd[1]


def test_mosaic_keeps_colours(shot):
    scene = np.zeros((120, 160, 3), np.float32)
    scene[:] = (10, 40, 90)
    plain = capture(scene, shot, np.random.default_rng(0))
    mosaic = capture(scene, replace(shot, mosaic=True), np.random.default_rng(0))
    np.testing.assert_allclose(mosaic[20:100, 20:140].mean((0, 1)), plain[20:100, 20:140].mean((0, 1)), atol=2)


def test_grey_world_removes_a_cast(shot):
    scene = _grey(20) * np.array([0.5, 1, 1.6], np.float32)
    balanced = capture(scene, replace(shot, awb=1.0), np.random.default_rng(0))
    assert np.ptp(balanced.mean((0, 1))) < 4
    raw = capture(scene, shot, np.random.default_rng(0))
    assert np.ptp(raw.mean((0, 1))) > 40


def test_the_scene_is_untouched_and_the_file_is_the_frame(shot):
    scene = np.random.default_rng(3).uniform(1, 50, (120, 160, 3)).astype(np.float32)
    before = scene.copy()
    noisy = replace(shot, flare=0.05, blur=0.5, motion=(0.02, 0.01))
    frame = capture(cv2.GaussianBlur(scene, (0, 0), 3), noisy, np.random.default_rng(0))
    capture(scene, noisy, np.random.default_rng(0))
    back = cv2.imdecode(np.frombuffer(encode(frame, 98), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back.astype(int) - frame).mean() < 1
    np.testing.assert_array_equal(scene, before)


def test_a_small_sensor_is_blown_up(shot):
    frame = capture(_grey(10), shot, np.random.default_rng(0), size=(320, 240))
    assert frame.shape == (240, 320, 3)


def test_metering_is_finite_in_the_dark(shot):
    metering = metered(_grey(0), shot)
    assert np.isfinite(metering.exposure)
    assert np.isfinite(metering.gains).all()


def test_a_face_in_the_dark_is_exposed_for_where_the_camera_looks_for_it(shot):
    scene = _grey(100)
    scene[80:110, 120:150] = 5
    face = (135 / 160, 95 / 160, 30 / 160)
    seen = [metered(scene, replace(shot, on_face=share), face).exposure for share in (0.0, 1.0)]
    assert seen[1] > 2 * seen[0]


def test_what_clips_is_white_whatever_the_light(shot):
    warm = _grey(20) * np.array([0.5, 1, 1.6], np.float32)
    warm[:40] *= 50
    frame = capture(warm, replace(shot, awb=1.0), np.random.default_rng(0))
    assert np.ptp(frame[5:30].mean((0, 1))) < 2
    assert frame[5:30].mean() > 250


def test_defocus_grows_with_the_distance_from_the_focus_and_not_with_an_autofocus(shot):
    fixed = replace(shot, focus_m=0.8, pupil_mm=1.0)
    sigmas = [defocus(fixed, metres) for metres in (0.8, 0.4, 0.2)]
    assert sigmas[0] == pytest.approx(0)
    assert sigmas[0] < sigmas[1] < sigmas[2]
    # focal length in pixels x pupil x |1/d - 1/f| is the disc's diameter, four standard deviations.
    assert sigmas[1] == pytest.approx(fixed.focal * 160 * 1e-3 * (1 / 0.4 - 1 / 0.8) / 4)
    assert defocus(replace(fixed, focus_m=None), 0.2) == 0


def test_movement_smears_along_its_way_only(shot):
    scene = _grey(10)
    scene[:, 78:82] = 60
    scene[58:62] = 60
    still = capture(scene, shot, np.random.default_rng(0)).astype(float)
    moving = replace(shot, motion=(0.06, 0.0), full_well=1e9)  # the shutter stays open for all of it
    blurred = capture(scene, moving, np.random.default_rng(0), face=100).astype(float)
    across = [np.abs(np.diff(picture[20:40], axis=1)).max() for picture in (blurred, still)]
    down = [np.abs(np.diff(picture[:, 20:40], axis=0)).max() for picture in (blurred, still)]
    assert across[0] < 0.6 * across[1]
    assert down[0] > 0.9 * down[1]
    assert spread(moving, metered(scene, shot), 0.0, 100) > spread(shot, metered(scene, shot), 0.0, 100)


def test_cells_are_not_blurred_by_the_lens(shot):
    """What sampling has folded back stays; the same contrast in the scene itself would pass the lens first."""
    rows = np.tile(np.where(np.arange(160) % 2, 0.5, 1.5).astype(np.float32), (120, 1))
    cells = np.repeat(rows[..., None], 3, 2)
    soft = replace(shot, blur=1.0)
    seen = capture(_grey(10), soft, np.random.default_rng(0), cells=cells).astype(float)
    lost = capture(_grey(10) * cells, soft, np.random.default_rng(0)).astype(float)
    assert np.abs(np.diff(seen, axis=1)).mean() > 20 * np.abs(np.diff(lost, axis=1)).mean()
