"""Made-up rooms: walls, desks, shelves, frames, doors, windows and lamps, as reflectances."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate.camera import log_uniform
from dtda.core.simulate.config import Room
from dtda.core.simulate.scene import Light, View, light_colour, scaled
from dtda.core.types import Floats


@dataclass(frozen=True, slots=True)
class Surroundings:
    """picture: float32 [h, w, 3] BGR, cd/m2, all of the frame at `scale` pixels per frame pixel. mirrored: the same of what
    is behind the camera, which glossy instruments reflect; much smaller."""

    picture: Floats
    scale: float
    mirrored: Floats
    frame: tuple[int, int]

    def seen(self, view: View) -> Floats:
        return self._warped(self.picture, view)

    def reflected(self, view: View, rough: float) -> Floats:
        """What a glossy plane mirrors, float32 [h, w, 3]; rough blurs it, 1 by a third of the frame's width."""
        sigma = 0.3 + rough * self.mirrored.shape[1] / 3
        return self._warped(cv2.GaussianBlur(self.mirrored, (0, 0), sigma), view)

    def _warped(self, picture: Floats, view: View) -> Floats:
        s = picture.shape[1] / self.frame[0]
        from_frame = np.array([[s, 0, (s - 1) / 2], [0, s, (s - 1) / 2], [0, 0, 1]])
        matrix = (view.matrix @ np.linalg.inv(from_frame))[:2]
        return np.asarray(
            cv2.warpAffine(picture, matrix, view.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )


def draw_surroundings(room: Room, light: Light, frame: tuple[int, int], rng: np.random.Generator) -> Surroundings:
    scale = min(0.7, 480 / max(frame))
    blur = rng.uniform(*room.background_blur) * frame[0]
    scale /= max(1.0, blur * scale / 1.5)  # what is out of focus needs no pixels
    size = (round(frame[0] * scale), round(frame[1] * scale))
    wall = _furnished(room, size, rng)
    glow = _lights(room.backlight, size, rng)
    distance = rng.uniform(0.35, 1.1)  # the wall is farther from the light than the subject, or lit by its own
    np.clip(wall, 0.005, 0.95, out=wall)
    if glow is not None:
        wall += glow
    white = light.white() * np.float32(distance)
    picture = cv2.merge([plane * white[c] for c, plane in enumerate(cv2.split(wall))])
    if blur * scale > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur * scale)
    return Surroundings(picture, scale, _mirrored(light, rng), frame)


