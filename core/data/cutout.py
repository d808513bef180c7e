"""The part of a frame that any training crop of its face can need, so that whole frames need not be kept."""

from __future__ import annotations

import numpy as np

from dtda.core.preprocess import TEMPLATE, TEMPLATE_SIDE, similarity
from dtda.core.types import Floats, Image

MARGIN = 6.0  # largest crop margin a training configuration takes
# Bounds, about 4.5 sigma, on what `chips.jittered` does to the crop: size, roll in degrees, centre in eye distances.
GROWTH, ROLL, SHIFT = 1.2, 16.0, 0.5
EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))


def region(points: Floats, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 (exclusive) of the pixels within reach of `preprocess.crop_matrix` for margins up to MARGIN.

    points: float32 [5, 2] frame pixels. shape: (height, width) of the frame. Where the crop would leave the frame it is
    moved and shrunk by the frame's borders; the region then reaches to these borders and far enough from them, so that
    the same rule gives the same crop within the region. Raises ValueError when the points coincide.
    """
    fit = similarity(points)
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    centre = np.linalg.solve(fit[:, :2], np.full(2, TEMPLATE_SIDE / 2) - fit[:, 2])
    roll = np.arctan2(fit[1, 0], fit[0, 0]) + np.radians(np.linspace(-ROLL, ROLL, 33))
    reach = float(np.max(np.abs(np.cos(roll)) + np.abs(np.sin(roll))))
    half = MARGIN * GROWTH * TEMPLATE_SIDE / scale * reach / 2 + 2  # and two pixels for interpolation
    shift = SHIFT * EYES / scale
    height, width = shape
    spans = []
    for middle, limit in zip(centre, (width, height), strict=True):
        low, high = middle - half - shift, middle + half + shift
        if low < 0:
            low, high = 0, max(high, 2 * half)
        if high > limit:
            low, high = min(low, limit - 2 * half), limit
        spans.append((max(0, int(np.floor(low))), min(limit, int(np.ceil(high)))))
    (x1, x2), (y1, y2) = spans
    return x1, y1, x2, y2


def cut_out(bgr: Image, points: Floats) -> tuple[Image, Floats]:
    """The region as a picture, uint8 [h, w, 3] BGR, and the points in it, float32 [5, 2], to a hundredth of a pixel."""
    x1, y1, x2, y2 = region(points, (bgr.shape[0], bgr.shape[1]))
    moved = np.round(points.astype(np.float64) - (x1, y1), 2).astype(np.float32)
    return np.ascontiguousarray(bgr[y1:y2, x1:x2]), moved
