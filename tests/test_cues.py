import cv2
import numpy as np
import pytest

from dtda.core.simulate.cues import CUES, measure


@pytest.fixture
def chip():
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[:256, 100:356])


def test_each_cue_answers_to_its_own_change(chip):
    before = measure(chip)
    assert tuple(before) == CUES
    assert measure(np.clip(chip.astype(int) + 20, 0, 255).astype(np.uint8))["brightness"] > before["brightness"] + 15
    assert measure((chip // 2 + 64).astype(np.uint8))["contrast"] < 0.6 * before["contrast"]
    grey = np.repeat(chip.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    assert measure(grey)["saturation"] < 1
    red = chip.astype(int) + np.array([25, 0, -25])
    assert measure(np.clip(red, 0, 255).astype(np.uint8))["cast"] > before["cast"] + 30
    assert measure(cv2.GaussianBlur(chip, (0, 0), 3))["detail"] < before["detail"] - 0.5
    noisy = chip + np.random.default_rng(0).normal(0, 12, chip.shape)
    assert measure(np.clip(noisy, 0, 255).astype(np.uint8))["noise"] > before["noise"] + 0.5


def test_a_flat_chip_is_finite():
    assert all(np.isfinite(value) for value in measure(np.zeros((32, 32, 3), np.uint8)).values())
