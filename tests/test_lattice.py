import numpy as np
import pytest

from dtda.core.simulate import lattice


@pytest.mark.parametrize("tile", [lattice.rgb_stripe(0.15), lattice.pentile(0.1)])
def test_tiles_keep_the_mean_of_every_channel(tile):
    np.testing.assert_allclose(tile.mean((0, 1)), 1, atol=1e-5)
    assert tile.min() >= 0


def test_stripes_stand_in_the_order_red_green_blue():
    columns = lattice.rgb_stripe(0.1).sum(0)
    centres = [(np.arange(8) * columns[:, channel]).sum() / columns[:, channel].sum() for channel in (2, 1, 0)]
    assert centres[0] < centres[1] < centres[2]


def test_filter_is_the_transfer_function_at_each_harmonic():
    x = (np.arange(8) + 0.5) / 8
    tile = np.tile(1 + 0.5 * np.cos(2 * np.pi * x), (8, 1)).astype(np.float32)
    step, aperture, blur = 0.6, 0.8, 0.4
    found = lattice.filtered(tile, 1, (step, step), aperture, blur)
    gain = np.sinc(step * aperture) * np.exp(-2 * (np.pi * blur * step) ** 2)
    np.testing.assert_allclose(found - 1, (tile - 1) * gain, atol=1e-5)


def test_aliasing_appears_at_the_folded_frequency():
    """1.1 periods per pixel, point-sampled, must show 0.1 cycles per pixel: moire from geometry, not paint."""
    tile = np.tile(1 + 0.5 * np.cos(2 * np.pi * (np.arange(8) + 0.5) / 8), (8, 1)).astype(np.float32)
    across, down = np.meshgrid(np.arange(400), np.arange(4))
    places = [(1.1 * lattice.SAMPLES * part).astype(np.float32) for part in (across, down)]
    row = lattice.sampled(tile, (places[0], places[1]))[0] - 1
    spectrum = np.abs(np.fft.rfft(row))
    assert np.fft.rfftfreq(400)[spectrum.argmax()] == pytest.approx(0.1, abs=0.003)


def test_places_far_from_the_origin_are_as_good_and_may_be_negative():
    tile = lattice.rgb_stripe(0.15)
    near = np.meshgrid(np.arange(0, 40, 1.7), np.arange(0, 40, 1.3))
    for shift in (-8 * 3000, 8 * 5000):  # far beyond the 32767 of OpenCV's fixed point
        far = lattice.sampled(tile, ((near[0] + shift).astype(np.float32), near[1].astype(np.float32)))
        here = lattice.sampled(tile, (near[0].astype(np.float32), near[1].astype(np.float32)))
        np.testing.assert_allclose(far, here, atol=0.1)  # stripes have steep edges, float32 has 24 bits


def test_a_lattice_far_below_a_pixel_vanishes():
    tile = lattice.filtered(lattice.rgb_stripe(0.15), 1, (6.3, 6.3), 0.9, 0.8)
    assert np.abs(tile - 1).max() < 0.01
