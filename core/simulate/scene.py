"""Rooms and people in front of the camera: radiance in cd/m2, linear BGR, at the sensor's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate.camera import log_uniform
from dtda.core.simulate.config import Range, Room
from dtda.core.simulate.portrait import Portrait, to_linear
from dtda.core.types import Floats

# Wavelengths (m) standing for blue, green and red when a colour temperature is turned into BGR gains.
_BANDS = np.array([465e-9, 545e-9, 610e-9])


def light_colour(kelvin: float) -> Floats:
    """BGR gains of a black body relative to 6500 K, green = 1, float32 [3] (Planck's law at three wavelengths)."""

    def planck(temperature: float) -> np.ndarray:
        return 1 / (np.exp(1.4388e-2 / (_BANDS * temperature)) - 1)

    ratio = planck(kelvin) / planck(6500.0)
    return np.asarray(ratio / ratio[1], np.float32)


@dataclass(frozen=True, slots=True)
class Light:
    """Light of one shot. lux on the subject; colour float32 [3] BGR; side: log2 brightness ratio left to right (signed);
    top: the same from top to bottom."""

    lux: float
    colour: Floats
    side: float
    top: float

    def white(self) -> Floats:
        """Radiance of a perfectly white, matt surface facing the light, cd/m2 BGR (Lambert: E / pi)."""
        return np.asarray(self.lux / np.pi * self.colour, np.float32)

    def shading(self, size: tuple[int, int], centre: tuple[float, float], reach: float, relief: float = 1.0) -> Floats:
        """Factor over the picture, float32 [H, W, 1], 1 at `centre`; the full ratio is reached over 2 * reach pixels.

        relief: 1 for a face, whose sides turn towards and away from the light; a flat sheet shows much less.
        """
        width, height = size
        x = np.clip((np.arange(width, dtype=np.float32) - centre[0]) / reach, -1.5, 1.5)
        y = np.clip((np.arange(height, dtype=np.float32) - centre[1]) / reach, -1.5, 1.5)
        stops = self.side / 2 * x[None, :, None] + self.top / 2 * y[:, None, None]
        return np.exp2(relief * stops).astype(np.float32)


def draw_light(room: Room, rng: np.random.Generator) -> Light:
    side = rng.uniform(*room.side) * rng.choice([-1, 1])
    return Light(
        log_uniform(rng, room.lux), light_colour(rng.uniform(*room.kelvin)), float(side), rng.uniform(-0.6, 0.3)
    )


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the face is. x, y: centre, pixels. width: of the face, pixels. roll, yaw, pitch: degrees; yaw and pitch only
    turn planar instruments."""

    x: float
    y: float
    width: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


def draw_pose(portrait: Portrait, size: tuple[int, int], face: Range, rng: np.random.Generator) -> Pose:
    """The same draw for bona fide and attack. Faces are not blown up beyond 1.15 of the photo's own resolution."""
    width, height = size
    share = log_uniform(rng, face)
    face_width = min(share * width, share * height * 1.2, 1.15 * portrait.face_width)
    return Pose(
        x=width * rng.normal(0.5, 0.09),
        y=height * rng.normal(0.46, 0.06),
        width=face_width,
        roll=float(rng.normal(0, 5)),
        yaw=float(np.clip(rng.normal(0, 12), -30, 30)),
        pitch=float(np.clip(rng.normal(0, 9), -25, 25)),
    )


def similarity_to_frame(portrait: Portrait, pose: Pose) -> np.ndarray:
    """float64 [2, 3] from photo pixels to frame pixels, the face's centre landing on (x, y)."""
    cx, cy = (portrait.box[:2] + portrait.box[2:]) / 2
    matrix = cv2.getRotationMatrix2D((float(cx), float(cy)), pose.roll, pose.width / portrait.face_width)
    matrix[:, 2] += (pose.x - cx, pose.y - cy)
    return matrix


def room_radiance(room: Room, light: Light, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """A made-up room: walls with a gradient, furniture and frames as boxes, texture, perhaps a window or lamp."""
    width, height = size[0] // 2, size[1] // 2  # it is out of focus: half resolution will do
    base = rng.uniform(*room.reflectance)
    wall = np.empty((height, width, 3), np.float32)
    wall[:] = base * np.exp2(rng.normal(0, 0.25, 3)).astype(np.float32)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    wall *= np.exp2(rng.normal(0, 0.6) * x + rng.normal(0, 0.4) * y)
    for _ in range(rng.integers(0, 12)):
        w, h = int(width * rng.uniform(0.03, 0.6)), int(height * rng.uniform(0.03, 0.7))
        x0, y0 = int(rng.uniform(-0.2, 1) * width), int(rng.uniform(-0.2, 1) * height)
        tone = float(rng.uniform(0.03, 0.85))
        colour = tuple(float(value) for value in tone * np.exp2(rng.normal(0, 0.4, 3)))
        thick = -1 if rng.random() < 0.7 else int(rng.integers(1, 8))
        if rng.random() < 0.75:
            angle = rng.normal(0, 4)
            corners = cv2.boxPoints(((x0 + w / 2, y0 + h / 2), (max(w, 2), max(h, 2)), angle)).astype(np.int32)
            if thick < 0:
                cv2.fillPoly(wall, [corners], colour, cv2.LINE_AA)
            else:
                cv2.polylines(wall, [corners], True, colour, thick, cv2.LINE_AA)
        else:
            cv2.ellipse(wall, (x0, y0), (max(w // 2, 2), max(h // 2, 2)), rng.uniform(0, 180), 0, 360, colour, thick)
    coarse = int(rng.integers(3, 40))
    texture = rng.normal(0, 1, (height // coarse + 2, width // coarse + 2, 1)).astype(np.float32)
    texture = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    wall *= np.exp2(abs(rng.normal(0, 0.12)) * texture)
    if rng.random() < room.backlight:
        glow = np.zeros((height, width), np.float32)
        w, h = int(width * rng.uniform(0.1, 0.45)), int(height * rng.uniform(0.15, 0.6))
        x0, y0 = int(rng.uniform(-0.1, 0.9) * width), int(rng.uniform(-0.2, 0.5) * height)
        cv2.rectangle(glow, (x0, y0), (x0 + w, y0 + h), log_uniform(rng, (2.0, 12.0)), -1)
        wall += glow[..., None] * light_colour(rng.uniform(4500, 7500))
    wall = cv2.GaussianBlur(wall, (0, 0), max(0.3, rng.uniform(*room.background_blur) / 2))
    wall = cv2.resize(wall, size, interpolation=cv2.INTER_LINEAR)
    distance = rng.uniform(0.35, 1.1)  # the wall is farther from the light than the subject, or lit by its own
    return np.asarray(np.clip(wall, 0.005, 12) * (light.white() * distance), np.float32)


def add_person(radiance: Floats, portrait: Portrait, pose: Pose, light: Light) -> None:
    """Put the lit person in front of the room, in place. The photo's own shading stays; the room's light is added."""
    height, width = radiance.shape[:2]
    scale = pose.width / portrait.face_width
    photo, matte, matrix = portrait.bgr, portrait.matte, similarity_to_frame(portrait, pose)
    if scale < 0.7:  # low-pass before shrinking, as optics would
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matte = cv2.resize(matte, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([portrait.bgr.shape[1] / photo.shape[1], portrait.bgr.shape[0] / photo.shape[0], 1.0])
    person = cv2.warpAffine(
        to_linear(photo), matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    # A body goes on below the photo, so its last row is carried down; above and beside there is room only.
    padded = cv2.copyMakeBorder(matte, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    padded[-1] = padded[-2]
    shifted = matrix @ np.array([[1, 0, -1], [0, 1, -1], [0, 0, 1.0]])
    alpha = cv2.warpAffine(padded, shifted, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shaded = person * light.shading((width, height), (pose.x, pose.y), pose.width) * light.white()
    radiance += alpha[..., None] * (shaded - radiance)