def _furnished(room: Room, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Reflectances, float32 [h, w, 3]."""
    width, height = size
    wall = np.empty((height, width, 3), np.float32)
    wall[:] = rng.uniform(*room.reflectance) * _tinted(rng, 0.15)
    across = np.exp2(rng.normal(0, 0.5) * np.linspace(-1, 1, width))
    down = np.exp2(rng.normal(0, 0.35) * np.linspace(-1, 1, height))
    wall = scaled(wall, np.outer(down, across).astype(np.float32))
    if rng.random() < 0.4:  # another wall, a cupboard, a ceiling: a large part ends at a line
        edge = rng.uniform(0.05, 0.95) * width
        lean = rng.normal(0, 0.1) * width
        side = -width if rng.random() < 0.5 else 2 * width
        corners = np.array([[edge - lean, 0], [edge + lean, height], [side, height], [side, 0]], np.int32)
        cv2.fillPoly(wall, [corners], _colour(rng, rng.uniform(*room.reflectance), 0.15), cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        _shelf(wall, rng)
    for _ in range(rng.integers(3, 24)):
        _thing(wall, rng)
    coarse = int(np.exp(rng.uniform(0, np.log(40))))
    texture = rng.normal(0, 1, (height // coarse + 2, width // coarse + 2)).astype(np.float32)
    bumps = np.exp2(np.float32(abs(rng.normal(0, 0.14))) * texture)
    return scaled(wall, cv2.resize(bumps, (width, height), interpolation=cv2.INTER_LINEAR))


def _tinted(rng: np.random.Generator, spread: float) -> Floats:
    return np.exp2(rng.normal(0, spread, 3)).astype(np.float32)


def _colour(rng: np.random.Generator, tone: float, spread: float) -> tuple[float, ...]:
    return tuple(float(value) for value in tone * _tinted(rng, spread))


def _shelf(wall: Floats, rng: np.random.Generator) -> None:
    """A board with a row of books or boxes."""
    height, width = wall.shape[:2]
    left, right = sorted(rng.uniform(-0.2, 1.2, 2) * width)
    foot, tall = rng.uniform(0.1, 1.0) * height, rng.uniform(0.06, 0.2) * height
    x = left
    while x < right:
        thick = rng.uniform(0.01, 0.04) * width
        top = foot - tall * rng.uniform(0.6, 1.0)
        colour = _colour(rng, log_uniform(rng, (0.03, 0.7)), 0.5)
        cv2.rectangle(wall, (int(x), int(top)), (int(x + thick) - 1, int(foot)), colour, -1)
        x += thick
    board = _colour(rng, rng.uniform(0.05, 0.6), 0.2)
    cv2.rectangle(wall, (int(left), int(foot)), (int(right), int(foot + 0.012 * height) + 1), board, -1)


def _thing(wall: Floats, rng: np.random.Generator) -> None:
    """A frame, a door, a plant, a cable: boxes, outlines, ellipses and lines."""
    height, width = wall.shape[:2]
    w, h = width * log_uniform(rng, (0.03, 0.5)), height * log_uniform(rng, (0.03, 0.6))
    x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
    colour = _colour(rng, log_uniform(rng, (0.015, 0.95)), 0.35)
    thick = int(rng.integers(1, 5))
    choice = rng.random()
    if choice < 0.65:
        corners = cv2.boxPoints(((x, y), (max(w, 2), max(h, 2)), rng.normal(0, 3))).astype(np.int32)
        cv2.fillPoly(wall, [corners], colour, cv2.LINE_AA)
        if rng.random() < 0.4:
            cv2.polylines(wall, [corners], True, _colour(rng, rng.uniform(0.03, 0.9), 0.2), thick, cv2.LINE_AA)
    elif choice < 0.85:
        axes = (max(int(w / 2), 1), max(int(h / 2), 1))
        cv2.ellipse(wall, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    else:
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        cv2.line(wall, ends[0].astype(int).tolist(), ends[1].astype(int).tolist(), colour, thick, cv2.LINE_AA)


def _lights(share: float, size: tuple[int, int], rng: np.random.Generator) -> Floats | None:
    """Windows and lamps in view, in multiples of what a white wall reflects; None where there are none."""
    width, height = size
    if rng.random() >= share:
        return None
    glow = np.zeros((height, width, 3), np.float32)
    if rng.random() < 0.6:
        w, h = width * rng.uniform(0.15, 0.6), height * rng.uniform(0.2, 0.8)
        x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.2, 0.5) * height
        bright = log_uniform(rng, (1.5, 12.0)) * light_colour(rng.uniform(5000, 8000))
        panes = int(rng.integers(1, 4))
        for pane in range(panes):
            left = x + w * pane / panes
            corner = (int(left + w / panes * 0.92), int(y + h))
            cv2.rectangle(glow, (int(left), int(y)), corner, tuple(map(float, bright)), -1)
    else:
        for _ in range(rng.integers(1, 4)):
            at = (int(rng.uniform(0, 1) * width), int(rng.uniform(0, 0.5) * height))
            axes = (max(1, int(width * rng.uniform(0.01, 0.1))), max(1, int(height * rng.uniform(0.01, 0.05))))
            bright = log_uniform(rng, (5.0, 40.0)) * light_colour(rng.uniform(2700, 5000))
            cv2.ellipse(glow, at, axes, rng.normal(0, 10), 0, 360, tuple(map(float, bright)), -1, cv2.LINE_AA)
        glow += cv2.GaussianBlur(glow, (0, 0), width * 0.04) * 0.3
    return glow


def _mirrored(light: Light, rng: np.random.Generator) -> Floats:
    """The room behind the camera, float32 [72, 96, 3], cd/m2: dim, with windows and lamps 5 to 100 times white paper."""
    small = (96, 72)
    base = np.full((small[1], small[0], 3), rng.uniform(0.05, 0.4), np.float32)
    ends = np.exp2(rng.normal(0, 0.6, (2, 2))).astype(np.float32)
    base *= cv2.resize(ends, small, interpolation=cv2.INTER_LINEAR)[..., None]
    return np.asarray((base + _mirrored_lights(small, rng)) * light.white(), np.float32)


def _mirrored_lights(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    glow = np.zeros((size[1], size[0], 3), np.float32)
    for _ in range(rng.poisson(1.0)):
        at = (int(rng.uniform(-0.1, 1.1) * size[0]), int(rng.uniform(-0.2, 0.9) * size[1]))
        if rng.random() < 0.5:  # a window
            half = (int(rng.uniform(0.05, 0.25) * size[0]), int(rng.uniform(0.08, 0.3) * size[1]))
            bright = log_uniform(rng, (3.0, 20.0)) * light_colour(rng.uniform(5000, 8000))
            corner = (at[0] + 2 * half[0], at[1] + 2 * half[1])
            cv2.rectangle(glow, at, corner, tuple(map(float, bright)), -1)
        else:
            axes = (max(1, int(size[0] * rng.uniform(0.01, 0.08))), max(1, int(size[1] * rng.uniform(0.01, 0.04))))
            bright = log_uniform(rng, (20.0, 100.0)) * light_colour(rng.uniform(2700, 5000))
            cv2.ellipse(glow, at, axes, rng.normal(0, 15), 0, 360, tuple(map(float, bright)), -1, cv2.LINE_AA)
    return glow
