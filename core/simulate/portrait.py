"""Bona fide portraits: the photo in linear light, its facial points, and the person cut out of the background."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.types import Face, Floats, Image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
LONG_SIDE = 768
MATTE_SIDE = 192

Detect = Callable[[Image], list[Face]]


@dataclass(frozen=True)
class Portrait:
    """One bona fide photo.

    bgr: uint8 [H, W, 3] BGR, long side at most 768. matte: float32 [H, W], 1 on the person. box: float32 [4] xyxy and
    points: float32 [5, 2], photo pixels. subject: identity. name: file name without suffix. framed: what is around the
    person is a photo of a real place up to all borders.
    """

    name: str
    subject: str
    bgr: Image
    matte: Floats
    box: Floats
    points: Floats
    framed: bool = True

    @property
    def face_width(self) -> float:
        return float(self.box[2] - self.box[0])

    @property
    def landmarks(self) -> np.ndarray:
        """Five points and four corners of the box, float64 [9, 2], photo pixels."""
        x1, y1, x2, y2 = self.box
        return np.vstack([self.points, [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]]).astype(np.float64)

    @cached_property
    def layers(self) -> Layers:
        return layered(self.bgr, self.matte, self.face_width)

    @cached_property
    def whole(self) -> Layers:
        """With the background that the person was photographed before."""
        return layered(self.bgr, np.ones_like(self.matte), self.face_width)

    @cached_property
    def place(self) -> Layers:
        """The background alone, guessed where the person is: little of that shows, where a moving person uncovers it."""
        height, width = self.bgr.shape[:2]
        scale = MATTE_SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        hole = cv2.dilate((_shrunk(self.matte, size) > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8))
        if hole.all():
            return self.whole
        guessed = cv2.resize(cv2.inpaint(_shrunk(self.bgr, size), hole, 5, cv2.INPAINT_TELEA), (width, height))
        mask = cv2.GaussianBlur(cv2.resize(hole.astype(np.float32), (width, height)), (0, 0), 0.5 / scale)
        mixed = cv2.blendLinear(guessed, self.bgr, mask, 1 - mask)
        return layered(np.asarray(mixed), np.ones_like(self.matte), self.face_width)


@dataclass(frozen=True)
class Layers:
    """A person at falling sizes, each sqrt(1/2) of the one before: (colour uint8 [h, w, 3] BGR, alpha uint8 [h, w]). Below
    the photo the body goes on for three face widths."""

    levels: tuple[tuple[Image, Image], ...]

    def fit(self, scale: float) -> tuple[Image, Image, float, float]:
        """The smallest level that need not be blown up at this scale, and its size over the first one's across and down."""
        number = min(len(self.levels) - 1, max(0, int(np.floor(-2 * np.log2(max(scale, 1e-3)) + 1e-6))))
        colour, alpha = self.levels[number]
        height, width = self.levels[0][1].shape
        return colour, alpha, alpha.shape[1] / width, alpha.shape[0] / height


def layered(bgr: Image, matte: Floats, face_width: float) -> Layers:
    below = int(3 * face_width)
    colour = cv2.copyMakeBorder(bgr, 0, below, 0, 0, cv2.BORDER_REPLICATE)
    colour[bgr.shape[0] :] = _fading(bgr[-1:], below, face_width)  # clothes go on plain, where they would make stripes
    alpha = cv2.copyMakeBorder(np.rint(matte * 255).astype(np.uint8), 0, below, 0, 0, cv2.BORDER_REPLICATE)
    levels = [(colour, alpha)]
    while min(levels[-1][1].shape) > 24:
        scale = 2 ** (-len(levels) / 2)
        size = (max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale)))
        before = levels[-2] if len(levels) > 1 else levels[-1]  # twice as large: OpenCV halves fast
        levels.append((_shrunk(before[0], size), _shrunk(before[1], size)))
    return Layers(tuple(levels))


