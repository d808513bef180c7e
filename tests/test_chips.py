"""The chip cache: resumed after a kill, and its points where the face is."""

import dataclasses
import errno
import re
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from dtda.core.data import chips as module
from dtda.core.data.chips import cut_chips
from dtda.core.data.manifest import Record, write_manifest
from dtda.core.errors import DtdaError
from dtda.core.preprocess import TEMPLATE, CropRule, crop
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


def test_few_pictures_wait_in_memory_when_the_disk_is_slow(records, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 3)
    opened, waiting, read = [], [], module.read_picture
    monkeypatch.setattr(module, "read_picture", lambda path: opened.append(path) or read(path))

    def slow(count):
        time.sleep(0.02)
        waiting.append(len(opened) - len(waiting))

    cut_chips(records, RULE, 2, tmp_path / "cut", progress=slow)
    assert len(waiting) == len(records)
    assert max(waiting) <= 3


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


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_every_picture_is_jittered_since_protocols_say_who_trains(records, tmp_path, part):
    changed = [dataclasses.replace(record, split=part) for record in records]
    images = cut_chips(changed, RULE, 3, tmp_path / "cache").images
    for first, second, third in images:
        assert not np.array_equal(first, second)
        assert not np.array_equal(second, third)
    unmoved = crop(cv2.imread(str(records[0].path)), records[0].points, RULE)
    np.testing.assert_array_equal(images[0, 0], unmoved)


def test_a_disk_that_is_too_small_is_one_sentence_with_place_and_need(records, tmp_path):
    """Files may not grow beyond 200 kB here, as on a full disk; 12 x 3 chips of 64 px are 442 kB."""

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    write_manifest(tmp_path / "manifest.csv", records)
    code = (
        "import sys; from pathlib import Path; from dtda.core.data.chips import *; from dtda.core.errors import DtdaError\n"
        "from dtda.core.data.manifest import read_manifest; from dtda.core.preprocess import CropRule\n"
        "place = Path(sys.argv[1])\n"
        "try: cut_chips(read_manifest(place / 'manifest.csv'), CropRule(64, 1.6), 3, place / 'cache')\n"
        "except DtdaError as error: sys.exit(str(error))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], preexec_fn=small, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r"/cache/\w{16}: the chips need 0\.4 MB and .* are free there; free some space", done.stderr)
    assert not list((tmp_path / "cache").glob("*/*.npy"))
    assert len(cut_chips(records, RULE, 3, tmp_path / "cache").records) == 12  # and when there is room it works


def test_where_space_cannot_be_reserved_the_free_space_decides(records, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(module.os, "posix_fallocate", refuse)
    usage = module.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=100_000))
        with pytest.raises(DtdaError, match=r"need 0\.4 MB and 0\.1 MB are free"):
            cut_chips(records, RULE, 3, tmp_path / "cache")
    assert len(cut_chips(records, RULE, 3, tmp_path / "cache").records) == 12


def test_the_space_of_the_arrays_is_reserved(tmp_path):
    module._arrays(tmp_path / "a", 10, 2, 64)
    stat = (tmp_path / "a" / "images.npy").stat()
    assert stat.st_blocks * 512 >= stat.st_size > 10 * 2 * 64 * 64 * 3


def test_points_are_where_the_face_is_in_every_crop(records, tmp_path):
    chips = cut_chips(records, RULE, 3, tmp_path / "cache")
    assert chips.points.shape == (12, 3, 5, 2)
    np.testing.assert_allclose(chips.points[0, 0], (TEMPLATE - 56) / 1.6 * 64 / 112 + 32, atol=0.3)
    for images, points in zip(chips.images, chips.points, strict=True):
        for image, placed in zip(images, points, strict=True):
            y, x = np.nonzero(image.min(2) > 180)  # the white nose
            np.testing.assert_allclose([x.mean(), y.mean()], placed[2], atol=1.0)
