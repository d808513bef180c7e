"""How far a score moves when nothing that matters has changed: errors of the face detector, light, blur, compression.

What happens to a picture is done to the whole frame, and what a detector gets wrong is done to the five points; the crop is
then cut anew and resampled once, as in life. Faces are not looked for again in a changed frame: the drift is the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from dtda.core.data.chips import jittered
from dtda.core.preprocess import upright_box
from dtda.core.types import Floats, Image

# (frame uint8 [H, W, 3] BGR, points float32 [5, 2], generator) -> the same, changed. Neither is written to.
Alter = Callable[[Image, Floats, np.random.Generator], tuple[Image, Floats]]


def _scaled(factor: float, bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    """A box that is `factor` times too large, about its centre."""
    x1, y1, x2, y2 = upright_box(points)
    centre = np.array([x1 + x2, y1 + y2]) / 2
    return bgr, ((points - centre) * factor + centre).astype(np.float32)


def _shifted(across: float, down: float, bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    """A box off by these shares of its width and height."""
    x1, y1, x2, y2 = upright_box(points)
    return bgr, (points + np.array([across * (x2 - x1), down * (y2 - y1)])).astype(np.float32)


def _brighter(factor: float, bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    return np.asarray(cv2.convertScaleAbs(bgr, alpha=factor), np.uint8), points


def _blurred(sigma: float, bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    return np.asarray(cv2.GaussianBlur(bgr, (0, 0), sigma), np.uint8), points


def _compressed(quality: int, bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), points


def _jittered(bgr: Image, points: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    return bgr, jittered(points, rng)


# Where a name has several, all of them are drift by that name. Brightness is of code values, JPEG with OpenCV's tables.
CHANGES: Mapping[str, tuple[Alter, ...]] = {
    "box scale -10 %": (partial(_scaled, 0.9),),
    "box scale +10 %": (partial(_scaled, 1.1),),
    "box shift 5 %": tuple(partial(_shifted, *by) for by in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05))),
    "crop jitter": (_jittered, _jittered),
    "brightness -20 %": (partial(_brighter, 0.8),),
    "brightness +20 %": (partial(_brighter, 1.2),),
    "blur 1 px": (partial(_blurred, 1.0),),
    "JPEG 95": (partial(_compressed, 95),),
    "JPEG 75": (partial(_compressed, 75),),
    "JPEG 50": (partial(_compressed, 50),),
}
ALTERS = tuple((name, alter) for name, alters in CHANGES.items() for alter in alters)


@dataclass(frozen=True, slots=True)
class Drift:
    """|dp| of one change on one group of pictures. flips: share of those that cross the threshold."""

    change: str
    group: str
    count: int
    median: float
    p95: float
    flips: float


def drifts(
    before: npt.NDArray[np.floating],
    after: npt.NDArray[np.floating],
    groups: Mapping[str, npt.NDArray[np.bool_]],
    threshold: float,
) -> list[Drift]:
    """before: P(live) [N]. after: [N, len(ALTERS)]. groups: masks [N]; empty ones are left out. NaN was not scored."""
    found = []
    names = [name for name, _ in ALTERS]
    for change in CHANGES:
        columns = after[:, [number for number, name in enumerate(names) if name == change]]
        for group, chosen in groups.items():
            asis, moved = before[chosen][:, None], columns[chosen]
            there = ~np.isnan(asis + moved)
            if not there.any():
                continue
            distance = np.abs(moved - asis)[there]
            median, p95 = np.percentile(distance, (50, 95))
            flips = ((moved >= threshold) != (asis >= threshold))[there].mean()
            found.append(Drift(change, group, int(there.sum()), float(median), float(p95), float(flips)))
    return found


def unmoved(before: npt.NDArray[np.floating], after: npt.NDArray[np.floating]) -> float:
    """Share of scored pictures whose score a larger box leaves as it was: their crop fills the picture already.
    before, after: as for `drifts`."""
    column = [name for name, _ in ALTERS].index("box scale +10 %")
    there = ~np.isnan(before)
    return float((np.abs(before[there] - after[there, column]) < 1e-6).mean()) if there.any() else 0.0


def altered(bgr: Image, points: Floats, rng: np.random.Generator) -> Sequence[tuple[Image, Floats]]:
    """The frame and the points under each of ALTERS."""
    return [alter(bgr, points, rng) for _, alter in ALTERS]
