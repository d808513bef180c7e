"""Detectors' scores: what their networks get, and what counts as the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from dtda.core.errors import DtdaError
from dtda.core.types import Image
from dtda.engines import heatmaps, parity
from dtda.engines.detect import FIXED, MIN_SCORE, detector_graph
from dtda.engines.ort import open_session


@pytest.fixture
def frames(portrait: Image, monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    found = [portrait, np.zeros((90, 160, 3), np.uint8)]
    monkeypatch.setattr(parity, "frames", lambda extra, step: [(frame, False) for frame in found])
    return found


def test_networks_get_what_their_own_libraries_give_them(frames: list[Image]) -> None:
    own = heatmaps.inputs("centerface", (1, 3, *FIXED))
    assert own.shape == (2, 3, *FIXED)
    assert own.dtype == np.float32
    assert (own.min(), own.max() > 200) == (0, True)
    red, blue = own[0, 0, :240].mean(), own[0, 2, :240].mean()
    assert (red > blue) == (frames[0][..., 2].mean() > frames[0][..., 0].mean())  # RGB
    scrfd = heatmaps.inputs("buffalo_s", (1, 3, 640, 640))
    assert scrfd.min() == pytest.approx(-127.5 / 128)
    assert scrfd.max() <= 1


def test_centerface_has_its_face_where_one_is(frames: list[Image]) -> None:
    run = heatmaps.session_run(open_session(detector_graph("centerface"), "cpu", 1))
    seen = [heatmaps._scores(run(picture[None])) for picture in heatmaps.inputs("centerface", (1, 3, *FIXED))]
    assert [scores.shape for scores in seen] == [(64 * 80,)] * 2
    assert seen[0].max() > MIN_SCORE > seen[1].max()


def test_all_scores_of_scrfd_are_compared() -> None:
    def run(shift: float) -> heatmaps.Run:
        return lambda planes: [np.full((cells, width), 0.3 + shift * (width == 1) + 9 * shift * (width > 1), np.float32)
                               for width in (1, 4, 10) for cells in (8, 4, 2)]  # fmt: skip

    pictures = np.zeros((3, 3, 8, 8), np.float32)
    verdict = heatmaps.compare(run(0.01), run(0), pictures, 0.1, "onnxruntime")
    assert (verdict.frames, verdict.flips, verdict.passed) == (3, 0, True)
    assert verdict.max_dp == pytest.approx(0.01, abs=1e-6)
    assert heatmaps.compare(run(0.2), run(0), pictures, 0.1, "onnxruntime").flips == 3


def test_fp16_is_compared(frames: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load_model_from_string(detector_graph("centerface"))
    pictures = heatmaps.inputs("centerface", (1, 3, *FIXED))
    made = heatmaps.half(model, pictures)
    assert made.parity is not None
    assert 0 < made.parity.max_dp < 0.01
    monkeypatch.setitem(parity.LIMITS, "fp16", 1e-7)
    with pytest.raises(DtdaError, match="use fp32"):
        heatmaps.half(model, pictures)
