"""An attack before the camera: which picture, on which instrument, cropped, placed and held how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate.camera import log_uniform
from dtda.core.simulate.config import Instrument, Print
from dtda.core.simulate.display import Screen, draw_screen
from dtda.core.simulate.hands import Grip, draw_grips
from dtda.core.simulate.paper import Sheet, draw_sheet
from dtda.core.simulate.plane import Plane, Rect
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.scene import Light, Pose
from dtda.core.simulate.sources import Source
from dtda.core.types import Image

WHITE_PAPER = (255, 255, 255)
BEHIND = 0.35  # share of held instruments with the attacker in view behind them (assumed)


@dataclass(frozen=True)
class Presentation:
    """texture: the shown part of the picture, uint8 [h, w, 3] BGR, first pixel at `corner` of the picture. medium: sheet or
    screen, picture pixels; outer: with its bezel, None where no edge is seen. face_mm: width of the shown face. facing:
    stops of light on it over that on a face. outline, holes: of a cut photo, float [N, 2] picture pixels. behind: the
    attacker's pose relative to the shown face, (x, y, scale), or None. landmarks: of the portrait, float64 [9, 2] picture
    pixels."""

    instrument: Instrument
    item: Sheet | Screen
    texture: Image
    corner: tuple[float, float]
    medium: Rect
    outer: Rect | None
    face: tuple[float, float, float]
    face_mm: float
    tilt: tuple[float, float]
    facing: float
    grips: tuple[Grip, ...]
    behind: tuple[float, float, float] | None
    outline: np.ndarray | None
    holes: tuple[np.ndarray, ...]
    landmarks: np.ndarray

    @property
    def edge(self) -> np.ndarray | Rect | None:
        """Where what is shown ends: a cut, the medium's own edges, or nowhere in view."""
        if self.instrument.borderless:
            return None
        return self.medium if self.outline is None else self.outline

    @property
    def beyond(self) -> tuple[int, ...] | None:
        """BGR codes around the picture, None where it goes on as its rim is."""
        if self.instrument.borderless:
            return None
        return self.item.ground if isinstance(self.item, Screen) else WHITE_PAPER

    def plane(self, pose: Pose, focal: float) -> Plane:
        turned = replace(pose, yaw=pose.yaw * self.tilt[0], pitch=pose.pitch * self.tilt[1])
        bend = self.item.bend if isinstance(self.item, Sheet) else 0.0
        return Plane(focal, turned, self.face[:2], self.face[2], self.face_mm, self.medium, bend)


def draw_presentation(
    portrait: Portrait, sources: Sequence[Source], instrument: Instrument, light: Light, rng: np.random.Generator
) -> Presentation:
    # Videos are not printed, stills of them are; on screens both are shown.
    source = sources[int(rng.integers(len(sources)))]
    item = draw_sheet(instrument, rng) if isinstance(instrument, Print) else draw_screen(instrument, light, rng)
    size = (log_uniform(rng, instrument.width_mm), log_uniform(rng, instrument.height_mm))
    if rng.random() >= instrument.upright:
        size = (size[1], size[0])
    shown, medium, mm = _layout(source, size, instrument, rng)
    if instrument.borderless:  # on a medium of the same size, but all of it
        shown = (0.0, 0.0, *source.picture.shape[1::-1])
    x1, y1, x2, y2 = (round(value) for value in shown)
    texture = _coloured(np.ascontiguousarray(source.picture[y1:y2, x1:x2]), item)
    if instrument.borderless:
        texture = _endless(texture, source.face[2])
    bezel = item.bezel * (medium[2] - medium[0]) if isinstance(item, Screen) else 0.0
    held = rng.random() < instrument.held
    landmarks = cv2.transform(portrait.landmarks[None], source.to_picture)[0]
    outline, holes = None, ()
    if isinstance(instrument, Print):
        if rng.random() < instrument.outline:
            outline = _around(source.face, medium, rng)
        if rng.random() < instrument.holes:
            holes = _holes(landmarks, rng)
    behind = None
    if holes or (held and rng.random() < BEHIND):
        near = 0.03 if holes else 0.5
        behind = (
            rng.normal(0, near),
            rng.normal(0, near) - (0 if holes else 0.1),
            log_uniform(rng, (0.85, 1.1) if holes else (0.5, 1.0)),
        )
    outer = _wider(medium, bezel, rng)
    return Presentation(
        instrument, item, texture, (float(x1), float(y1)), medium, None if instrument.borderless else outer, source.face,
        mm * source.face[2], (instrument.tilt, instrument.tilt * 0.8), rng.uniform(*instrument.facing),
        draw_grips(rng) if held else (), behind, outline, holes, landmarks,
    )  # fmt: skip


