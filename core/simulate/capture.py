"""One shot of a bona fide face or of an attack: portrait -> (instrument ->) room -> camera -> picture and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dtda.core.simulate import codec, paper
from dtda.core.simulate.camera import FACE_M, Metering, Shot, capture, defocus, draw_shot, encode, metered, spread
from dtda.core.simulate.config import Domain, Range
from dtda.core.simulate.display import screen_radiance
from dtda.core.simulate.hands import add_hand
from dtda.core.simulate.paper import Sheet
from dtda.core.simulate.portrait import Layers, Portrait
from dtda.core.simulate.presentation import Presentation
from dtda.core.simulate.rooms import Surroundings, draw_surroundings
from dtda.core.simulate.scene import (
    Light,
    Pose,
    View,
    add_person,
    draw_light,
    draw_pose,
    over,
    scaled,
    similarity_to_frame,
    whole,
)
from dtda.core.simulate.sources import settled
from dtda.core.types import Floats, Image

QUALITY = 96  # of the JPEG that holds a frame of a video


@dataclass(frozen=True, slots=True)
class Capture:
    """A simulated picture. frame: uint8 [H, W, 3] BGR before its file's compression. box: float32 [4] xyxy and points:
    float32 [5, 2], its pixels. kind: live, print or display. instrument: its name, empty for live. jpeg: quality. qp: H.264
    quantiser, None for a JPEG picture."""

    frame: Image
    box: Floats
    points: Floats
    kind: str
    instrument: str
    jpeg: int
    qp: int | None


@dataclass(frozen=True, slots=True)
class Setting:
    """What bona fide shots and attacks share: the room, its light, the camera and the place of the face.

    photo: (x1, y1, x2, y2), frame pixels, of the person's photo, where pictures end and before whose background the
    person stands when live; None where the room is.
    """

    light: Light
    shot: Shot
    pose: Pose
    room: Surroundings
    context: float
    photo: tuple[float, float, float, float] | None = None

    @property
    def face(self) -> tuple[float, float, float]:
        width = self.shot.output[0]
        return self.pose.x / width, self.pose.y / width, self.pose.width / width

    @property
    def focal(self) -> float:
        return self.shot.focal * self.shot.output[0]


def draw_setting(
    portrait: Portrait, domain: Domain, face: Range, rng: np.random.Generator, context: float = 4.0
) -> Setting:
    """Identical draws for bona fide and attack: nothing here may tell the classes apart."""
    shot = draw_shot(domain.camera, rng)
    light = draw_light(domain.room, rng)
    # Attacks are held where the person would have stood: the height of the face must not tell the classes apart.
    pose = settled(portrait, draw_pose(portrait, shot.output, face, rng), shot.output)
    photo = None
    # Cut-outs before made-up rooms look made up, and attackers show photos as they are: if every live picture were a
    # cut-out, a natural background would give attacks away. Its own stream leaves older sets as they were.
    if portrait.framed and rng.spawn(1)[0].random() < domain.room.as_photographed:
        pose = replace(pose, roll=0.3 * pose.roll)  # a turned photo leaves little between its borders
        photo = _inside(portrait, pose)
    return Setting(light, shot, pose, draw_surroundings(domain.room, light, shot.output, rng), context, photo)


def _inside(portrait: Portrait, pose: Pose) -> tuple[float, float, float, float]:
    """The largest upright rectangle of the frame between the corners of the portrait's photo."""
    height, width = portrait.bgr.shape[:2]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = cv2.transform(corners, similarity_to_frame(portrait, pose))[0].tolist()
    return max(x1, x4), max(y1, y2), min(x2, x3), min(y3, y4)


def bona_fide(portrait: Portrait, setting: Setting, rng: np.random.Generator) -> Capture:
    """A live person in the room."""
    pose = replace(setting.pose, yaw=0.0, pitch=0.0)
    landmarks = cv2.transform(portrait.landmarks[None], similarity_to_frame(portrait, pose))[0]
    view = window(landmarks, setting)
    small = whole(setting.shot.output)
    metering = metered(live_radiance(portrait, setting, pose, small, None), setting.shot, setting.face)
    radiance = live_radiance(portrait, setting, pose, view, metering)
    distance = FACE_M * setting.focal / pose.width
    return _taken(radiance, view, landmarks, setting, metering, rng, distance, "live", "")


def attack(
    portrait: Portrait, shown: Presentation, setting: Setting, rng: np.random.Generator, phase: float = 0.0
) -> Capture:
    """A print or display held in the room."""
    plane = shown.plane(setting.pose, setting.focal)
    landmarks = plane.to_frame(shown.landmarks)
    view = window(landmarks, setting)
    metered_scene, _ = attack_radiance(portrait, shown, setting, whole(setting.shot.output), None)
    metering = metered(metered_scene, setting.shot, setting.face)
    radiance, cells = attack_radiance(portrait, shown, setting, view, metering, phase)
    kind, name = shown.instrument.kind, shown.instrument.name
    return _taken(radiance, view, landmarks, setting, metering, rng, plane.distance_m, kind, name, cells)


def files(captures: Sequence[Capture]) -> list[bytes]:
    """The JPEG file of each; frames of videos go through H.264 first, all at once."""
    videos = [number for number, taken in enumerate(captures) if taken.qp is not None]
    frames = [taken.frame for taken in captures]
    coded = codec.as_video_frames([frames[n] for n in videos], [captures[n].qp or 0 for n in videos])
    for number, frame in zip(videos, coded, strict=True):
        frames[number] = frame
    return [
        encode(frame, taken.jpeg if taken.qp is None else QUALITY)
        for frame, taken in zip(frames, captures, strict=True)
    ]


