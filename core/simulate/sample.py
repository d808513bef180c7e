"""Three short clips of one public-domain portrait: live, printed, on a screen. What the demo plays without a camera."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.simulate import clip, codec
from dtda.core.simulate.capture import draw_setting
from dtda.core.simulate.config import Camera, Domain, Room, SimulateConfig
from dtda.core.simulate.domains import LAPTOP, LASER
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.presentation import draw_presentation
from dtda.core.simulate.sources import draw_sources
from dtda.core.types import Image

CLIPS = ("live", "print", "screen")
VERSION = 3  # raise when the clips change, so that cached ones are rendered anew
FPS = 15
SECONDS = 2.0
QP = 20  # of their H.264

# A plain laptop webcam in an office; the instruments are the simulator's office printer and laptop display.
DOMAIN = Domain(
    name="sample",
    camera=Camera(
        electrons=(40, 60), cast=0.04, blur=(0.4, 0.5), bias=(-0.1, 0.2), mosaic=0.0, skips=0.0, denoise=(0, 0.3),
        focus_error=0.0, flare=(0, 0.01), motion=0.0,
    ),
    room=Room(lux=(250, 400), kelvin=(4000, 5000), side=(0.2, 0.6), backlight=0.0, flicker=(0, 0.02)),
    instruments=[LASER, LAPTOP],
)  # fmt: skip
# Small enough in the frame that the edges of the paper or screen can be seen.
INSTRUMENTS = {
    "print": LASER.model_copy(update={"picture": (2.6, 2.8), "upright": 1.0, "held": 1.0}),
    "screen": LAPTOP.model_copy(update={"picture": (2.6, 2.7), "full": 1.0}),
}
SEEDS = {"live": 11, "print": 12, "screen": 15}


def astronaut() -> Portrait:
    """Eileen Collins, NASA, public domain (skimage.data.astronaut); box and points as CenterFace finds them."""
    # The file that skimage.data.astronaut() reads, without the second that its imports take.
    photo = resources.files("skimage.data") / "astronaut.png"
    bgr = cv2.imdecode(np.frombuffer(photo.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    matte = np.zeros(bgr.shape[:2], np.float32)
    cv2.fillPoly(matte, [np.array(OUTLINE, np.int32)], 1.0, cv2.LINE_AA)
    matte = cv2.GaussianBlur(matte, (0, 0), 1.2)
    return Portrait("astronaut", "astronaut", bgr, matte, np.array(BOX, np.float32), np.array(POINTS, np.float32))


BOX = (184.5, 62.9, 268.4, 174.4)
POINTS = ((206.3, 101.9), (247.1, 105.3), (224.8, 124.0), (206.8, 142.1), (241.0, 144.8))
# The person's outline in the photo, drawn by hand: a space suit is more than GrabCut makes out.
OUTLINE = (
    (157, 65), (166, 46), (194, 31), (235, 18), (269, 26), (294, 50), (300, 85), (294, 115), (275, 135), (263, 150),
    (261, 172), (280, 193), (302, 225), (306, 239), (340, 260), (350, 280), (360, 320), (367, 350), (400, 345),
    (450, 370), (484, 410), (499, 460), (511, 466), (511, 511), (30, 511), (23, 450), (21, 400), (28, 325), (45, 280),
    (60, 245), (113, 208), (115, 190), (125, 166), (150, 151), (179, 150), (183, 132), (170, 125), (158, 105),
)  # fmt: skip


def raw_frames(name: str) -> Iterator[Image]:
    """Frames of one clip before their compression, uint8 [480, 640, 3] BGR, in order. Raises ValueError for an unknown
    name."""
    if name not in CLIPS:
        raise ValueError(f"no sample clip {name}")
    rng = np.random.default_rng(SEEDS[name])
    portrait = astronaut()
    setting = draw_setting(portrait, DOMAIN, (0.2, 0.21), rng)
    setting = replace(setting, pose=replace(setting.pose, x=320.0, y=200.0, yaw=0.6, pitch=-0.4, roll=1.0))
    shown = None
    if name != "live":
        sources = draw_sources([portrait], SimulateConfig(sources=2), [rng])[0]
        shown = draw_presentation(portrait, sources[:1], INSTRUMENTS[name], setting.light, rng)
    made = clip.draw_clip(portrait, setting, shown, rng)
    for frame, _ in clip.frames(made, int(FPS * SECONDS), FPS):
        yield frame


def frames(name: str) -> list[Image]:
    """Frames of one clip as its H.264 video shows them."""
    return codec.round_trip(list(raw_frames(name)), QP)


def render_clip(name: str, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write one clip, through H.264, as Motion JPEG in AVI, as webcams send it; appears whole or not at all.

    stopped: asked before every frame whether to give up. Raises DtdaError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"MJPG"), FPS, DOMAIN.camera.output)  # type: ignore[attr-defined]
    try:
        if not writer.isOpened():
            raise DtdaError(f"{path}: cannot be written; name another folder.")
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 95)
        taken = []
        for frame in raw_frames(name):
            if stopped():
                raise DtdaError(f"{path}: its rendering was stopped; open the sample again.")
            taken.append(frame)
        for frame in codec.round_trip(taken, QP):
            writer.write(frame)
        writer.release()
        if not temporary.is_file() or cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) < FPS:
            raise DtdaError(f"{path}: could not be written whole; is the disk full?")
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
