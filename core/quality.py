"""Which faces may be scored. A refusal says why; a face is refused only where nobody could tell live from spoof."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.preprocess import similarity
from dtda.core.types import Face, Floats, Image, Quality, Reason

PATCH = 48  # side of the patch that is measured, pixels; small, so that a small face is not called blurred
# The face from brow to chin in the 112x112 template: left, top, side. Background does not count.
_INNER = (20.0, 34.0, 72.0)
_BLUR_REACH = 13  # pixels of the patch over which `sharpness` blurs again
_GRID = 8


@dataclass(frozen=True, slots=True)
class QualityGate:
    """The limits, chosen to let ordinary soft and dim webcams pass."""

    # Shorter side of the box, frame pixels. Below it the chip is mostly enlargement: print dots and screen pixels are
    # gone, and so is the skin.
    min_size: float = 48.0
    # See `sharpness`. Of 200 portraits, a blur of 3 % of the face's width (sigma) brought none below 0.44, one of 4 %
    # brought 2 %, and one of 8 %, where the eyes run together, 67 %. Noise only raises it, so dim webcams pass.
    min_sharpness: float = 0.44
    # Mean luma in [0, 255]. Below 22, less than 1 % of full light, some twenty grey levels are left for the face.
    min_brightness: float = 22.0
    # Above it most of the skin is clipped to white.
    max_brightness: float = 232.0
    # Nose offset over eye distance; 0.5 is a head turned by about 45 degrees, where one cheek is hidden.
    max_yaw: float = 0.5
    # Share of the face, brow to chin, that may lie outside the frame.
    max_outside: float = 0.15

    def measure(self, bgr: Image, face: Face) -> Quality:
        """Measure one face. bgr: uint8 [H, W, 3] BGR."""
        size = min(face.width, face.height)
        turn = yaw(face.points)
        try:
            to_patch = patch_matrix(face.points)
        except ValueError:  # the five points fell into one: nothing frontal is seen
            return Quality(size, 0.0, 0.0, turn, (Reason.TURNED_AWAY,))
        patch = face_patch(bgr, to_patch)
        blur = sharpness(patch)
        luma = float(patch.mean())
        checks = {
            Reason.CUT_OFF: outside(to_patch, bgr.shape[1], bgr.shape[0]) > self.max_outside,
            Reason.TOO_SMALL: size < self.min_size,
            Reason.TOO_DARK: luma < self.min_brightness,
            Reason.TOO_BRIGHT: luma > self.max_brightness,
            Reason.TURNED_AWAY: not abs(turn) <= self.max_yaw,
            # An enlarged or an underexposed face looks blurred too; the cause is named, not its effect.
            Reason.BLURRED: blur < self.min_sharpness and size >= self.min_size and luma >= self.min_brightness,
        }
        return Quality(size, blur, luma, turn, tuple(reason for reason, failed in checks.items() if failed))


def measure(bgr: Image, face: Face) -> Quality:
    """`QualityGate.measure` with the default limits."""
    return QualityGate().measure(bgr, face)


def yaw(points: Floats) -> float:
    """Signed offset of the nose from the middle of the eyes along the line between them, over their distance.

    points: float32 [5, 2] as in `Face`. Inf when the eyes coincide.
    """
    left, right, nose = points[:3].astype(np.float64)
    across = right - left
    distance = float(across @ across)
    if distance < 1e-6:
        return float("inf")
    return float((nose - (left + right) / 2) @ across) / distance


def patch_matrix(points: Floats) -> np.ndarray:
    """Affine from frame pixels to patch pixels, float64 [2, 3]. Raises ValueError when the points coincide."""
    left, top, side = _INNER
    matrix = similarity(points)
    matrix[:, 2] -= left, top
    return matrix * (PATCH / side)


def face_patch(bgr: Image, to_patch: np.ndarray) -> Image:
    """The upright face as uint8 [48, 48] luma. to_patch: float64 [2, 3], frame pixels to patch pixels."""
    scale = float(np.hypot(to_patch[0, 0], to_patch[1, 0]))
    back = np.linalg.solve(to_patch[:, :2], np.array([[0, PATCH, 0, PATCH], [0, 0, PATCH, PATCH]]) - to_patch[:, 2:])
    # Only the part of the frame around the face is converted and smoothed.
    border = int(np.ceil(2 / scale))
    x0, y0 = np.maximum(np.floor(back.min(axis=1)).astype(int) - border, 0)
    x1, y1 = np.ceil(back.max(axis=1)).astype(int) + border
    part = bgr[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    if part.size == 0:
        return np.zeros((PATCH, PATCH), np.uint8)
    luma = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    sigma = 0.4 * (1 / scale - 1)
    if (
        sigma > 0.3
    ):  # warpAffine does not average when it shrinks: without this, large faces would alias into sharp ones
        luma = cv2.GaussianBlur(luma, (0, 0), sigma)
    shifted = to_patch.copy()
    shifted[:, 2] += to_patch[:, :2] @ np.array([x0, y0])
    patch = cv2.warpAffine(luma, shifted, (PATCH, PATCH), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, dtype=np.uint8)


def sharpness(patch: Image) -> float:
    """Share of the patch's gradient that blurring it once more takes away, in [0, 1]; the lesser of both directions.

    patch: uint8 [H, W] luma. What is blurred already loses little (Crete et al., 2007). A ratio: contrast and
    exposure cancel. 0 for a flat patch.
    """
    pixels = patch.astype(np.float32)
    shares = []
    for axis, kernel in ((0, (1, _BLUR_REACH)), (1, (_BLUR_REACH, 1))):
        before = np.abs(np.diff(pixels, axis=axis))
        after = np.abs(np.diff(cv2.blur(pixels, kernel), axis=axis))
        total = float(before.sum())
        shares.append(float(np.maximum(before - after, 0).sum()) / total if total > 0 else 0.0)
    return min(shares)


def outside(to_patch: np.ndarray, width: int, height: int) -> float:
    """Share of the face, brow to chin, that lies outside a frame of this size. to_patch: as in `face_patch`."""
    steps = (np.arange(_GRID) + 0.5) * (PATCH / _GRID)
    grid = np.stack(np.meshgrid(steps, steps)).reshape(2, -1)
    x, y = np.linalg.solve(to_patch[:, :2], grid - to_patch[:, 2:])
    return float(np.mean((x < 0) | (x > width) | (y < 0) | (y > height)))
