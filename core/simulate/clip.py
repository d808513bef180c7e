"""Clips: the same person, print or screen over time, with one metering, as frames of one video."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate import codec
from dtda.core.simulate.camera import FACE_M, Metering, capture, defocus, encode, metered
from dtda.core.simulate.capture import (
    QUALITY,
    Capture,
    Setting,
    attack_radiance,
    box_of,
    live_radiance,
    window,
)
from dtda.core.simulate.config import Display
from dtda.core.simulate.motion import Sway, animated, draw_sway, turned
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.presentation import Presentation
from dtda.core.simulate.scene import View, similarity_to_frame, whole
from dtda.core.types import Floats, Image

REPLAYED = 0.5  # share of screens that play a moving face (assumed)


@dataclass(frozen=True)
class Clip:
    """What a clip shows. shown: None for a living person. replay: how the face on a screen moves, None for a photo."""

    portrait: Portrait
    setting: Setting
    shown: Presentation | None
    sway: Sway
    replay: Sway | None
    seed: int


def draw_clip(portrait: Portrait, setting: Setting, shown: Presentation | None, rng: np.random.Generator) -> Clip:
    display = shown is not None and isinstance(shown.instrument, Display)
    replay = draw_sway(rng) if rng.random() < REPLAYED and display else None
    return Clip(portrait, setting, shown, draw_sway(rng), replay, int(rng.integers(2**31)))


def frames(clip: Clip, count: int, fps: float, view: View | None = None) -> Iterator[tuple[Image, np.ndarray]]:
    """Pictures uint8 [h, w, 3] BGR before their compression, and their landmarks, float64 [9, 2] pixels of them.

    view: the part of the frame, at the sensor's resolution; all of it when none is given.
    """
    shot = clip.setting.shot
    part = view or View(0, 0, shot.sensor, shot.sensor[0] / shot.output[0])
    metering = metered(_seen(clip, 0.0, whole(shot.output), None)[0], shot, clip.setting.face)
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, count, 2):  # not all at once: whoever gives up waits for what was begun
            pair = range(first, min(first + 2, count))
            yield from pool.map(lambda number: _frame(clip, number, fps, part, metering), pair)


def _frame(clip: Clip, number: int, fps: float, view: View, metering: Metering) -> tuple[Image, np.ndarray]:
    shot = clip.setting.shot
    radiance, cells, landmarks, distance = _seen(clip, number / fps, view, metering)
    rng = np.random.default_rng((clip.seed, number))
    # The movement is in the frames; within one exposure it is what the shot has drawn.
    face = clip.setting.pose.width * view.scale
    frame = capture(radiance, shot, rng, metering, defocus(shot, distance), face, view.output, cells)
    return frame, landmarks - (view.x, view.y)


def _seen(
    clip: Clip, t: float, view: View, metering: Metering | None
) -> tuple[Floats, Floats | None, np.ndarray, float]:
    """Radiance, lattice, landmarks in frame pixels and distance in metres, t seconds after the start."""
    setting, shown = clip.setting, clip.shown
    if shown is None:
        pose = clip.sway.at(replace(setting.pose, yaw=0.0, pitch=0.0), t, held=False, living=True)
        layers, marks = turned(clip.portrait, pose)
        radiance = live_radiance(clip.portrait, setting, pose, view, metering, layers)
        landmarks = cv2.transform(marks[None], similarity_to_frame(clip.portrait, pose))[0]
        return radiance, None, landmarks, FACE_M * setting.focal / pose.width
    now = replace(setting, pose=clip.sway.at(setting.pose, t, held=bool(shown.grips), living=False))
    marks = shown.landmarks
    if clip.replay is not None:
        played = clip.replay.at(now.pose, t, held=False, living=True)
        texture = animated(shown.texture, shown.corner, marks, played.turn, played.nod)
        shown = replace(shown, texture=texture)
    phase = 2 * np.pi * t * (shown.item.hertz if isinstance(shown.instrument, Display) else 0.0)
    radiance, cells = attack_radiance(clip.portrait, shown, now, view, metering, float(phase % (2 * np.pi)))
    plane = shown.plane(now.pose, now.focal)
    return radiance, cells, plane.to_frame(marks), plane.distance_m


def captures(clip: Clip, count: int, fps: float = 15.0) -> list[tuple[Capture, bytes]]:
    """The frames around the face, coded as one H.264 video, or each as a JPEG where the camera sends such; with files."""
    first = _seen(clip, 0.0, whole(clip.setting.shot.output), None)[2]
    view = window(first, clip.setting)
    taken = list(frames(clip, count, fps, view))
    shot, shown = clip.setting.shot, clip.shown
    pictures = [frame for frame, _ in taken]
    if shot.qp is not None:
        pictures = codec.round_trip(pictures, shot.qp)
    kind, name = ("live", "") if shown is None else (shown.instrument.kind, shown.instrument.name)
    quality = shot.jpeg if shot.qp is None else QUALITY
    return [
        (
            Capture(
                picture, box_of(marks).astype(np.float32), marks[:5].astype(np.float32), kind, name, shot.jpeg, shot.qp
            ),
            encode(picture, quality),
        )
        for picture, (_, marks) in zip(pictures, taken, strict=True)
    ]
