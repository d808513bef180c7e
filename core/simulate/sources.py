"""The pictures of a person that attackers have: photos and videos taken with some camera, somewhere, before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate import codec
from dtda.core.simulate.camera import capture, draw_shot, encode, log_uniform, metered
from dtda.core.simulate.config import Camera, Room, SimulateConfig
from dtda.core.simulate.ingredients import first_camera
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.rooms import draw_surroundings
from dtda.core.simulate.scene import Pose, View, add_person, draw_light, whole
from dtda.core.types import Image

# A decent camera in any light. What is chosen for printing or showing is often retouched: more contrast, colour and
# sharpness than a webcam gives.
CHOSEN = Camera(
    blur=(0.2, 0.5), electrons=(40, 300), jpeg=(75, 96), cast=0.06, awb=(0.7, 1.0), sharpen=(0.0, 1.8),
    denoise=(0, 0.7), chroma_denoise=(0.3, 1), bias=(-0.1, 0.7), centre=(0.5, 1.0), contrast=(1.1, 2.1),
    saturation=(0.9, 1.5), mosaic=0.3, focus_error=0.0, motion=0.0, flare=(0, 0.02),
)  # fmt: skip
# What was recorded of the victim with a webcam or a phone's front camera.
RECORDED = Camera(
    blur=(0.3, 0.7), electrons=(8, 80), jpeg=(60, 92), contrast=(0.95, 1.5), saturation=(0.7, 1.4), sharpen=(0, 1.2),
    focus_error=0.0, motion=0.002,
)  # fmt: skip
ROOM = Room(lux=(60, 800), kelvin=(2800, 6800), side=(0.0, 1.4), backlight=0.15, background_blur=(0.0, 0.03))
SIDE = 880  # long side of a source, pixels


@dataclass(frozen=True)
class Source:
    """picture: uint8 [h, w, 3] BGR, a photo or a frame of a compressed video. to_picture: float64 [2, 3] from pixels of the
    portrait. face: (x, y, width) of the face, picture pixels."""

    picture: Image
    to_picture: np.ndarray
    face: tuple[float, float, float]


def draw_sources(
    people: Sequence[Portrait], config: SimulateConfig, streams: Sequence[np.random.Generator]
) -> list[list[Source]]:
    """`config.sources` pictures of each person, in turn a chosen photo, a recorded video and the portrait as it is.

    streams: one generator for each person. All videos are compressed at once.
    """
    chosen, recorded = (first_camera(camera, config.without) for camera in (CHOSEN, RECORDED))
    found = []
    for portrait, rng in zip(people, streams, strict=True):
        for number in range(config.sources):
            if number % 3 == 2:
                taken = _as_it_is(portrait, rng)
            else:
                taken = _taken(portrait, chosen if number % 3 == 0 else recorded, rng)
            side = log_uniform(rng, config.video_side) if number % 3 == 1 or rng.random() < 0.4 else None
            found.append((taken, side, int(rng.integers(config.video_qp[0], config.video_qp[1] + 1))))
    small = [_scaled_to(photo, side) for (photo, _, _), side, _ in found if side]
    coded = iter(small)
    if config.video_codec == "h264":
        coded = iter(codec.as_video_frames(small, [qp for _, side, qp in found if side]))
    sources = []
    for (photo, matrix, face), side, _ in found:
        size = (photo.shape[1], photo.shape[0])
        shown = cv2.resize(next(coded), size, interpolation=cv2.INTER_CUBIC) if side else photo
        sources.append(Source(shown, matrix, face))
    return [sources[start : start + config.sources] for start in range(0, len(sources), config.sources)]


def _scaled_to(photo: Image, side: float) -> Image:
    scale = min(1.0, side / max(photo.shape[:2]))
    return np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


Taken = tuple[Image, np.ndarray, tuple[float, float, float]]


def _as_it_is(portrait: Portrait, rng: np.random.Generator) -> Taken:
    """The portrait with its own background, perhaps brightened and sharpened."""
    bgr = portrait.bgr
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(bgr, (0, 0), 1.5)
        amount = rng.uniform(0.2, 1.0)
        bgr = cv2.addWeighted(bgr, 1 + amount, soft, -amount, rng.uniform(-10, 35))
    centre = (portrait.box[:2] + portrait.box[2:]) / 2
    return bgr, np.eye(2, 3), (float(centre[0]), float(centre[1]), portrait.face_width)


def _taken(portrait: Portrait, camera: Camera, rng: np.random.Generator) -> Taken:
    size = (SIDE * 3 // 4, SIDE) if rng.random() < 0.6 else (SIDE, SIDE * 3 // 4)
    shot = replace(draw_shot(camera, rng), sensor=size, output=size)
    light = draw_light(ROOM, rng)
    width = min(log_uniform(rng, (0.2, 0.42)) * min(size), 1.1 * portrait.face_width)
    pose = Pose(size[0] * rng.normal(0.5, 0.05), size[1] * rng.normal(0.45, 0.04), width, float(rng.normal(0, 3)))
    pose = settled(portrait, pose, size)
    surroundings = draw_surroundings(ROOM, light, size, rng)

    view = View(0, 0, size)
    small = whole(size)
    metering = metered(add_person(surroundings.seen(small), small, portrait, pose, light), shot)
    radiance = add_person(surroundings.seen(view), view, portrait, pose, light)
    frame = capture(radiance, shot, rng, metering, face=width)
    frame = cv2.imdecode(np.frombuffer(encode(frame, shot.jpeg), np.uint8), cv2.IMREAD_COLOR)
    scale = width / portrait.face_width
    from_frame = cv2.getRotationMatrix2D(tuple(map(float, (portrait.box[:2] + portrait.box[2:]) / 2)), pose.roll, scale)
    from_frame[:, 2] += np.array([pose.x, pose.y]) - (portrait.box[:2] + portrait.box[2:]) / 2
    return frame, from_frame, (pose.x, pose.y, width)


def settled(portrait: Portrait, pose: Pose, size: tuple[int, int]) -> Pose:
    """Lower a person whose photo would end above the bottom of the frame: bodies do not float."""
    scale = pose.width / portrait.face_width
    below = (portrait.bgr.shape[0] - (portrait.box[1] + portrait.box[3]) / 2) * scale
    lowest = 0.62 * size[1]
    return replace(pose, y=float(np.clip(size[1] - below, pose.y, max(pose.y, lowest))))
