"""Single cues that must not tell bona fide from attack by themselves: a simulator in which they do teaches a shortcut."""

from __future__ import annotations

import cv2
import numpy as np

from dtda.core.preprocess import TEMPLATE_SIDE, similarity
from dtda.core.types import Floats, Image

CUES = ("brightness", "contrast", "saturation", "cast", "detail", "noise")
CONTEXT = 2.7  # side of the surveyed square over the width of the face box, as students see it
BOX_IN_TEMPLATE = 0.71  # width of a detector's face box over the side of the ArcFace crop (measured on portraits)


def measure(chip: Image) -> dict[str, float]:
    """Six cues of one chip, uint8 [S, S, 3] RGB.

    brightness: mean luma. contrast: standard deviation of luma. saturation: mean (max - min) of the channels. cast: mean
    of red minus blue. detail: log of the mean absolute Laplacian after a Gaussian of 1 px. noise: log of the
    median absolute Laplacian at full resolution (Immerkaer 1996), which edges hardly move. Units: code values.
    """
    colour = chip.astype(np.float32)
    luma = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(luma, (0, 0), 1.0)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float((colour.max(2) - colour.min(2)).mean()),
        "cast": float((colour[..., 0] - colour[..., 2]).mean()),
        "detail": float(np.log(np.abs(cv2.Laplacian(smooth, cv2.CV_32F)).mean() + 1e-3)),
        "noise": float(np.log(np.median(np.abs(cv2.filter2D(luma, cv2.CV_32F, mask))) + 0.1)),
    }


def survey(bgr: Image, points: Floats) -> dict[str, float]:
    """All cues of one picture at its own resolution: of the face (names as in CUES), and of the square around it.

    bgr: uint8 [H, W, 3]. points: float32 [5, 2], pixels. Beyond CUES: tint: green minus the mean of red and blue. clipped:
    share of pixels with a channel at 250 or more. blocks: log ratio of steps across to steps beside the 8-pixel grid of
    JPEG, the strongest phase. flatness: share of pixels like all their neighbours, as strong compression leaves them.
    scale: log width of the face, pixels. share: of the face in the picture's width. surround: of the square outside the
    face, brightness minus the face's. context: detail of the whole square. Raises ValueError when points coincide.
    """
    fit = similarity(points)
    width = BOX_IN_TEMPLATE * TEMPLATE_SIDE / float(np.hypot(fit[0, 0], fit[1, 0]))
    centre = np.linalg.solve(fit[:, :2], np.full(2, TEMPLATE_SIDE / 2) - fit[:, 2])
    square = _square(bgr, centre, CONTEXT * width)
    face = _square(bgr, centre, width)
    found = measure(np.ascontiguousarray(face[:, :, ::-1]))
    whole = measure(np.ascontiguousarray(square[:, :, ::-1]))
    blue, green, red = (float(value) for value in face.reshape(-1, 3).mean(0))
    luma = cv2.cvtColor(square, cv2.COLOR_BGR2GRAY).astype(np.float32)
    inside = face.shape[0] * face.shape[1] / (square.shape[0] * square.shape[1])
    return found | {
        "tint": green - (red + blue) / 2,
        "clipped": float((face.max(2) >= 250).mean()),
        "blocks": _blocks(luma),
        "flatness": float((cv2.absdiff(luma, cv2.blur(luma, (3, 3))) < 0.4).mean()),
        "scale": float(np.log(width)),
        "share": width / bgr.shape[1],
        "surround": (whole["brightness"] - found["brightness"]) / max(1 - inside, 0.1),
        "square contrast": whole["contrast"],
        "square detail": whole["detail"],
        "square noise": whole["noise"],
    }


def _square(bgr: Image, centre: np.ndarray, side: float) -> Image:
    """The part of a square that lies inside the picture, at least 16 pixels a side."""
    height, width = bgr.shape[:2]
    spans = []
    for middle, limit in zip(centre, (width, height), strict=True):
        low = int(np.clip(middle - side / 2, 0, max(0, limit - 16)))
        spans.append(slice(low, int(np.clip(middle + side / 2, low + 16, max(low + 16, limit)))))
    return bgr[spans[1], spans[0]]


def _blocks(luma: Floats) -> float:
    """Blocking along rows and columns, whatever the phase of the grid in a cut-out (after Wang et al., ICIP 2000)."""
    ratios = []
    for steps in (np.abs(np.diff(luma, axis=1)).mean(0), np.abs(np.diff(luma, axis=0)).mean(1)):
        count = len(steps) // 8 * 8
        if count >= 16:
            phases = steps[:count].reshape(-1, 8).mean(0) + 0.05
            ratios.append(np.log(phases.max() / np.median(phases)))
    return float(np.mean(ratios)) if ratios else 0.0
