"""The gate between engine and student: what passes, what does not, and on which faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.preprocess import CropRule
from dtda.core.types import Image
from dtda.engines import ort, parity

RULE = CropRule(64, 1.5)
EXPECTED = np.linspace(0, 1, 100, dtype=np.float32)


def judge(found: np.ndarray, limit: float = 0.02) -> parity.Parity:
    return parity.judge(found.astype(np.float32), EXPECTED, 0.5, limit, "onnxruntime")


def test_the_same_scores_pass() -> None:
    verdict = judge(EXPECTED)
    assert verdict.passed
    assert (verdict.frames, verdict.max_dp, verdict.mean_dp, verdict.flips) == (100, 0, 0, 0)


def test_one_face_that_is_far_off_fails() -> None:
    found = EXPECTED.copy()
    found[3] += 0.1
    verdict = judge(found)
    assert not verdict.passed
    assert verdict.max_dp == pytest.approx(0.1)
    assert "outside of the limits" in verdict.sentence()


def test_many_faces_that_are_a_little_off_fail() -> None:
    assert not judge(EXPECTED + 0.015).passed  # below the limit, but on average too


def test_verdicts_that_flip_fail() -> None:
    near = np.full(100, 0.5, np.float32)
    verdict = parity.judge(near - 0.001, near, 0.5, 0.02, "onnxruntime")
    assert verdict.flips == 100
    assert not verdict.passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_fails(value: float) -> None:
    found = EXPECTED.copy()
    found[50] = value
    assert not judge(found, limit=0.2).passed


def test_engines_are_compared_in_batches(student: Path, make_student: Callable[..., Path], tmp_path: Path) -> None:
    good, bad = ort.open_engine(student), ort.open_engine(make_student(tmp_path, gain=0.9))
    chips = np.random.default_rng(0).integers(0, 256, (2 * parity.BATCH + 3, 64, 64, 3), np.uint8)
    same = parity.compare(good, good, chips, 0.5, 1e-3)
    assert same.passed
    assert same.frames == len(chips)
    assert same.reference.startswith("onnxruntime ")
    other = parity.compare(bad, good, chips, 0.5, 1e-3)
    assert not other.passed
    assert other.max_dp == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(("count", "most"), [(90, 8), (90, 1), (90, 3), (7, 8), (1, 2), (200, 64), (18, 2)])
def test_batches_of_every_size_are_compared(student: Path, count: int, most: int) -> None:
    good, told = ort.open_engine(student), []

    class Recorded:
        info = dataclasses.replace(good.info, max_batch=most)

        def infer(self, chips: Image) -> np.ndarray:
            told.append(len(chips))
            return good.infer(chips)

    chips = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)
    verdict = parity.compare(Recorded(), good, chips, 0.1, 0.02)
    assert verdict.passed
    assert verdict.frames == sum(told) >= count
    assert max(told) <= most
    for size in {1, min(3, most), most}:
        assert told.count(size) >= 4, size  # the third call makes the CUDA graph, the fourth replays it


def test_ones_and_threes_are_compared_too(student: Path) -> None:
    """An engine that is wrong for one face alone, the live case, is seen by the gate."""
    good = ort.open_engine(student)

    class Wrong:
        def __init__(self, size: int) -> None:
            self.info, self.size = dataclasses.replace(good.info, max_batch=8), size

        def infer(self, chips: Image) -> np.ndarray:
            return good.infer(chips) + 0.1 * (len(chips) == self.size)

    chips = np.random.default_rng(0).integers(0, 256, (90, 64, 64, 3), np.uint8)
    assert parity.compare(Wrong(0), good, chips, 0.1, 0.02).passed
    for size in (1, 3, 8):
        assert not parity.compare(Wrong(size), good, chips, 0.1, 0.02).passed


# -- the faces --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sample(astronaut: Image, write_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips in the place of the sample, whose rendering takes seconds."""
    folder = tmp_path / "sample"
    folder.mkdir()
    clips = [write_clip(folder / f"{name}.mp4", [np.roll(astronaut, 5 * i, 1) for i in range(4)]) for name in "ab"]
    monkeypatch.setattr(parity, "_sample", lambda step: clips)
    return folder


def test_chips_come_from_the_sample_and_from_what_is_named(sample: Path, astronaut: Image, tmp_path: Path) -> None:
    assert parity.chips(RULE).shape == (8, 64, 64, 3)
    photos = tmp_path / "photos" / "deeper"
    photos.mkdir(parents=True)
    cv2.imwrite(str(photos / "a.png"), astronaut)
    cv2.imwrite(str(photos / "landscape.jpg"), np.zeros((90, 90, 3), np.uint8))
    (photos / "notes.txt").write_text("no picture")
    found = parity.chips(RULE, [photos.parent, sample / "a.mp4"])
    assert found.shape == (8 + 1 + 4, 64, 64, 3)
    assert found.dtype == np.uint8


def test_of_a_large_folder_some_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(b"")
    monkeypatch.setattr(parity, "PER_FOLDER", 3)
    assert [path.name for path in parity._files([tmp_path])] == ["1.png", "4.png", "7.png"]


def test_progress_is_told_and_may_stop_it(sample: Path) -> None:
    told: list[float] = []
    parity.chips(RULE, step=told.append)
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] <= 1

    def stop(_: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        parity.chips(RULE, step=stop)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "gone.mp4", "no such file"),
        (lambda folder: _write(folder / "x.jpg", b"text"), "not a readable picture"),
        (lambda folder: _empty(folder / "empty"), "no pictures and no clips"),
        (lambda folder: _picture(folder / "wall.png"), "no face was found"),
    ],
)
def test_what_cannot_be_used_is_told(sample: Path, tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(DtdaError, match=words):
        parity.chips(RULE, [make(tmp_path)])


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def _picture(path: Path) -> Path:
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    return path


def test_the_sample_is_rendered_once_and_shared_with_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    from dtda.core.simulate import sample as rendered

    made: list[str] = []

    def render(name: str, path: Path, stopped: Callable[[], bool]) -> None:
        assert not stopped()
        made.append(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())

    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    monkeypatch.setattr(rendered, "render_clip", render)
    monkeypatch.setattr(parity, "PER_CLIP", 2)
    assert parity.chips(RULE).shape[0] == 3 * parity.PER_CLIP
    parity.chips(RULE)
    assert made == list(rendered.CLIPS)


def test_variations_are_of_the_same_kind_and_reproducible(sample: Path) -> None:
    chips = parity.chips(RULE)
    once, again, other = parity.varied(chips), parity.varied(chips), parity.varied(chips, seed=1)
    assert once.shape == (len(chips) * parity.VARIATIONS, 64, 64, 3)
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)
    assert (once != other).mean() > 0.5
    assert _spread(once) > 2 * _spread(chips)


def _spread(chips: Sequence[Image] | Image) -> float:
    return float(np.std([chip.mean() for chip in chips]))
