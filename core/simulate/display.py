"""Display attack: a picture or video on a screen that emits its own light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate import lattice
from dtda.core.simulate.camera import Metering, Shot, log_uniform
from dtda.core.simulate.config import Display
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import to_linear
from dtda.core.simulate.rooms import Surroundings
from dtda.core.simulate.scene import Light, View, bands, light_colour, scaled
from dtda.core.types import Floats, Image


@dataclass(frozen=True, slots=True)
class Screen:
    """One draw of a display's parameters; units as in `config.Display`. white: cd/m2 in this room. colour: float32 [3] BGR
    of its white. ground: BGR codes shown beside the picture. ripple: phase of its flicker. fringe: sub-pixel order."""

    pitch_mm: float
    white: float
    black: float
    gamma: float
    layout: str
    gap: float
    fringe: int
    colour: Floats
    vivid: float
    roll_off: tuple[float, float]
    flicker: float
    hertz: float
    ripple: float
    gloss: float
    rough: float
    haze: float
    bezel: float
    bezel_tone: float
    ground: tuple[int, int, int]


def draw_screen(config: Display, light: Light, rng: np.random.Generator) -> Screen:
    if rng.random() < 0.6:
        ground = (0, 0, 0)  # letterbox, full-screen viewer
    else:
        ground = tuple(int(v) for v in np.clip(rng.choice([30, 128, 235, 255]) + rng.normal(0, 12, 3), 0, 255))
    return Screen(
        pitch_mm=rng.uniform(*config.pitch_mm),
        white=log_uniform(rng, config.white) * (light.lux / 500) ** rng.uniform(*config.follow),
        black=log_uniform(rng, config.black),
        gamma=rng.uniform(*config.gamma),
        layout=config.layout,
        gap=rng.uniform(*config.gap),
        fringe=int(rng.choice([-1, 1])),
        colour=light_colour(rng.uniform(*config.kelvin)),
        vivid=rng.uniform(*config.vivid),
        roll_off=(rng.uniform(*config.roll_off) * rng.choice([-1, 1]), rng.uniform(*config.roll_off)),
        flicker=rng.uniform(*config.flicker),
        hertz=log_uniform(rng, config.hertz),
        ripple=rng.uniform(0, 2 * np.pi),
        gloss=rng.uniform(*config.gloss),
        rough=rng.uniform(*config.rough),
        haze=rng.uniform(*config.haze),
        bezel=rng.uniform(*config.bezel),
        bezel_tone=float(rng.choice([0.02, 0.04, 0.3, 0.75], p=[0.45, 0.25, 0.15, 0.15])),
        ground=ground,
    )


def screen_radiance(
    picture: Image,
    corner: tuple[float, float],
    screen: Screen,
    plane: Plane,
    view: View,
    light: Light,
    room: Surroundings,
    shot: Shot,
    metering: Metering | None,
    sigma: float,
    phase: float = 0.0,
    beyond: tuple[int, ...] | None = (0, 0, 0),
) -> tuple[Floats, Floats | None]:
    """The lit screen at every pixel of the view, only valid inside of it: radiance float32 [h, w, 3] BGR, cd/m2, and the
    factor of its sub-pixels, likewise (None where they vanished).

    picture: uint8 [h, w, 3] BGR, sRGB, its first pixel at `corner` of the plane. metering: None while the camera meters,
    for which lattice and bands do not matter. sigma: of the lens with all that blurs, pixels. phase: radians, moves the
    refresh bands from frame to frame. beyond: BGR codes around the picture, None where it goes on as its rim is.
    """
    shown = plane.warp(view, picture, corner, beyond)
    codes = to_linear(np.arange(256, dtype=np.uint8)) ** np.float32(screen.gamma)
    levels = (screen.black + (1 - screen.black) * codes)[:, None] * (screen.white * screen.colour)
    emitted = cv2.merge([cv2.LUT(plane_, levels[:, c].astype(np.float32)) for c, plane_ in enumerate(cv2.split(shown))])
    cells = None if metering is None else _sub_pixels(screen, plane, view, shot.aperture, sigma)
    emitted = scaled(emitted, _fall(screen, plane, view, shot, metering, phase))
    coarse = view.coarse()
    mirrored = np.float32(screen.gloss) * room.reflected(coarse, screen.rough) + np.float32(screen.haze) * light.white()
    return np.asarray(cv2.add(emitted, view.fine(mirrored))), cells


def _fall(screen: Screen, plane: Plane, view: View, shot: Shot, metering: Metering | None, phase: float) -> Floats:
    """Factor of the angle and of the refresh, float32 [h, w]."""
    coarse = view.coarse()
    across, down = plane.coordinates(coarse)
    left, top, right, bottom = plane.medium
    u, v = (across - left) / (right - left) - 0.5, (down - top) / (bottom - top) - 0.5
    stops = screen.roll_off[0] * u + screen.roll_off[1] * (u**2 + v**2)
    fall = view.fine(np.exp2(-np.clip(stops, -1, 2)).astype(np.float32))
    if metering is not None and screen.flicker > 0:
        rows = bands(view, shot, metering, screen.flicker, screen.hertz, screen.ripple + phase)
        fall = fall * rows[:, None]
    return np.ascontiguousarray(fall)


def _sub_pixels(screen: Screen, plane: Plane, view: View, aperture: float, sigma: float) -> Floats | None:
    """Sub-pixel lattice after the camera's aperture, float32 [h, w, 3] about 1 (see lattice.py); None where it vanished."""
    periods = 1 if screen.layout == "stripe" else 2
    tile = lattice.rgb_stripe(screen.gap) if screen.layout == "stripe" else lattice.pentile(screen.gap)
    step = plane.mm_per_pixel / view.scale / screen.pitch_mm
    tile = lattice.filtered(tile[:, :: screen.fringe], periods, (step, step), aperture, sigma)
    if np.abs(tile - 1).max() < 0.003:
        return None
    return lattice.sampled(tile, plane.on_medium(view, 0.0, lattice.SAMPLES / screen.pitch_mm))
