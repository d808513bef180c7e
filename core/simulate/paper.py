"""Print attack: a picture on paper, lit by the room."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate import lattice
from dtda.core.simulate.camera import LUMA, Shot, log_uniform
from dtda.core.simulate.config import Print
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import to_linear
from dtda.core.simulate.scene import Light
from dtda.core.types import Floats, Image

# Screen angles of magenta, yellow and cyan in degrees, as seen by the green, blue and red channel (ISO 12647-1 practice).
ANGLES = {1: 75.0, 0: 0.0, 2: 15.0}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One draw of a print's parameters; units as in `config.Print`, tint float32 [3] BGR."""

    paper: float
    ink: float
    gain: float
    gamut: float
    lpi: float
    dots: float
    grain: float
    gloss: float
    bend: float
    face_mm: float
    border: float
    tint: Floats
    lamp: tuple[float, float, float]


def draw_sheet(config: Print, rng: np.random.Generator) -> Sheet:
    return Sheet(
        paper=rng.uniform(*config.paper),
        ink=rng.uniform(*config.ink),
        gain=rng.uniform(*config.gain),
        gamut=rng.uniform(*config.gamut),
        lpi=rng.uniform(*config.screen),
        dots=rng.uniform(*config.dots),
        grain=rng.uniform(*config.grain),
        gloss=rng.uniform(*config.gloss),
        bend=rng.uniform(*config.bend) * rng.choice([-1, 1]),
        face_mm=log_uniform(rng, config.face_mm),
        border=rng.uniform(*config.border),
        tint=np.exp2(rng.normal(0, 0.03, 3)).astype(np.float32),
        lamp=(rng.uniform(-0.2, 1.2), rng.uniform(-0.2, 1.2), rng.uniform(0.1, 0.5)),
    )


def sheet_radiance(picture: Image, sheet: Sheet, plane: Plane, light: Light, shot: Shot, seed: int) -> Floats:
    """Radiance of the printed picture at every camera pixel of the plane.

    picture: uint8 [h, w, 3] BGR, sRGB. Returns float32 [H, W, 3] BGR, cd/m2; only valid inside the plane's mask.
    """
    linear = to_linear(picture)
    luma = (linear @ LUMA)[..., None]
    value = np.clip(luma + (linear - luma) * np.float32(sheet.gamut), 0, 1) ** np.float32(sheet.gain)
    value = plane.warp(value, border=(1.0, 1.0, 1.0))
    grain = _grain(plane, seed)
    # Fewer grains fall under one pixel when the camera is close.
    value *= 1 + np.float32(sheet.grain * min(3.0, 1.0 / np.sqrt(plane.mm_per_pixel))) * grain[..., None]
    if sheet.lpi > 0:
        value = _halftoned(value, sheet, plane, shot)
    reflectance = sheet.ink + (sheet.paper * sheet.tint - sheet.ink) * np.clip(value, 0, 1.1)
    size = (plane.size[0], plane.size[1])
    radiance = reflectance * light.white() * light.shading(size, plane.centre, plane.face_width, relief=0.25)
    if sheet.bend:
        # A sheet bent about its upright axis turns towards and away from the light.
        across = plane.coordinates()[0]
        radiance *= (1 + 3 * np.float32(sheet.bend) * np.sin(np.pi * np.clip(across, 0, 1) * 2))[..., None]
    if sheet.gloss > 0.004:
        radiance += (plane.spot(*sheet.lamp) * np.float32(sheet.gloss))[..., None] * (light.white() * 12)
    return np.asarray(radiance, np.float32)


def _halftoned(value: Floats, sheet: Sheet, plane: Plane, shot: Shot) -> Floats:
    """Amplitude-modulated dots: their contrast is largest at mid-tones and nil in white and solid ink."""
    period_mm = 25.4 / sheet.lpi
    amplitude = np.float32(sheet.dots) * 4 * value * (1 - np.clip(value, 0, 1))
    for channel, angle in ANGLES.items():
        to_dots = plane.to_millimetres(angle, 1 / period_mm)
        step = plane.mm_per_pixel / period_mm
        tile = lattice.filtered(lattice.am_dots(), 1, (step, step), shot.aperture, shot.blur)
        if np.abs(tile).max() > 0.004:
            value[..., channel] += amplitude[..., channel] * lattice.sampled(tile, to_dots, plane.size)
    return value


def _grain(plane: Plane, seed: int) -> Floats:
    """Noise fixed to the paper, unit variance, float32 [H, W]; about one grain per camera pixel."""
    tile = np.random.default_rng(seed).normal(0, 1, (256, 256)).astype(np.float32)
    to_tile = plane.to_millimetres(0.0, 1 / plane.mm_per_pixel)
    return cv2.warpPerspective(
        tile, to_tile, plane.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )
