import numpy as np
import pytest

from dtda.core.simulate.config import Room
from dtda.core.simulate.rooms import draw_surroundings
from dtda.core.simulate.scene import View, draw_light, whole

FRAME = (640, 480)


def _drawn(seed, **room):
    rng = np.random.default_rng(seed)
    config = Room(**room)
    light = draw_light(config, rng)
    return draw_surroundings(config, light, FRAME, rng), light


def test_walls_reflect_less_than_white_paper_and_windows_send_more():
    for seed in range(10):
        plain, light = _drawn(seed, backlight=0.0)
        lit, other = _drawn(seed, backlight=1.0)
        white, sky = float(light.white().max()), float(other.white().max())
        assert 0 < plain.picture.min() <= plain.picture.max() < 1.1 * white
        assert lit.picture.max() > 1.2 * 0.35 * sky


def test_a_blurred_room_is_the_same_place_at_any_resolution():
    sharp, _ = _drawn(3, background_blur=(0.0, 0.0))
    soft, _ = _drawn(3, background_blur=(0.03, 0.03))
    assert soft.picture.shape[0] < sharp.picture.shape[0]  # what is out of focus needs no pixels
    view = View(200, 100, (240, 200))
    seen = sharp.seen(view)
    assert seen.shape == (200, 240, 3)
    again = sharp.seen(View(200, 100, (120, 100), 0.5))
    np.testing.assert_allclose(again.mean((0, 1)), seen.mean((0, 1)), rtol=0.03)
    small = sharp.seen(whole(FRAME))
    assert small.mean() == pytest.approx(sharp.picture.mean(), rel=0.05)


def test_a_mirror_shows_lamps_and_matt_glass_a_haze():
    for seed in range(30):
        room, _ = _drawn(seed)
        if room.mirrored.max() > 20 * np.median(room.mirrored):
            break
    view = View(0, 0, (80, 60), 1 / 8)
    mirror, matt = room.reflected(view, 0.0), room.reflected(view, 1.0)
    assert mirror.max() > 3 * matt.max()
    assert matt.mean() == pytest.approx(mirror.mean(), rel=0.6)
