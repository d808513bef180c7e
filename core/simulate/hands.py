"""Hands that hold an instrument: fingers over its edge, in the room's light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate.plane import Plane
from dtda.core.simulate.scene import Light, View, over
from dtda.core.types import Floats

FINGER_MM = 17.0  # breadth of an adult's finger (index finger about 16 to 19 mm)
# Reflectance of skin from light to dark, BGR (assumed from published spectra: 0.6 to 0.1 in red).
SKIN = np.array([[0.28, 0.38, 0.62], [0.17, 0.25, 0.46], [0.08, 0.12, 0.25], [0.04, 0.055, 0.1]])


@dataclass(frozen=True, slots=True)
class Grip:
    """right: from that side, otherwise from the left; below: from the lower edge. at: place along the edge, share.
    fingers: (inside, lean) of each, in finger breadths."""

    right: bool
    below: bool
    at: float
    fingers: tuple[tuple[float, float], ...]
    skin: Floats
    thumb: bool


def draw_grips(rng: np.random.Generator) -> tuple[Grip, ...]:
    """One hand, or one on each side."""
    skin = SKIN[int(rng.integers(len(SKIN)))] * np.exp2(rng.normal(0, 0.15))
    both = rng.random() < 0.35
    first = bool(rng.random() < 0.5)
    grips = []
    for right in (first, not first)[: 2 if both else 1]:
        thumb = bool(rng.random() < 0.55)
        count = 1 if thumb else int(rng.integers(2, 5))
        fingers = tuple((float(rng.uniform(0.1, 0.9)), float(rng.normal(0, 0.4))) for _ in range(count))
        below = bool(rng.random() < 0.25)
        grips.append(Grip(right, below, float(rng.uniform(0.2, 0.85)), fingers, skin.astype(np.float32), thumb))
    return tuple(grips)


def add_hand(
    radiance: Floats, view: View, plane: Plane, edge: tuple[float, float, float, float], grip: Grip, light: Light
) -> tuple[Floats, Floats | None]:
    """edge: outer rectangle of the instrument, picture pixels. Returns the new radiance and where the hand is, float32 [h,
    w], None where it is not in view."""
    breadth = FINGER_MM * (1.25 if grip.thumb else 1.0) / plane.face_mm * plane.face_pixels  # picture pixels
    thick = breadth * plane.pose.width / plane.face_pixels * view.scale
    if thick < 1.5:
        return radiance, None
    alpha = np.zeros((view.size[1], view.size[0]), np.uint8)
    lines: list[tuple[Sequence[Sequence[float]], float]] = []  # the palm is four fingers broad
    out = breadth if grip.right else -breadth
    for number, (inside, lean) in enumerate(grip.fingers):
        along = (number - (len(grip.fingers) - 1) / 2) * 1.05 * breadth
        if grip.below:
            x = edge[0] + grip.at * (edge[2] - edge[0]) + along
            ends = [[x, edge[3] - inside * breadth], [x + lean * breadth, edge[3] + 3 * breadth]]
        else:
            side = edge[2] if grip.right else edge[0]
            y = edge[1] + grip.at * (edge[3] - edge[1]) + along
            ends = [[side - inside * out, y], [side + 3 * out, y + lean * breadth]]
        lines.append((ends, 1.0))
    palm = np.mean([ends[1] for ends, _ in lines], axis=0)
    away = np.array([0.0, breadth]) if grip.below else np.array([out, 0.4 * breadth])
    lines.append(([palm, palm + 6 * away], 4.2))
    for ends, wide in lines:
        seen = cv2.perspectiveTransform(plane.to_frame(np.array(ends))[None], view.matrix)[0]
        first, last = (np.clip(end, -4000, 4000).astype(int).tolist() for end in seen)
        cv2.line(alpha, first, last, 255, max(2, min(int(wide * thick), 250)), cv2.LINE_AA)
    if not alpha.any():
        return radiance, None
    soft = alpha.astype(np.float32) * np.float32(1 / 255)
    size = max(3, int(thick / 2) | 1)
    rounded = cv2.blur(cv2.blur(soft, (size, size)), (size, size))  # darker towards the sides, as a cylinder is
    tone = (0.2 + 0.8 * rounded * rounded)[..., None]
    return over((tone * (grip.skin * light.white())).astype(np.float32), radiance, soft), soft