def _layout(
    source: Source, size: tuple[float, float], instrument: Instrument, rng: np.random.Generator
) -> tuple[Rect, Rect, float]:
    """The part of the picture that is shown, the medium's rectangle, both in picture pixels, and mm per picture pixel."""
    height, width = source.picture.shape[:2]
    x, y, face = source.face
    full = rng.random() < instrument.full
    aspect = size[1] / size[0] if full else float(rng.choice([4 / 3, 1.0, 3 / 4, 9 / 16]))
    short = log_uniform(rng, instrument.picture) * face
    across, down = min(short * max(1.0, 1 / aspect), width), min(short * max(1.0, aspect), height)
    left = float(np.clip(x - across * rng.normal(0.5, 0.04), 0, width - across))
    top = float(np.clip(y - down * rng.normal(0.45, 0.04), 0, height - down))
    fill = 1.0 if full else rng.uniform(*instrument.fill)
    mm = min(fill * size[0] / across, fill * size[1] / down)
    if isinstance(instrument, Print) and full and rng.random() < 0.6:  # printers leave a margin
        mm *= rng.uniform(0.9, 0.98)
    rest = (size[0] / mm - across, size[1] / mm - down)
    place = (0.5, 0.5) if full else (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8))
    corner = (left - rest[0] * place[0], top - rest[1] * place[1])
    medium = (corner[0], corner[1], corner[0] + size[0] / mm, corner[1] + size[1] / mm)
    return (left, top, left + across, top + down), medium, mm


def _wider(medium: Rect, bezel: float, rng: np.random.Generator) -> Rect:
    """With a bezel, whose lower or upper part may be wider."""
    low, high = bezel * rng.uniform(0.7, 1.6), bezel * rng.uniform(0.7, 1.6)
    return medium[0] - bezel, medium[1] - low, medium[2] + bezel, medium[3] + high


def _coloured(texture: Image, item: Sheet | Screen) -> Image:
    """Chroma as the inks or the panel's gamut reproduce it."""
    chroma = item.gamut if isinstance(item, Sheet) else item.vivid
    luma = np.array([0.114, 0.587, 0.299])
    matrix = chroma * np.eye(3) + (1 - chroma) * np.tile(luma, (3, 1))
    return np.asarray(cv2.transform(texture, matrix))


def _endless(texture: Image, face: float) -> Image:
    """With a rim that fades into a smooth one, which can go on beyond the picture without stripes, as bodies do."""
    side = int(0.25 * face) | 1
    smooth = cv2.blur(cv2.blur(texture, (side, side)), (side, side))
    height, width = texture.shape[:2]
    y, x = np.arange(height), np.arange(width)
    to_edge = np.minimum(*np.ix_(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)))
    sharp = np.clip(to_edge / (0.15 * face), 0, 1).astype(np.float32)
    return np.asarray(cv2.blendLinear(texture, smooth, sharp, 1 - sharp))


def _around(face: tuple[float, float, float], medium: Rect, rng: np.random.Generator) -> np.ndarray:
    """Scissors around the head, and down along the neck; float64 [N, 2] picture pixels."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x, y, width = face
    radius = rng.uniform(0.72, 1.15) * width * (1 + rng.normal(0, 0.03, len(angles)))
    tall = rng.uniform(1.15, 1.5)
    outline = np.column_stack([x + radius * np.sin(angles), y - tall * radius * np.cos(angles)])
    return np.clip(outline, (medium[0], medium[1]), (medium[2], medium[3]))


def _holes(landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Cut-out eyes, and often the mouth: float64 [N, 2] picture pixels each."""
    eyes = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    slope = float(np.degrees(np.arctan2(*(landmarks[1] - landmarks[0])[::-1])))
    places = [(landmarks[0], (0.26, 0.13)), (landmarks[1], (0.26, 0.13))]
    if rng.random() < 0.5:
        places.append(((landmarks[3] + landmarks[4]) / 2, (0.36, 0.15)))
    return tuple(
        cv2.ellipse2Poly(
            (round(float(at[0])), round(float(at[1]))),
            (max(2, round(eyes * half[0] * rng.uniform(0.8, 1.2))), max(2, round(eyes * half[1] * rng.uniform(0.8, 1.3)))),
            round(slope), 0, 360, 15,
        ).astype(np.float64)
        for at, half in places
    )  # fmt: skip