def _shrunk(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


@dataclass(frozen=True, slots=True)
class Entry:
    """A portrait not yet loaded; box and points are None where a detector has to find them."""

    path: Path
    subject: str
    box: Floats | None = None
    points: Floats | None = None


def to_linear(bgr: Image) -> Floats:
    """sRGB code values (IEC 61966-2-1) to linear light in [0, 1], float32, same shape."""
    return _TO_LINEAR[bgr]


_codes = np.arange(256) / 255.0
_TO_LINEAR = np.where(_codes <= 0.04045, _codes / 12.92, ((_codes + 0.055) / 1.055) ** 2.4).astype(np.float32)


def list_portraits(folder: Path) -> list[Entry]:
    """Portraits of a folder, sorted by path.

    With a `faces.csv` (file, identity, box_x1..box_y2 and five points) its boxes and identities are used; without, every
    picture is its own subject and the face is detected when it is loaded.
    """
    if not folder.is_dir():
        raise DtdaError(f"{folder}: no such folder; name a folder of face photos.")
    table = folder / "faces.csv"
    if table.is_file():
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                entries = sorted((_entry(folder, row) for row in csv.DictReader(file)), key=lambda entry: entry.path)
        except (KeyError, ValueError, TypeError) as error:
            raise DtdaError(
                f"{table}: a column is missing or not a number ({error}); remove the file to detect faces."
            ) from error
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        entries = [Entry(path, str(path.relative_to(folder).with_suffix(""))) for path in files]
    if not entries:
        raise DtdaError(f"{folder}: no face photos in it; put .jpg or .png portraits there.")
    return entries


def _entry(folder: Path, row: dict[str, str]) -> Entry:
    box = np.array([float(row[f"box_{name}"]) for name in ("x1", "y1", "x2", "y2")], np.float32)
    names = ("leye", "reye", "nose", "lmouth", "rmouth")
    points = np.array([[float(row[f"{name}_x"]), float(row[f"{name}_y"])] for name in names], np.float32)
    return Entry(folder / row["file"], row["identity"], box, points)


def load_portrait(entry: Entry, detect: Detect) -> Portrait:
    """Read, scale to at most 768 px, find the face if need be, cut the person out.

    Raises DtdaError when the file cannot be read or has no face.
    """
    bgr = read_picture(entry.path)
    if bgr is None:
        raise DtdaError(f"{entry.path}: not a readable picture; remove it from the folder.")
    scale = min(1.0, LONG_SIDE / max(bgr.shape[:2]))
    if scale < 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if entry.box is None or entry.points is None:
        faces = detect(bgr)
        if not faces:
            raise DtdaError(f"{entry.path}: no face found in it; remove it from the folder.")
        face = max(faces, key=lambda found: found.width)
        box, points = face.box, face.points
    else:
        box, points = entry.box * scale, entry.points * scale
    bgr, cut = _without_vignette(bgr)
    matte = person_matte(bgr, box)
    if cut is not None:
        matte = np.where(cut, matte, 0).astype(np.float32)
    matte = _with_shoulders(matte, float(box[2] - box[0]))
    if cut is None:
        bgr, matte, added = _with_headroom(bgr, matte, box)
        box, points = box + np.float32([0, added, 0, added]), points + np.float32([0, added])
    return Portrait(entry.path.stem, entry.subject, bgr, matte, box, points, framed=cut is None)


def _with_headroom(bgr: Image, matte: Floats, box: Floats) -> tuple[Image, Floats, int]:
    """Photos often end close above the hair, closer than frames of cameras do: what is behind the person goes on upwards,
    its last row fading into a smooth one. A photo that cuts the hair stays as it is. Returns also the rows added."""
    added = int(0.9 * (box[3] - box[1]) - box[1])
    if added <= 0 or matte[:3].max() > 0.1:
        return bgr, matte, 0
    above = _fading(bgr[:1], added, float(box[2] - box[0]))[::-1].astype(np.uint8)
    return np.vstack([above, bgr]), cv2.copyMakeBorder(matte, added, 0, 0, 0, cv2.BORDER_CONSTANT, value=0.0), added


def _fading(row: Image, rows: int, face_width: float) -> Floats:
    """A row of a photo, [1, W, 3], and how it becomes smooth over the next ones, float32 [rows, W, 3]."""
    sharp = row.astype(np.float32)
    plain = cv2.GaussianBlur(sharp, (0, 0), 0.12 * face_width)
    fade = np.clip(np.arange(rows) / (0.3 * face_width), 0, 1).astype(np.float32)[:, None, None]
    return np.asarray(sharp + fade * (plain - sharp))


def _with_shoulders(matte: Floats, face_width: float) -> Floats:
    """A body that the photo's side cuts off gets a round shoulder there: arms go straight down, but not shoulders up."""
    radius = int(min(0.4 * face_width, matte.shape[1] / 4))
    rounded = matte.copy()
    for side in (rounded, rounded[:, ::-1]):
        there = side[:, radius] > 0.5
        if radius < 4 or side[:, 0].max() < 0.5 or not there.any():
            continue
        inwards = (radius - np.arange(radius)) / radius
        top = there.argmax() + radius * (1 - np.sqrt(np.maximum(0, 1 - inwards**2)))
        below = np.clip(np.arange(len(side))[:, None] - top, 0, 1)
        side[:, :radius] *= below.astype(np.float32)
    return rounded


def _without_vignette(bgr: Image) -> tuple[Image, np.ndarray | None]:
    """Photos cut to a circle on a plain ground, as web pages show them: the body goes on downwards in their corners.

    Returns the picture and where a person can be, bool [H, W]; None where all of the photo is a photo.
    """
    height, width = bgr.shape[:2]
    corners = np.array([bgr[0, 0], bgr[0, -1], bgr[-1, 0], bgr[-1, -1]], int)
    if np.ptp(corners, axis=0).max() > 6:
        return bgr, None
    same = (np.abs(bgr.astype(np.int16) - corners[0]).max(2) <= 8).astype(np.uint8)
    ground = np.zeros((height + 2, width + 2), np.uint8)
    for seed in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        cv2.floodFill(same, ground, seed, 2)
    plain = same == 2
    circle = np.hypot(*np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]) > 1.03
    if not (plain[circle].mean() > 0.9 and plain[~circle].mean() < 0.2):
        return bgr, None
    plain = cv2.dilate(plain.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    rows = np.arange(height)[:, None]
    last = np.where(plain, 0, rows).max(0)  # the lowest row of the photo in each column
    below = (rows > last) & (rows > height // 2)
    filled = np.take_along_axis(bgr, np.minimum(rows, last)[..., None], axis=0)
    return np.where(below[..., None], filled, bgr), ~plain | below


def portraits(entries: list[Entry], detect: Detect, skipped: list[str]) -> Iterator[Portrait]:
    """Load one after the other; a portrait that cannot be used is named in `skipped`."""
    for entry in entries:
        try:
            yield load_portrait(entry, detect)
        except DtdaError as error:
            skipped.append(str(error))


def person_matte(bgr: Image, box: Floats) -> Floats:
    """Soft mask of the person, float32 [H, W] in [0, 1], by GrabCut seeded from the face box.

    Not a matting network: hair edges are rough, alike for bona fide and attack, which both use it.
    """
    height, width = bgr.shape[:2]
    scale = MATTE_SIDE / max(height, width)
    small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    h, w = small.shape[:2]
    x1, y1, x2, y2 = box * scale
    cx, fw, fh = (x1 + x2) / 2, x2 - x1, y2 - y1
    mask = np.full((h, w), cv2.GC_PR_BGD, np.uint8)
    mask[: max(1, int(y1 - 0.55 * fh))] = cv2.GC_BGD
    mask[: int(y2), : max(1, int(cx - 1.5 * fw))] = cv2.GC_BGD
    mask[: int(y2), min(w - 1, int(cx + 1.5 * fw)) :] = cv2.GC_BGD
    head = (int(cx), int(y1 + 0.40 * fh))
    cv2.ellipse(mask, head, (max(1, int(0.72 * fw)), max(1, int(0.85 * fh))), 0, 0, 360, cv2.GC_PR_FGD, -1)
    shoulders = [[cx - 0.4 * fw, y2], [cx + 0.4 * fw, y2], [cx + 1.4 * fw, h + fh], [cx - 1.4 * fw, h + fh]]
    cv2.fillPoly(mask, [np.array(shoulders, np.int32)], cv2.GC_PR_FGD)
    face = (int(cx), int((y1 + y2) / 2))
    cv2.ellipse(mask, face, (max(1, int(0.45 * fw)), max(1, int(0.5 * fh))), 0, 0, 360, cv2.GC_FGD, -1)
    neck = [[cx - 0.2 * fw, y2 - 2], [cx + 0.2 * fw, y2 - 2], [cx + 0.5 * fw, h + 2], [cx - 0.5 * fw, h + 2]]
    cv2.fillPoly(mask, [np.array(neck, np.int32)], cv2.GC_FGD)
    # White shirts before white walls: shoulders are there even where no edge shows them. Those of adults are 0.36 m and
    # wider (biacromial breadth), 2.6 faces.
    slope = [(0.3, y2 + 0.12 * fh), (0.7, y2 + 0.42 * fh), (1.1, y2 + 0.7 * fh), (1.25, h + fh)]
    chest = [[cx + part * fw, y] for part, y in slope] + [[cx - part * fw, y] for part, y in reversed(slope)]
    cv2.fillPoly(mask, [np.array(chest, np.int32)], cv2.GC_FGD)
    cv2.setRNGSeed(0)  # GrabCut's k-means start is random; the matte must not depend on the order of calls
    cv2.grabCut(small, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    count, labels, _, _ = cv2.connectedComponentsWithStats(person)
    if count > 2:  # keep the piece with the face only
        person = (labels == labels[min(h - 1, max(0, face[1])), min(w - 1, max(0, face[0]))]).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    soft = cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1.0)
    full = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip((full - 0.35) / 0.5, 0, 1).astype(np.float32)  # a little inside, so that no old background rims it
