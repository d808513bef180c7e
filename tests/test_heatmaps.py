"""Detectors' scores: what their networks get, and what counts as the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Image
from dtda.engines import heatmaps, parity
from dtda.engines.detect import CENTERFACE_OUTPUTS, FIXED, MIN_SCORE, detector_graph
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


PICTURES = np.zeros((3, 3, 64, 64), np.float32)


def scrfd(score: float = 0.3, shift: float = 0, backwards: bool = False) -> heatmaps.Run:
    """SCRFD's nine outputs for an input of 64 pixels. shift: of boxes and points, in cells."""
    outputs = [
        (f"{width}-{count}", np.full((count, width), score if width == 1 else 2 + shift, np.float32))
        for width in (1, 4, 10)
        for count in (128, 32, 8)
    ]
    return lambda planes: dict(outputs[::-1] if backwards else outputs)


def test_all_scores_of_scrfd_are_compared() -> None:
    verdict = heatmaps.compare(scrfd(0.301), scrfd(), PICTURES, "fp16", "onnxruntime")
    assert (verdict.frames, verdict.flips, verdict.passed) == (3, 0, True)
    assert verdict.max_dp == pytest.approx(0.001, abs=1e-6)
    other = heatmaps.compare(scrfd(0.5), scrfd(), PICTURES, "fp16", "onnxruntime")
    assert (other.flips, other.passed) == (3, False)


def test_boxes_and_points_of_scrfd_are_compared_in_pixels_where_there_is_a_face() -> None:
    far = heatmaps.compare(scrfd(0.6, shift=0.1), scrfd(0.6), PICTURES, "fp16", "onnxruntime")
    assert far.max_px == pytest.approx(3.2, abs=1e-4)  # a tenth of the largest stride, 32
    assert not far.passed
    assert "boxes and points 3.2 pixels off (at most 1)" in far.sentence()
    assert heatmaps.compare(scrfd(0.6, shift=0.02), scrfd(0.6), PICTURES, "fp16", "onnxruntime").passed
    assert heatmaps.compare(scrfd(0.3, shift=0.1), scrfd(0.3), PICTURES, "fp16", "onnxruntime").passed


def test_outputs_are_matched_by_name() -> None:
    assert heatmaps.compare(scrfd(0.6, backwards=True), scrfd(0.6), PICTURES, "fp32", "onnxruntime").passed
    with pytest.raises(DtdaError, match="has the outputs"):
        heatmaps.compare(lambda planes: {"x": np.zeros(1)}, scrfd(), PICTURES, "fp32", "onnxruntime")


@pytest.fixture
def centerface(frames: list[Image]) -> tuple[heatmaps.Run, Floats]:
    session = open_session(detector_graph("centerface"), "cpu", 1)
    return heatmaps.session_run(session), heatmaps.inputs("centerface", (1, 3, *FIXED))


@pytest.mark.parametrize("name", CENTERFACE_OUTPUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_in_any_output_fails(
    centerface: tuple[heatmaps.Run, Floats], name: str, value: float
) -> None:
    run, pictures = centerface

    def bad(planes: Floats) -> heatmaps.Outputs:
        outputs = {each: array.copy() for each, array in run(planes).items()}
        outputs[name].reshape(-1)[-1] = value  # in a corner without a face
        return outputs

    assert not heatmaps.compare(bad, run, pictures, "fp16", "onnxruntime").passed


@pytest.mark.parametrize(("name", "shift"), [("538", 0.1), ("539", 0.5), ("540", 0.1)])
def test_sizes_offsets_and_points_that_are_elsewhere_fail(
    centerface: tuple[heatmaps.Run, Floats], name: str, shift: float
) -> None:
    run, pictures = centerface

    def moved(by: float) -> heatmaps.Run:
        return lambda planes: {each: array + by * (each == name) for each, array in run(planes).items()}

    verdict = heatmaps.compare(moved(shift), run, pictures, "fp16", "onnxruntime")
    assert verdict.max_dp == 0
    assert verdict.max_px > 1
    assert not verdict.passed
    assert heatmaps.compare(moved(shift / 1000), run, pictures, "fp16", "onnxruntime").passed
    exact = heatmaps.compare(moved(0.25), run, pictures, "fp16", "onnxruntime")
    assert name != "539" or exact.max_px == pytest.approx(1, abs=1e-3)  # a cell is four pixels


def test_fp16_is_compared(frames: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load_model_from_string(detector_graph("centerface"))
    pictures = heatmaps.inputs("centerface", (1, 3, *FIXED))
    made = heatmaps.half(model, pictures)
    assert made.parity is not None
    assert 0 < made.parity.max_dp < 0.01
    monkeypatch.setitem(parity.LIMITS, "fp16", 1e-7)
    with pytest.raises(DtdaError, match="use fp32"):
        heatmaps.half(model, pictures)
