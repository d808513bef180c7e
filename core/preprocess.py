"""From a frame and five facial points to the chip the student sees. The only copy: training and live use it.

An "aligned" chip is the face turned upright with insightface's five-point template, with `margin` times the template's
context around it. An "upright" chip is not turned: it is `margin` times the face's box, squeezed into a square, which keeps
the grid of the camera's pixels and is what anti-spoofing networks on box crops know (Silent-Face-Anti-Spoofing, for one).
Where either would leave the picture it is moved and, if need be, shrunk until it fits, so that the student never sees
invented border pixels unless the face itself touches the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from dtda.core.types import EngineInfo, Floats, Image

# Positions of the five points in the 112x112 ArcFace crop (insightface, utils/face_align.py, `arcface_dst`).
TEMPLATE: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
TEMPLATE_SIDE = 112.0
# Centre and size of CenterFace's box in that crop, means over 348 faces; the sizes vary by 4 %, sideways it goes with yaw.
BOX_CENTRE = np.array([56.6, 64.6])
BOX_SIZE = np.array([81.0, 107.3])
MIN_MARGIN = 1.2  # of an aligned chip; an upright one holds at least the box

Crop = Literal["aligned", "upright"]


@dataclass(frozen=True, slots=True)
class CropRule:
    """size: side of the chip in pixels. margin: side of the crop over the side of the ArcFace crop ("aligned") or over the
    face's box ("upright")."""

    size: int
    margin: float
    kind: Crop = "aligned"


def rules(info: EngineInfo) -> tuple[CropRule, ...]:
    """How to cut the chips of an engine, a batch by each rule: one, or one for each of the networks that it averages."""
    return CropRule(info.size, info.margin, info.crop), *info.further


def similarity(points: Floats) -> np.ndarray:
    """Least-squares similarity from frame pixels to template pixels.

    points: float32 [5, 2]. Returns float64 [2, 3]. Same fit as insightface's `estimate_norm` (Umeyama 1991 without
    reflection), in closed form: rotation and scale are one complex number, z -> a z + b.
    Raises ValueError when the points coincide or are not finite.
    """
    src = points.astype(np.float64).reshape(5, 2) @ np.array([1, 1j])
    dst = TEMPLATE.astype(np.float64) @ np.array([1, 1j])
    src_mean, dst_mean = src.mean(), dst.mean()
    spread = float(np.sum(np.abs(src - src_mean) ** 2))
    if not np.isfinite(spread) or spread < 1e-6:
        raise ValueError("facial points coincide or are not finite")
    a = np.sum(np.conj(src - src_mean) * (dst - dst_mean)) / spread
    b = dst_mean - a * src_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def crop_matrix(points: Floats, shape: tuple[int, int], rule: CropRule) -> np.ndarray:
    """Affine from frame pixels to chip pixels, float64 [2, 3].

    points: float32 [5, 2] frame pixels. shape: (height, width) of the frame.
    """
    return (_aligned if rule.kind == "aligned" else _upright)(points, shape, rule)


def _aligned(points: Floats, shape: tuple[int, int], rule: CropRule) -> np.ndarray:
    fit = similarity(points)
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))  # template pixels per frame pixel
    rotation = fit[:, :2] / scale
    centre = np.linalg.solve(fit[:, :2], np.full(2, TEMPLATE_SIDE / 2) - fit[:, 2])
    side = rule.margin * TEMPLATE_SIDE / scale
    # A square of side s turned by the face's roll needs s * reach pixels of the frame each way.
    reach = float(np.abs(rotation[0]).sum())
    height, width = shape
    smallest = MIN_MARGIN * TEMPLATE_SIDE / scale
    side = max(min(side, min(height, width) / reach), smallest)
    half = side * reach / 2
    centre = _within(centre, np.array([half, half]), shape)
    linear = rotation * (rule.size / side)
    shift = np.full(2, rule.size / 2) - linear @ centre
    return np.column_stack([linear, shift])


def _upright(points: Floats, shape: tuple[int, int], rule: CropRule) -> np.ndarray:
    x1, y1, x2, y2 = upright_box(points)
    box = np.array([x2 - x1, y2 - y1])
    height, width = shape
    margin = max(min(rule.margin, float(np.min([width, height] / box))), 1.0)
    centre = _within(np.array([x1 + x2, y1 + y2]) / 2, margin * box / 2, shape)
    scale = rule.size / (margin * box)
    # Pixel centres have whole coordinates: half a pixel of the chip is not half a pixel of the frame.
    return np.column_stack([np.diag(scale), rule.size / 2 - scale * centre + (scale - 1) / 2])


def upright_box(points: Floats) -> np.ndarray:
    """The upright box of a face as a detector would give it, float64 [4] xyxy. points: float32 [5, 2], any unit.

    From the points, so that a crop depends on nothing else. Raises ValueError as `similarity`.
    """
    fit = similarity(points)
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    centre = np.linalg.solve(fit[:, :2], BOX_CENTRE - fit[:, 2])
    return np.concatenate([centre - BOX_SIZE / scale / 2, centre + BOX_SIZE / scale / 2])


def _within(centre: np.ndarray, half: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The centre moved so that a box of half sizes `half` lies in the picture, where it can."""
    moved = centre.copy()
    for axis, limit in enumerate((shape[1], shape[0])):
        if 2 * half[axis] <= limit + 1e-6:  # a side shrunk to the limit exceeds it by rounding half of the time
            moved[axis] = np.clip(centre[axis], half[axis], max(half[axis], limit - half[axis]))
    return moved


def crop(bgr: Image, points: Floats, rule: CropRule) -> Image:
    """The chip of one face.

    bgr: uint8 [H, W, 3] BGR. points: float32 [5, 2] frame pixels. Returns uint8 [size, size, 3] RGB.
    """
    matrix = crop_matrix(points, (bgr.shape[0], bgr.shape[1]), rule)
    chip = cv2.warpAffine(bgr, matrix, (rule.size, rule.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(chip[:, :, ::-1])
