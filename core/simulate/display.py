"""Display attack: a picture or video on a screen that emits its own light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate import lattice
from dtda.core.simulate.camera import Shot, log_uniform
from dtda.core.simulate.config import Display
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import to_linear
from dtda.core.simulate.scene import Light, light_colour
from dtda.core.types import Floats, Image


@dataclass(frozen=True, slots=True)
class Screen:
    """One draw of a display's parameters; units as in `config.Display`, colour float32 [3] BGR of its white."""

    pitch_mm: float
    white: float
    black: float
    gamma: float
    layout: str
    gap: float
    colour: Floats
    roll_off: tuple[float, float]
    flicker: float
    bands: tuple[float, float]
    reflect: float
    glare: float
    lamp: tuple[float, float, float]
    bezel: float
    bezel_tone: float
    video_jpeg: int
    video_side: float
    face_mm: float


def draw_screen(config: Display, rng: np.random.Generator) -> Screen:
    return Screen(
        pitch_mm=rng.uniform(*config.pitch_mm),
        white=log_uniform(rng, config.white),
        black=log_uniform(rng, config.black),
        gamma=rng.uniform(*config.gamma),
        layout=config.layout,
        gap=rng.uniform(*config.gap),
        colour=light_colour(rng.uniform(*config.kelvin)),
        roll_off=(rng.uniform(*config.roll_off) * rng.choice([-1, 1]), rng.uniform(*config.roll_off)),
        flicker=rng.uniform(*config.flicker),
        bands=(rng.uniform(1.0, 6.0), rng.uniform(0, 2 * np.pi)),
        reflect=rng.uniform(*config.reflect),
        glare=rng.uniform(*config.glare),
        lamp=(rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.08, 0.4)),
        bezel=rng.uniform(*config.bezel),
        bezel_tone=float(rng.choice([0.02, 0.04, 0.3, 0.75], p=[0.5, 0.3, 0.1, 0.1])),
        video_jpeg=int(rng.integers(config.video_jpeg[0], config.video_jpeg[1] + 1)),
        video_side=rng.uniform(*config.video_side),
        face_mm=log_uniform(rng, config.face_mm),
    )


def screen_radiance(
    picture: Image, screen: Screen, plane: Plane, light: Light, shot: Shot, phase: float = 0.0
) -> Floats:
    """Radiance of the lit screen at every camera pixel of the plane.

    picture: uint8 [h, w, 3] BGR, sRGB. phase: radians, moves the refresh bands from frame to frame. Returns float32
    [H, W, 3] BGR, cd/m2; only valid inside the plane's mask.
    """
    shown = plane.warp(to_linear(compressed(picture, screen)) ** np.float32(screen.gamma), border=(0.0, 0.0, 0.0))
    emitted = (screen.black + (1 - screen.black) * shown) * (screen.white * (light.lux / 500) ** 0.45 * screen.colour)
    emitted *= _sub_pixels(screen, plane, shot)
    across, down = plane.coordinates()
    fall = screen.roll_off[0] * (across - 0.5) + screen.roll_off[1] * ((across - 0.5) ** 2 + (down - 0.5) ** 2)
    rows = np.arange(plane.size[1], dtype=np.float32) / plane.size[1]
    bands = 1 + np.float32(screen.flicker) * np.sin(2 * np.pi * screen.bands[0] * rows + screen.bands[1] + phase)
    emitted *= (np.exp2(-np.clip(fall, -1, 2)) * bands[:, None])[..., None].astype(np.float32)
    reflected = np.float32(screen.reflect) * light.white()
    if screen.glare > 0.003:
        reflected = reflected + (plane.spot(*screen.lamp) * np.float32(screen.glare))[..., None] * (light.white() * 12)
    return np.asarray(emitted + reflected, np.float32)


def compressed(picture: Image, screen: Screen) -> Image:
    """The picture as the replayed video shows it: smaller, compressed, uint8 BGR of any size."""
    scale = min(1.0, screen.video_side / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, screen.video_jpeg])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return cv2.resize(decoded, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)


def _sub_pixels(screen: Screen, plane: Plane, shot: Shot) -> Floats:
    """Sub-pixel lattice after the camera's aperture, float32 [H, W, 3] about 1 (see lattice.py)."""
    periods = 1 if screen.layout == "stripe" else 2
    tile = lattice.rgb_stripe(screen.gap) if screen.layout == "stripe" else lattice.pentile(screen.gap)
    step = plane.mm_per_pixel / screen.pitch_mm
    tile = lattice.filtered(tile, periods, (step, step), shot.aperture, shot.blur)
    return lattice.sampled(tile, plane.to_millimetres(0.0, 1 / screen.pitch_mm), plane.size)
