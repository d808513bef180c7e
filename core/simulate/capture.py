"""One shot of a bona fide face or of an attack: portrait -> (instrument ->) room -> camera -> JPEG and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate import paper
from dtda.core.simulate.camera import Shot, capture, draw_shot, log_uniform
from dtda.core.simulate.config import Camera, Domain, Instrument, Print, Range, Room
from dtda.core.simulate.display import Screen, draw_screen, screen_radiance
from dtda.core.simulate.paper import Sheet, draw_sheet
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.scene import (
    Light,
    Pose,
    add_person,
    draw_light,
    draw_pose,
    room_radiance,
    similarity_to_frame,
)
from dtda.core.types import Floats, Image

# The attacker's own picture of the victim: a decent camera in any light, before it is printed or shown.
# Pictures chosen for printing or showing are often retouched: more contrast, colour and sharpness than a webcam gives.
FIRST_CAMERA = Camera(
    blur=(0.2, 0.5),
    electrons=(40, 300),
    jpeg=(75, 96),
    cast=0.05,
    awb=(0.7, 1.0),
    sharpen=(0.0, 1.6),
    denoise=(0, 0.3),
    chroma_denoise=(0, 1),
    bias=(-0.2, 0.9),
    centre=(0.5, 0.95),
    contrast=(1.0, 2.2),
    saturation=(0.9, 1.6),
    mosaic=0.3,
)
FIRST_ROOM = Room(lux=(80, 800), kelvin=(3000, 6500), side=(0.0, 1.4), backlight=0.1, background_blur=(0.5, 4.0))


@dataclass(frozen=True, slots=True)
class Capture:
    """A simulated picture. frame: uint8 [H, W, 3] BGR. jpeg: the file the camera wrote. box: float32 [4] xyxy and
    points: float32 [5, 2], frame pixels. kind: live, print or display. instrument: its name, empty for live."""

    frame: Image
    jpeg: bytes
    box: Floats
    points: Floats
    kind: str
    instrument: str


@dataclass(frozen=True, slots=True)
class Setting:
    """All that is fixed during a clip: the room, its light, the camera and the pose it starts from."""

    light: Light
    shot: Shot
    pose: Pose
    room: Floats


def draw_setting(portrait: Portrait, domain: Domain, face: Range, rng: np.random.Generator) -> Setting:
    """Identical draws for bona fide and attack: nothing here may tell the classes apart."""
    shot = draw_shot(domain.camera, rng)
    light = draw_light(domain.room, rng)
    # Attacks are held where the person would have stood: the height of the face must not tell the classes apart.
    pose = settled(portrait, draw_pose(portrait, shot.sensor, face, rng), shot.sensor)
    return Setting(light, shot, pose, room_radiance(domain.room, light, shot.sensor, rng))


def bona_fide(portrait: Portrait, setting: Setting, rng: np.random.Generator) -> Capture:
    """A live person in the room."""
    radiance = setting.room.copy()
    add_person(radiance, portrait, setting.pose, setting.light)
    landmarks = cv2.transform(_landmarks(portrait)[None], similarity_to_frame(portrait, setting.pose))[0]
    return _taken(radiance, landmarks, setting.shot, rng, "live", "")


def settled(portrait: Portrait, pose: Pose, size: tuple[int, int]) -> Pose:
    """Lower a person whose photo would end above the bottom of the frame: bodies do not float."""
    scale = pose.width / portrait.face_width
    below = (portrait.bgr.shape[0] - (portrait.box[1] + portrait.box[3]) / 2) * scale
    lowest = 0.62 * size[1]
    return replace(pose, y=float(np.clip(size[1] - below, pose.y, max(pose.y, lowest))))


SHARE: Range = (0.17, 0.5)
SIDE = 800


def source_picture(
    portrait: Portrait, rng: np.random.Generator, upright: bool, share: Range = SHARE, side: int = SIDE
) -> tuple[Image, Floats, float]:
    """The picture the attacker holds: uint8 BGR, centre of its face (2 floats) and width of its face, pixels.

    share: face over picture width, log-uniform. side: long side of the picture, pixels.
    """
    size = (side * 3 // 4, side) if upright else (side, side * 3 // 4)
    shot = replace(draw_shot(FIRST_CAMERA, rng), sensor=size, output=size)
    light = draw_light(FIRST_ROOM, rng)
    width = min(log_uniform(rng, share) * size[0], 1.15 * portrait.face_width)
    pose = Pose(size[0] * rng.normal(0.5, 0.05), size[1] * rng.normal(0.45, 0.04), width, float(rng.normal(0, 3)))
    pose = settled(portrait, pose, size)
    radiance = room_radiance(FIRST_ROOM, light, size, rng)
    add_person(radiance, portrait, pose, light)
    frame, _ = capture(radiance, shot, rng)
    return frame, np.array([pose.x, pose.y], np.float32), width


@dataclass(frozen=True, slots=True)
class Presentation:
    """An attack ready to be shown to the camera."""

    picture: Image
    face: Floats
    face_pixels: float
    portrait_to_picture: np.ndarray
    item: Sheet | Screen
    instrument: Instrument
    grip: tuple[float, ...]


def draw_presentation(
    portrait: Portrait, instrument: Instrument, rng: np.random.Generator, share: Range = SHARE, side: int = SIDE
) -> Presentation:
    """An instrument with the portrait on it; share and side as in `source_picture`."""
    upright = rng.random() < (0.75 if instrument.name in ("phone", "tablet", "laser", "inkjet", "magazine") else 0.25)
    picture, face, face_pixels = source_picture(portrait, rng, bool(upright), share, side)
    item = draw_sheet(instrument, rng) if isinstance(instrument, Print) else draw_screen(instrument, rng)
    scale = face_pixels / portrait.face_width
    centre = (portrait.box[:2] + portrait.box[2:]) / 2
    to_picture = np.array([[scale, 0, face[0] - scale * centre[0]], [0, scale, face[1] - scale * centre[1]]])
    hand_held = instrument.name in ("phone", "tablet") or (isinstance(instrument, Print) and rng.random() < 0.7)
    grip = tuple(rng.uniform(0, 1, 12)) if hand_held else ()
    return Presentation(picture, face, face_pixels, to_picture, item, instrument, grip)


def attack(
    portrait: Portrait, shown: Presentation, setting: Setting, rng: np.random.Generator, phase: float = 0.0
) -> Capture:
    """A print or display held in the room."""
    radiance, plane = attack_radiance(shown, setting, phase)
    landmarks = cv2.transform(_landmarks(portrait)[None], shown.portrait_to_picture)[0]
    kind = shown.instrument.kind
    return _taken(radiance, plane.to_frame(landmarks), setting.shot, rng, kind, shown.instrument.name)


def attack_radiance(shown: Presentation, setting: Setting, phase: float) -> tuple[Floats, Plane]:
    item, light, shot = shown.item, setting.light, setting.shot
    picture = shown.picture
    plane = Plane(
        picture=(picture.shape[1], picture.shape[0]),
        size=shot.sensor,
        pose=setting.pose,
        face=(float(shown.face[0]), float(shown.face[1])),
        face_pixels=shown.face_pixels,
        face_mm=item.face_mm,
        bend=item.bend if isinstance(item, Sheet) else 0.0,
    )
    radiance = setting.room.copy()
    shading = light.shading(shot.sensor, plane.centre, plane.face_width, relief=0.25)
    if isinstance(item, Sheet):
        seed = int(shown.face_pixels * 1000) % 2**31
        content = paper.sheet_radiance(picture, item, plane, light, shot, seed)
        rim, tone = item.border, item.paper
        rim_colour = tone * item.tint * light.white()
    else:
        content = screen_radiance(picture, item, plane, light, shot, phase)
        rim = item.bezel
        rim_colour = item.bezel_tone * light.white()
    for margin, value in ((rim, rim_colour * shading), (0.0, content)):
        radiance += plane.mask(margin)[..., None] * (value - radiance)
    if shown.grip:
        _add_hand(radiance, plane, rim, shown.grip, light)
    return radiance, plane


def _add_hand(radiance: Floats, plane: Plane, rim: float, grip: tuple[float, ...], light: Light) -> None:
    """Fingers over an edge of the instrument: capsules of skin in the room's light."""
    height, width = radiance.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    side = -rim if grip[0] < 0.5 else 1 + rim
    outward = -1 if grip[0] < 0.5 else 1
    thick = max(3, int(plane.pose.width / plane.face_mm * 17)) if plane.face_mm < 200 else 0
    if not thick:
        return
    for finger in range(1 + int(grip[1] * 4)):
        down = 0.15 + 0.6 * grip[2] + finger * 0.11
        inside = 0.02 + 0.09 * grip[3 + finger]
        ends = np.array([[[side - outward * inside, down], [side + outward * 0.3, down + 0.1 * (grip[8] - 0.3)]]])
        ends *= np.array(plane.picture)
        drawn = cv2.perspectiveTransform(ends.astype(np.float64), plane.homography)[0]
        drawn = np.clip(drawn, -4000, 4000).astype(int)
        cv2.line(alpha, drawn[0].tolist(), drawn[1].tolist(), 1.0, min(thick, 120), cv2.LINE_AA)
    if not alpha.any():
        return
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.0)
    rounded = cv2.GaussianBlur(alpha, (0, 0), max(1.0, thick / 4))
    skin = np.array([0.18, 0.26, 0.45], np.float32) * np.float32(0.4 + 0.9 * grip[9])
    radiance += alpha[..., None] * ((0.35 + 0.75 * rounded[..., None]) * skin * light.white() - radiance)


def _landmarks(portrait: Portrait) -> np.ndarray:
    """Five points and four corners of the box, float64 [9, 2], photo pixels."""
    x1, y1, x2, y2 = portrait.box
    return np.vstack([portrait.points, [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]]).astype(np.float64)


def _taken(
    radiance: Floats, landmarks: np.ndarray, shot: Shot, rng: np.random.Generator, kind: str, instrument: str
) -> Capture:
    """Press the shutter. landmarks: `_landmarks` in sensor pixels."""
    frame, jpeg = capture(radiance, shot, rng)
    points = landmarks * (shot.output[0] / shot.sensor[0], shot.output[1] / shot.sensor[1])
    # A turned box is taken at its edges' middles, as an upright detector box would lie.
    middles = (points[5:] + np.roll(points[5:], -1, axis=0)) / 2
    box = np.array([middles[3][0], middles[0][1], middles[1][0], middles[2][1]])
    return Capture(frame, jpeg, box.astype(np.float32), points[:5].astype(np.float32), kind, instrument)
