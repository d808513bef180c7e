"""What moves in a clip: a living head turns and shows parallax, an instrument is a plane that sways and trembles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate.portrait import Layers, Portrait, layered
from dtda.core.simulate.scene import Pose
from dtda.core.types import Floats, Image

# The head as half an ellipsoid with a nose, in widths of the face box: half axes across and down, depth over its outline,
# distance of the outline from the axis it turns about, height and radius of the nose (assumed, after a head 0.15 m wide and
# 0.19 m deep).
ACROSS, DOWN, DEPTH, AXIS, NOSE, NOSE_RADIUS = 0.62, 0.85, 0.55, 0.3, 0.12, 0.12


@dataclass(frozen=True, slots=True)
class Sway:
    """Sums of sines: slow ones at about 0.1 to 0.6 Hz, and the 8 to 12 Hz of physiological hand tremor. phases: radians."""

    phases: tuple[float, ...]
    slow_hz: float
    tremor_hz: float
    reach: float
    lively: float

    def at(self, pose: Pose, t: float, held: bool, living: bool) -> Pose:
        """The pose t seconds later. held: trembles, a few tenths of a millimetre; a person or stand does not."""
        slow = [float(np.sin(2 * np.pi * self.slow_hz * (1 + 0.37 * i) * t + self.phases[i])) for i in range(6)]
        fast = [float(np.sin(2 * np.pi * self.tremor_hz * (1 + 0.11 * i) * t + self.phases[6 + i])) for i in range(3)]
        width = pose.width
        tremble = 0.004 * width if held else 0.0
        move = self.reach * width if held or living else 0.0
        turned = replace(
            pose,
            x=pose.x + move * slow[0] + tremble * fast[0],
            y=pose.y + 0.5 * move * slow[1] + tremble * fast[1],
            width=width * (1 + (0.2 * self.reach * slow[2] if move else 0.0)),
            roll=pose.roll + (1.5 * slow[3] if move else 0.0) + (0.2 * fast[2] if held else 0.0),
        )
        if living:
            return replace(turned, turn=8 * self.lively * slow[4], nod=4 * self.lively * slow[5])
        if held:
            return replace(turned, yaw=pose.yaw + 0.3 * slow[4], pitch=pose.pitch + 0.2 * slow[5])
        return turned


def draw_sway(rng: np.random.Generator) -> Sway:
    return Sway(
        phases=tuple(rng.uniform(0, 2 * np.pi, 9)),
        slow_hz=float(rng.uniform(0.15, 0.4)),
        tremor_hz=float(rng.uniform(8, 12)),
        reach=float(rng.uniform(0.02, 0.08)),
        lively=float(rng.uniform(0.4, 1.2)),
    )


def moved(bgr: Image, box: Floats, points: Floats, turn: float, nod: float) -> tuple[Floats, Floats]:
    """Maps for cv2.remap that turn the head in a picture, float32 [h, w] each. turn, nod: degrees."""
    height, width = bgr.shape[:2]
    step = 8
    x, y = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    dx, dy = _shift(np.column_stack([x.ravel(), y.ravel()]), box, points, turn, nod).T
    # Sampled at the corners of cells of `step` pixels; resized so that sample i lies at pixel i * step.
    size = (x.shape[1] * step, x.shape[0] * step)
    centred = np.array([[step, 0, 0], [0, step, 0]], np.float64)
    maps = [
        cv2.warpAffine(part.reshape(x.shape).astype(np.float32), centred, size, borderMode=cv2.BORDER_REPLICATE)
        for part in (x.ravel() - dx, y.ravel() - dy)
    ]
    return maps[0][:height, :width], maps[1][:height, :width]


def _shift(places: np.ndarray, box: Floats, points: Floats, turn: float, nod: float) -> np.ndarray:
    """By how much places of the picture move when the head turns, float64 [N, 2] pixels."""
    centre, width = (box[:2] + box[2:]) / 2, float(box[2] - box[0])
    u, v = ((places - centre) / width).T
    out = (u / ACROSS) ** 2 + (v / DOWN) ** 2
    head = 1 / (1 + np.exp(np.clip(6 * (np.sqrt(out) - 1.15), -30, 30)))
    nose = (points[2] - centre) / width
    z = DEPTH * np.maximum(0, 1 - out) + NOSE * np.exp(
        -((u - nose[0]) ** 2 + (v - nose[1]) ** 2) / (2 * NOSE_RADIUS**2)
    )
    depth = (z + AXIS) * head * width
    return np.column_stack([depth * np.sin(np.radians(turn)), -depth * np.sin(np.radians(nod))])


def turned(portrait: Portrait, pose: Pose) -> tuple[Layers, np.ndarray]:
    """The person with the head turned as the pose says, and the landmarks then, float64 [9, 2] photo pixels."""
    maps = moved(portrait.bgr, portrait.box, portrait.points, pose.turn, pose.nod)
    colour = cv2.remap(portrait.bgr, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    matte = cv2.remap(portrait.matte, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    marks = portrait.landmarks
    moves = _shift(marks, portrait.box, portrait.points, pose.turn, pose.nod)
    moves[5:] = moves[5:].mean(0)  # the box goes with the head
    return layered(colour, matte, portrait.face_width), marks + moves


def animated(texture: Image, corner: tuple[float, float], marks: np.ndarray, turn: float, nod: float) -> Image:
    """A frame of the video on a screen: the same head turned within the picture. marks: landmarks [9, 2] on the picture."""
    local = (marks - corner).astype(np.float32)
    box = np.concatenate([local[5:].min(0), local[5:].max(0)])
    maps = moved(texture, box, local[:5], turn, nod)
    return np.asarray(cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