def live_radiance(
    portrait: Portrait,
    setting: Setting,
    pose: Pose,
    view: View,
    metering: Metering | None,
    layers: Layers | None = None,
) -> Floats:
    """metering: None while the camera meters, for which flicker does not matter. layers: of a turned head."""
    radiance = setting.room.seen(view)
    if setting.photo is not None and layers is None:
        layers = portrait.whole
    elif setting.photo is not None:  # the person moves, the place does not
        radiance = add_person(radiance, view, portrait, setting.pose, setting.light, portrait.place)
    radiance = add_person(radiance, view, portrait, pose, setting.light, layers)
    return _flickering(radiance, setting, view, metering)


def attack_radiance(
    portrait: Portrait, shown: Presentation, setting: Setting, view: View, metering: Metering | None, phase: float = 0.0
) -> tuple[Floats, Floats | None]:
    """Radiance, and the factor of a lattice that is finer than pixels (see `capture`), None where it does not show.
    phase: radians, moves a display's refresh bands from frame to frame.
    """
    item, light, room = shown.item, setting.light, setting.room
    plane = shown.plane(setting.pose, setting.focal)
    soft = defocus(setting.shot, plane.distance_m)
    sigma = None if metering is None else spread(setting.shot, metering, soft, setting.pose.width * view.scale)
    radiance = room.seen(view)
    if shown.behind is not None:
        right, down, size = shown.behind
        width = setting.pose.width
        back = replace(
            setting.pose, x=setting.pose.x + right * width, y=setting.pose.y + down * width, width=size * width
        )
        radiance = add_person(radiance, view, portrait, back, light)
    if isinstance(item, Sheet):
        radiance = _flickering(radiance, setting, view, metering)
        facing = replace(light, lux=light.lux * 2.0**shown.facing)
        content, cells = paper.sheet_radiance(
            shown.texture, shown.corner, item, plane, view, facing, room, setting.shot, sigma, shown.beyond
        )
        content = _flickering(content, setting, view, metering)
        mask = plane.mask(view, shown.edge, shown.holes)
        radiance = over(content, radiance, mask)
    else:
        rim = np.float32(item.bezel_tone) * light.white()
        lit = light.shading(view, (setting.pose.x, setting.pose.y), setting.pose.width, relief=0.35)
        frame = cv2.merge([lit * tone for tone in rim])
        radiance = over(frame, radiance, plane.mask(view, shown.outer))
        radiance = _flickering(radiance, setting, view, metering)
        content, cells = screen_radiance(
            shown.texture, shown.corner, item, plane, view, light, room, setting.shot, metering, sigma or 0.0, phase,
            shown.beyond,
        )  # fmt: skip
        mask = plane.mask(view, shown.edge)
        radiance = over(content, radiance, mask)
    for grip in shown.grips if shown.outer else ():
        radiance, hand = add_hand(radiance, view, plane, shown.outer, grip, light)
        if hand is not None:
            mask = mask * (1 - hand)
    if cells is not None:
        cells = scaled(cells - 1, mask) + 1
    return radiance, cells


def _flickering(radiance: Floats, setting: Setting, view: View, metering: Metering | None) -> Floats:
    if metering is None or setting.light.flicker == 0:
        return radiance
    rows = setting.light.bands(view, setting.shot, metering)
    return scaled(radiance, np.repeat(rows[:, None], view.size[0], axis=1))


def box_of(landmarks: np.ndarray) -> np.ndarray:
    """The box of landmarks [9, 2]: a turned one is taken at its edges' middles, as an upright detector box would lie."""
    middles = (landmarks[5:] + np.roll(landmarks[5:], -1, axis=0)) / 2
    return np.array([middles[3][0], middles[0][1], middles[1][0], middles[2][1]])


def window(landmarks: np.ndarray, setting: Setting) -> View:
    """The square of `context` face widths around the face as far as the frame or photo reaches, at sensor resolution."""
    width, height = setting.shot.output
    x1, y1, x2, y2 = box_of(landmarks)
    half = setting.context * max(x2 - x1, y2 - y1) / 2
    spans = []
    left, top, right, bottom = setting.photo or (0, 0, width, height)
    for middle, first, last in (
        ((x1 + x2) / 2, max(0, left), min(width, right)),
        ((y1 + y2) / 2, max(0, top), min(height, bottom)),
    ):
        low = int(np.clip(middle - half, first, last - 32)) // 2 * 2
        low += 2 * (low < first)
        spans.append((low, int(np.clip(middle + half, low + 32, last)) // 2 * 2))
    scale = setting.shot.sensor[0] / width
    size = (round((spans[0][1] - spans[0][0]) * scale), round((spans[1][1] - spans[1][0]) * scale))
    return View(spans[0][0], spans[1][0], size, scale)


def _taken(
    radiance: Floats, view: View, landmarks: np.ndarray, setting: Setting, metering: Metering,
    rng: np.random.Generator, distance: float, kind: str, instrument: str, cells: Floats | None = None,
) -> Capture:  # fmt: skip
    """Press the shutter. landmarks: in frame pixels."""
    shot = setting.shot
    size = view.output
    face = setting.pose.width * view.scale
    frame = capture(radiance, shot, rng, metering, defocus(shot, distance), face, size, cells)
    corner = np.array([view.x, view.y])
    points = landmarks[:5] - corner
    box = box_of(landmarks) - np.tile(corner, 2)
    return Capture(frame, box.astype(np.float32), points.astype(np.float32), kind, instrument, shot.jpeg, shot.qp)
