"""Print attack: a picture on paper, lit by the room."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate import lattice
from dtda.core.simulate.camera import Shot
from dtda.core.simulate.camera import noise as unit_noise
from dtda.core.simulate.config import Print
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import to_linear
from dtda.core.simulate.rooms import Surroundings
from dtda.core.simulate.scene import Light, View, scaled
from dtda.core.types import Floats, Image

# Screen angles of magenta, yellow and cyan in degrees, as seen by the green, blue and red channel (ISO 12647-1 practice).
ANGLES = {1: 75.0, 0: 0.0, 2: 15.0}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One draw of a print's parameters; units as in `config.Print`, tint float32 [3] BGR of the paper."""

    paper: float
    ink: float
    gain: float
    gamut: float
    punch: float
    lpi: float
    dots: float
    dot_mm: float
    grain: float
    gloss: float
    rough: float
    bend: float
    tint: Floats
    seed: int


def draw_sheet(config: Print, rng: np.random.Generator) -> Sheet:
    return Sheet(
        paper=rng.uniform(*config.paper),
        ink=rng.uniform(*config.ink),
        gain=rng.uniform(*config.gain),
        gamut=rng.uniform(*config.gamut),
        punch=rng.uniform(*config.punch),
        lpi=rng.uniform(*config.screen),
        dots=rng.uniform(*config.dots),
        dot_mm=rng.uniform(*config.dot_mm),
        grain=rng.uniform(*config.grain),
        gloss=rng.uniform(*config.gloss),
        rough=rng.uniform(*config.rough),
        bend=rng.uniform(*config.bend) * rng.choice([-1, 1]),
        tint=np.exp2(rng.normal(0, 0.04, 3)).astype(np.float32),
        seed=int(rng.integers(2**31)),
    )


def sheet_radiance(
    picture: Image,
    corner: tuple[float, float],
    sheet: Sheet,
    plane: Plane,
    view: View,
    light: Light,
    room: Surroundings,
    shot: Shot,
    sigma: float | None,
    beyond: tuple[int, ...] | None = (255, 255, 255),
) -> tuple[Floats, Floats | None]:
    """The printed picture at every pixel of the view, only valid on the sheet: radiance float32 [h, w, 3] BGR, cd/m2, and
    the factor of its halftone dots, likewise (None where they vanished).

    picture: uint8 [h, w, 3] BGR, sRGB, its first pixel at `corner` of the plane. sigma: of the lens with all that blurs,
    pixels; None while the camera meters, for which dots and grain do not matter. beyond: BGR codes around the picture, None
    where it goes on as its rim is.
    """
    codes = plane.warp(view, picture, corner, beyond)
    value = to_linear(np.clip(128 + sheet.punch * (np.arange(256) - 128), 0, 255).astype(np.uint8)) ** np.float32(
        sheet.gain
    )
    planes, dots = [], []
    grain = None if sigma is None else _grain(plane, view, sheet)
    for channel, plane_ in enumerate(cv2.split(codes)):
        printed = cv2.LUT(plane_, value)
        if sigma is not None and sheet.lpi > 0:
            dots.append(_halftoned(printed, channel, sheet, plane, view, shot.aperture, sigma))
        elif sigma is not None:
            printed = _diffused(printed, channel, sheet, plane, view, shot)
        paper = sheet.paper * sheet.tint[channel]
        planes.append(sheet.ink + (paper - sheet.ink) * printed)
    lit = light.shading(view, (plane.pose.x, plane.pose.y), plane.pose.width, relief=0.5)
    if sheet.bend:
        lit = lit * view.fine(_turned(sheet, plane, view))
    if grain is not None:
        lit = lit * grain
    white = light.white()
    radiance = scaled(cv2.merge([p * np.float32(white[c]) for c, p in enumerate(planes)]), lit)
    if sheet.gloss > 0.002:
        radiance = cv2.add(radiance, view.fine(np.float32(sheet.gloss) * room.reflected(view.coarse(), sheet.rough)))
    cells = cv2.merge(dots) if dots and dots[0] is not None else None
    return np.asarray(radiance, np.float32), cells


def _turned(sheet: Sheet, plane: Plane, view: View) -> Floats:
    """A bent sheet turns towards and away from the light: factor at coarse resolution."""
    left, _, right, _ = plane.medium
    across = (plane.coordinates(view.coarse())[0] - left) / (right - left)
    return (1 + 3 * sheet.bend * np.sin(2 * np.pi * np.clip(across, 0, 1))).astype(np.float32)


def _halftoned(
    value: Floats, channel: int, sheet: Sheet, plane: Plane, view: View, aperture: float, sigma: float
) -> Floats | None:
    """Amplitude-modulated dots, a factor about 1: v + 4 c (v - v^2) dots over v. Nil in white paper."""
    period_mm = 25.4 / sheet.lpi
    step = plane.mm_per_pixel / view.scale / period_mm
    tile = lattice.filtered(lattice.am_dots(), 1, (step, step), aperture, sigma)
    if np.abs(tile).max() < 0.002:
        return None
    places = plane.on_medium(view, ANGLES[channel], lattice.SAMPLES / period_mm)
    dots = lattice.sampled(tile * np.float32(sheet.dots * 4), places)
    return np.asarray(np.maximum(1 + dots * (1 - value), 0.02), np.float32)


def _diffused(value: Floats, channel: int, sheet: Sheet, plane: Plane, view: View, shot: Shot) -> Floats:
    """Error-diffused dots: blue noise. Under a pixel n dots wide a random pattern would leave a deviation of sqrt(v (1 -
    v)) / n; what is left of blue noise falls faster, about as n ** -1.5 (Ulichney, Digital Halftoning, 1987: no energy
    below the principal frequency; the exponent is assumed)."""
    n = max(1.0, plane.mm_per_pixel / view.scale * max(shot.aperture, 2 * shot.blur) / sheet.dot_mm)
    amount = 0.5 * n**-1.5
    if amount < 0.004:
        return value
    texture = _fixed(plane, view, sheet.seed + channel)
    return np.asarray(np.clip(value + np.float32(amount) * texture * np.sqrt(value - value * value), 0, 1))


def _grain(plane: Plane, view: View, sheet: Sheet) -> Floats:
    """Fibres of the paper, a factor about 1; fewer fall under one pixel when the camera is close."""
    amount = sheet.grain * min(3.0, (plane.mm_per_pixel / view.scale) ** -0.5)
    return np.asarray(1 + np.float32(amount) * _fixed(plane, view, sheet.seed), np.float32)


def _fixed(plane: Plane, view: View, seed: int) -> Floats:
    """Noise fixed to the paper, unit variance, float32 [h, w]; about one grain per pixel of the view."""
    tile = unit_noise((256, 256), np.random.default_rng(seed))
    return lattice.sampled(np.ascontiguousarray(tile), plane.on_medium(view, 0.0, view.scale / plane.mm_per_pixel))
