"""The chip cache: resumed after a kill, and its points where the face is."""

import cv2
import numpy as np
import pytest

from dtda.core.data import chips as module
from dtda.core.data.chips import cut_chips
from dtda.core.data.manifest import Record
from dtda.core.preprocess import TEMPLATE, CropRule
from dtda.core.types import Label

RULE = CropRule(64, 1.6)


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(12):
        picture = rng.integers(0, 60, (160, 160, 3), np.uint8)
        points = (TEMPLATE * 0.5 + rng.uniform(40, 60, 2)).astype(np.float32)
        cv2.circle(picture, tuple(np.round(points[2]).astype(int).tolist()), 3, (255, 255, 255), -1)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        path = tmp_path / f"{number}.png"
        made.append(Record(path, Label.LIVE, "", "a", f"s{number}", "train", points, str(number)))
    return made


def test_a_killed_cut_goes_on_where_it_was(records, tmp_path, monkeypatch):
    whole = cut_chips(records, RULE, 2, tmp_path / "whole")
    monkeypatch.setattr(module, "INTERVAL", 4)
    opened = []
    read = module.read_picture

    def failing(path):
        opened.append(path.name)
        if path.name == "9.png" and opened.count("9.png") == 1:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, "read_picture", failing)
    with pytest.raises(KeyboardInterrupt):
        cut_chips(records, RULE, 2, tmp_path / "cut")
    resumed = cut_chips(records, RULE, 2, tmp_path / "cut")
    assert opened.count("3.png") == 1
    assert opened.count("9.png") == 2
    assert resumed.records == whole.records
    for name in ("images", "points", "cues"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


def test_points_are_where_the_face_is_in_every_crop(records, tmp_path):
    chips = cut_chips(records, RULE, 3, tmp_path / "cache")
    assert chips.points.shape == (12, 3, 5, 2)
    np.testing.assert_allclose(chips.points[0, 0], (TEMPLATE - 56) / 1.6 * 64 / 112 + 32, atol=0.3)
    for images, points in zip(chips.images, chips.points, strict=True):
        for image, placed in zip(images, points, strict=True):
            y, x = np.nonzero(image.min(2) > 180)  # the white nose
            np.testing.assert_allclose([x.mean(), y.mean()], placed[2], atol=1.0)
