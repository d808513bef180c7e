"""Views, light and people in front of the camera: radiance in cd/m2, linear BGR."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate.camera import Metering, Shot, log_uniform
from dtda.core.simulate.config import Range, Room
from dtda.core.simulate.portrait import Layers, Portrait, to_linear
from dtda.core.types import Floats

# Wavelengths (m) standing for blue, green and red when a colour temperature is turned into BGR gains.
_BANDS = np.array([465e-9, 545e-9, 610e-9])
SMALLEST, LARGEST = 56.0, 220.0  # widths of faces, frame pixels
COARSE = 8  # pixels of a view under one of the fields that change slowly


def light_colour(kelvin: float) -> Floats:
    """BGR gains of a black body relative to 6500 K, green = 1, float32 [3] (Planck's law at three wavelengths)."""

    def planck(temperature: float) -> np.ndarray:
        return 1 / (np.exp(1.4388e-2 / (_BANDS * temperature)) - 1)

    ratio = planck(kelvin) / planck(6500.0)
    return np.asarray(ratio / ratio[1], np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """The part of the frame that is rendered. x, y: its corner, frame pixels. size: (width, height), its own pixels.
    scale: its pixels per frame pixel."""

    x: float
    y: float
    size: tuple[int, int]
    scale: float = 1.0

    @property
    def matrix(self) -> np.ndarray:
        """float64 [3, 3] from frame pixels to its own; centres of pixels have whole numbers in both."""
        s = self.scale
        return np.array([[s, 0, s * (0.5 - self.x) - 0.5], [0, s, s * (0.5 - self.y) - 0.5], [0, 0, 1]])

    @property
    def output(self) -> tuple[int, int]:
        """(width, height) in frame pixels, even as video needs them."""
        width, height = (2 * round(side / self.scale / 2) for side in self.size)
        return width, height

    def coarse(self) -> View:
        size = ((self.size[0] + COARSE - 1) // COARSE, (self.size[1] + COARSE - 1) // COARSE)
        return replace(self, size=size, scale=self.scale / COARSE)

    def fine(self, field: Floats) -> Floats:
        """A field of `coarse` at full resolution."""
        size = (field.shape[1] * COARSE, field.shape[0] * COARSE)
        large = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(large[: self.size[1], : self.size[0]])

    def places(self) -> tuple[Floats, Floats]:
        """Frame coordinates of its columns, float32 [w], and rows, float32 [h]."""
        columns = (np.arange(self.size[0], dtype=np.float32) + 0.5) / self.scale + self.x - 0.5
        rows = (np.arange(self.size[1], dtype=np.float32) + 0.5) / self.scale + self.y - 0.5
        return columns.astype(np.float32), rows.astype(np.float32)


def whole(frame: tuple[int, int], width: int = 48) -> View:
    """All of the frame in a small raster, as the camera meters it."""
    return View(0, 0, (width, max(1, round(width * frame[1] / frame[0]))), width / frame[0])


def scaled(colour: Floats, field: Floats) -> Floats:
    """[h, w, 3] times [h, w]; OpenCV's way is several times as fast as broadcasting."""
    return np.asarray(cv2.multiply(colour, cv2.merge([field, field, field])))


def over(front: Floats, back: Floats, alpha: Floats) -> Floats:
    """alpha of the front [h, w, 3] and the rest of the back."""
    return np.asarray(cv2.blendLinear(front, back, alpha, 1 - alpha))


@dataclass(frozen=True, slots=True)
class Light:
    """Light of one shot. lux on the subject; colour float32 [3] BGR; side: log2 brightness ratio left to right (signed);
    top: the same from top to bottom. flicker: relative depth at hertz, from phase."""

    lux: float
    colour: Floats
    side: float
    top: float
    flicker: float = 0.0
    hertz: float = 100.0
    phase: float = 0.0

    def white(self) -> Floats:
        """Radiance of a perfectly white, matt surface facing the light, cd/m2 BGR (Lambert: E / pi)."""
        return np.asarray(self.lux / np.pi * self.colour, np.float32)

    def shading(self, view: View, centre: tuple[float, float], reach: float, relief: float = 1.0) -> Floats:
        """Factor over the view, float32 [h, w], 1 at `centre`; the full ratio is reached over 2 * reach frame pixels.

        relief: 1 for a face, whose sides turn towards and away from the light; a flat sheet shows much less.
        """
        columns, rows = view.places()
        across = np.exp2(relief * self.side / 2 * np.clip((columns - centre[0]) / reach, -1.5, 1.5))
        down = np.exp2(relief * self.top / 2 * np.clip((rows - centre[1]) / reach, -1.5, 1.5))
        return np.outer(down, across).astype(np.float32)

    def bands(self, view: View, shot: Shot, metering: Metering) -> Floats:
        return bands(view, shot, metering, self.flicker, self.hertz, self.phase)


def bands(view: View, shot: Shot, metering: Metering, depth: float, hertz: float, phase: float) -> Floats:
    """Brightness of the rows under a light that flickers, float32 [h]: rows are read one after the other, and each
    averages the flicker over its exposure."""
    left = depth * float(np.sinc(hertz * metering.open_s))
    rows = view.places()[1] / shot.output[1]
    return np.asarray(1 + left * np.sin(2 * np.pi * hertz * shot.readout_s * rows + phase), np.float32)


def draw_light(room: Room, rng: np.random.Generator) -> Light:
    return Light(
        lux=log_uniform(rng, room.lux),
        colour=light_colour(rng.uniform(*room.kelvin)),
        side=float(rng.uniform(*room.side) * rng.choice([-1, 1])),
        top=rng.uniform(-0.6, 0.3),
        flicker=rng.uniform(*room.flicker),
        hertz=float(rng.choice([100.0, 120.0])),
        phase=rng.uniform(0, 2 * np.pi),
    )


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the face is. x, y: centre, frame pixels. width: of the face, frame pixels. roll, yaw, pitch: degrees. nod,
    turn: degrees by which a living head is turned out of the photo's own pose, up and to the side."""

    x: float
    y: float
    width: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    turn: float = 0.0
    nod: float = 0.0


def draw_pose(portrait: Portrait, size: tuple[int, int], face: Range, rng: np.random.Generator) -> Pose:
    """The same draw for bona fide and attack. Faces are not blown up beyond 1.1 of the photo's own resolution, and are at
    most LARGEST pixels wide, since larger ones would show what the portraits do not have."""
    width, height = size
    drawn = max(SMALLEST, log_uniform(rng, face) * min(width, height))
    face_width = min(drawn, 1.1 * portrait.face_width, LARGEST)
    return Pose(
        x=width * rng.normal(0.5, 0.09),
        y=height * rng.normal(0.46, 0.06),
        width=face_width,
        roll=float(rng.normal(0, 5)),
        yaw=float(np.clip(rng.normal(0, 1), -2.7, 2.7)),
        pitch=float(np.clip(rng.normal(0, 1), -2.7, 2.7)),
    )


def similarity_to_frame(portrait: Portrait, pose: Pose) -> np.ndarray:
    """float64 [2, 3] from photo pixels to frame pixels, the face's centre landing on (x, y)."""
    cx, cy = (portrait.box[:2] + portrait.box[2:]) / 2
    matrix = cv2.getRotationMatrix2D((float(cx), float(cy)), pose.roll, pose.width / portrait.face_width)
    matrix[:, 2] += (pose.x - cx, pose.y - cy)
    return matrix


def add_person(
    radiance: Floats, view: View, portrait: Portrait, pose: Pose, light: Light, layers: Layers | None = None
) -> Floats:
    """The lit person in front of the radiance of a view. The photo's own shading stays; the room's light is added.

    layers: of a turned head, instead of the portrait's.
    """
    matrix = view.matrix @ np.vstack([similarity_to_frame(portrait, pose), [0, 0, 1]])
    level = (layers or portrait.layers).fit(float(np.hypot(matrix[0, 0], matrix[1, 0])))
    colour, alpha, across, down = level
    to_photo = np.array([[1 / across, 0, 0.5 / across - 0.5], [0, 1 / down, 0.5 / down - 0.5], [0, 0, 1]])
    seen = (matrix @ to_photo)[:2]
    shown = cv2.warpAffine(colour, seen, view.size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(alpha, seen, view.size, flags=cv2.INTER_LINEAR)
    white = light.white()
    person = cv2.merge([cv2.LUT(plane, to_linear(_CODES) * white[c]) for c, plane in enumerate(cv2.split(shown))])
    person = scaled(person, light.shading(view, (pose.x, pose.y), pose.width))
    return over(person, radiance, mask.astype(np.float32) * np.float32(1 / 255))


_CODES = np.arange(256, dtype=np.uint8)
