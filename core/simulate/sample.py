"""Three short clips of one public-domain portrait: live, printed, on a screen. What the demo plays without a camera."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.simulate.camera import capture, metered
from dtda.core.simulate.capture import attack_radiance, draw_presentation, draw_setting, settled
from dtda.core.simulate.config import LAPTOP, LASER, Camera, Domain, Room
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.scene import Pose, add_person
from dtda.core.types import Floats, Image

CLIPS = ("live", "print", "screen")
VERSION = 1  # raise when the clips change, so that cached ones are rendered anew
FPS = 15
SECONDS = 2.0
SIZE = (640, 480)

# A plain laptop webcam in an office; the instruments are the simulator's office printer and laptop display.
DOMAIN = Domain(
    name="sample",
    camera=Camera(electrons=(40, 60), jpeg=(88, 92), cast=0.04, blur=(0.5, 0.8), bias=(-0.1, 0.2), mosaic=0.0),
    room=Room(lux=(250, 400), kelvin=(4000, 5000), side=(0.2, 0.6), backlight=0.0),
    instruments=[LASER, LAPTOP],
)
INSTRUMENTS = {"print": LASER, "screen": LAPTOP}
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


def frames(name: str) -> Iterator[Image]:
    """Frames of one clip, uint8 [480, 640, 3] BGR, in order. Raises ValueError for an unknown name."""
    if name not in CLIPS:
        raise ValueError(f"no sample clip {name}")
    rng = np.random.default_rng(SEEDS[name])
    portrait = astronaut()
    setting = draw_setting(portrait, DOMAIN, (0.155, 0.16), rng)
    pose = replace(setting.pose, x=SIZE[0] * 0.5, y=SIZE[1] * 0.42, yaw=6.0, pitch=-4.0, roll=1.0)
    shown = None
    if name != "live":  # small enough in the frame that the edges of the paper or screen can be seen
        shown = draw_presentation(portrait, INSTRUMENTS[name], rng, share=(0.3, 0.32), side=420)
    sway = rng.uniform(0, 2 * np.pi, 6)

    def radiance(number: int) -> Floats:
        moved = replace(setting, pose=_swayed(pose, number / FPS, sway, held=shown is not None))
        if shown is not None:
            return attack_radiance(shown, moved, phase=number * 1.7)[0]
        scene = setting.room.copy()
        add_person(scene, portrait, settled(portrait, moved.pose, SIZE), setting.light)
        return scene

    metering = metered(radiance(0), setting.shot)

    def frame(number: int) -> Image:
        noise = np.random.default_rng((SEEDS[name], number))
        return capture(radiance(number), setting.shot, noise, metering)[0]

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(frame, range(int(FPS * SECONDS)))


def _swayed(pose: Pose, t: float, phases: np.ndarray, held: bool) -> Pose:
    """A person sways at some 0.3 Hz; a hand-held instrument trembles as well and turns a little."""
    slow = [np.sin(2 * np.pi * 0.3 * (i + 1) ** 0.5 * t + phases[i]) for i in range(3)]
    fast = [np.sin(2 * np.pi * 4.1 * (i + 1) ** 0.3 * t + phases[3 + i]) for i in range(3)] if held else [0, 0, 0]
    return replace(
        pose,
        x=pose.x + 9 * slow[0] + 0.8 * fast[0],
        y=pose.y + 4 * slow[1] + 0.8 * fast[1],
        width=pose.width * (1 + 0.02 * slow[2]),
        roll=pose.roll + 1.5 * slow[1] + 0.2 * fast[2],
        yaw=pose.yaw + (3.0 * slow[2] if held else 0.0),
    )


def render_clip(name: str, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write one clip as Motion JPEG in AVI, as webcams send it; appears whole or not at all.

    stopped: asked before every frame whether to give up. Raises DtdaError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE)  # type: ignore[attr-defined]
    try:
        if not writer.isOpened():
            raise DtdaError(f"{path}: cannot be written; name another folder.")
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 95)
        for frame in frames(name):
            if stopped():
                raise DtdaError(f"{path}: its rendering was stopped; open the sample again.")
            writer.write(frame)
        writer.release()
        if not temporary.is_file() or cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) < FPS:
            raise DtdaError(f"{path}: could not be written whole; is the disk full?")
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
