"""Single cues that must not tell bona fide from attack by themselves: a simulator in which they do teaches a shortcut."""

from __future__ import annotations

import cv2
import numpy as np

from dtda.core.types import Image

CUES = ("brightness", "contrast", "saturation", "cast", "detail", "noise")


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
