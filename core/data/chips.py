"""Chips of a data set, cut once with the live pipeline's preprocessing and kept in one memory-mapped array.

Each picture is cut a few times with its facial points moved a little, as a detector's points move: the network then sees
the sharpness a single resampling gives, which a second crop from a stored chip would spoil. Which pictures train is the
protocol's business, so all of them are cut so; evaluation takes the first crop, which is unmoved.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dtda.core.data.manifest import Record
from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, crop, crop_matrix
from dtda.core.sidecar import write_atomic
from dtda.core.simulate.cues import measure
from dtda.core.simulate.portrait import Detect
from dtda.core.types import Floats, Image

VERSION = 4  # raise when preprocessing or cues change, so that cached chips are cut anew
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERVAL = 500  # pictures between two notes of progress: a killed run loses at most these


@dataclass(frozen=True)
class Chips:
    """records: those that gave a chip, in order. cues: float32 [N, 12], six of the whole chip and six of its inner part.
    skipped: sentences. place: the folder of the cache."""

    records: tuple[Record, ...]
    cues: Floats
    skipped: tuple[str, ...]
    place: Path

    @cached_property
    def images(self) -> Image:
        """uint8 [N, J, S, S, 3] RGB, memory-mapped, J crops of each picture, the first one unmoved."""
        return np.load(self.place / "images.npy", mmap_mode="r")[: len(self.records)]

    @cached_property
    def points(self) -> Floats:
        """float32 [N, J, 5, 2] facial points in chip pixels, as given or detected: the crops moved, the face did not."""
        return np.load(self.place / "points.npy", mmap_mode="r")[: len(self.records)]

    def __getstate__(self) -> dict[str, object]:
        # Loader processes map the files themselves; pickling a map would copy all of it.
        return {name: value for name, value in self.__dict__.items() if name not in ("images", "points")}


def cut_chips(
    records: Sequence[Record],
    rule: CropRule,
    crops: int,
    folder: Path,
    detect: Detect | None = None,
    progress: Callable[[int], None] | None = None,
) -> Chips:
    """Read the cache of these records and this rule below `folder`, or make it.

    crops: J of `Chips`. detect: finds faces where a record has no points. Raises DtdaError when no picture could be used
    and when the disk is too small.
    """
    key = hashlib.sha256(json.dumps([_line(record) for record in records]).encode())
    key.update(f"{rule.size} {rule.margin} {rule.kind} {crops} {VERSION}".encode())
    place = folder / key.hexdigest()[:16]
    if not (place / "done.json").is_file():
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{place.name}.lock"):  # a second run waits for the first and uses what it made
            if not (place / "done.json").is_file():
                _cut(records, rule, crops, place, detect, progress)
    done = json.loads((place / "done.json").read_text("utf-8"))
    kept = tuple(records[index] for index in done["kept"])
    return Chips(kept, np.load(place / "cues.npy")[: len(kept)], tuple(done["skipped"]), place)


def _line(record: Record) -> list[object]:
    stat = record.path.stat() if record.path.is_file() else None
    points = None if record.points is None else record.points.ravel().tolist()
    return [str(record.path.absolute()), stat and [stat.st_size, stat.st_mtime_ns], points]


def _cut(
    records: Sequence[Record],
    rule: CropRule,
    crops: int,
    place: Path,
    detect: Detect | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Fill the arrays of a cache, from where a killed run left them."""
    arrays = _arrays(place, len(records), crops, rule.size)
    state: dict[str, list[Any]] = {"kept": [], "skipped": []}
    if (place / "progress.json").is_file():
        state = json.loads((place / "progress.json").read_text("utf-8"))
    kept, skipped = state["kept"], state["skipped"]
    first = len(kept) + len(skipped)
    if progress and first:
        progress(first)

    def one(index: int) -> tuple[Image, Floats, list[float]] | str:
        return _crops(records[index], rule, crops, detect)

    def note(name: str) -> None:
        for array in arrays.values():
            array.flush()
        write_atomic(place / name, json.dumps(state).encode())

    with ThreadPoolExecutor(2 if detect is None else 1) as pool:
        for start in range(first, len(records), INTERVAL):  # no more at once: threads are faster than a disk
            part = range(start, min(start + INTERVAL, len(records)))
            for index, found in zip(part, pool.map(one, part), strict=True):
                if isinstance(found, str):
                    skipped.append(found)
                else:
                    row = len(kept)
                    arrays["images"][row], arrays["points"][row], arrays["cues"][row] = found
                    kept.append(index)
                if progress:
                    progress(1)
            note("progress.json")
    if not kept:
        shutil.rmtree(place)
        raise DtdaError(f"none of the {len(records)} pictures could be used; the first: {skipped[0]}")
    note("done.json")


def _arrays(place: Path, count: int, crops: int, size: int) -> dict[str, np.memmap]:
    shapes = {
        "images": (np.uint8, (count, crops, size, size, 3)),
        "points": (np.float32, (count, crops, 5, 2)),
        "cues": (np.float32, (count, 12)),
    }
    fresh = not (place / "progress.json").is_file()
    place.mkdir(parents=True, exist_ok=True)
    mode: Literal["w+", "r+"] = "w+" if fresh else "r+"
    arrays = {}
    try:
        for name, (dtype, shape) in shapes.items():
            path = place / f"{name}.npy"
            arrays[name] = np.lib.format.open_memmap(path, mode, dtype, None if mode == "r+" else shape)
            _reserve(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        if fresh:
            shutil.rmtree(place)
        needed = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in shapes.values())
        raise DtdaError(
            f"{place}: the chips need {_size(needed)} and {_size(shutil.disk_usage(place.parent).free)} are free there; "
            "free some space, or put them on another disk with data.cache."
        ) from error
    return arrays


def _reserve(path: Path) -> None:
    """Give a file its blocks: a process that writes a hole of a mapped file on a full disk is killed without a word."""
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as error:
        # Not all systems can, nor all file systems: there the free space is at least looked at.
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        if size - 512 * getattr(path.stat(), "st_blocks", 0) > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _crops(
    record: Record, rule: CropRule, crops: int, detect: Detect | None
) -> tuple[Image, Floats, list[float]] | str:
    """uint8 [crops, S, S, 3] RGB, float32 [crops, 5, 2] and the twelve cues, or the sentence on why there are none."""
    bgr = read_picture(record.path)
    if bgr is None:
        return f"{record.path}: not a readable picture."
    points = record.points
    if points is None:
        faces = detect(bgr) if detect else []
        if not faces:
            return f"{record.path}: no face found."
        points = max(faces, key=lambda face: face.width).points
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(record.path.name.encode()).digest()[:8], "big"))
    moved = points.astype(np.float32)
    upright = np.column_stack([points, np.ones(5)])
    cut, placed = [], []
    for number in range(crops):
        if number:
            moved = jittered(points, rng)
        try:
            cut.append(crop(bgr, moved, rule))
            placed.append(upright @ crop_matrix(moved, bgr.shape[:2], rule).T)
        except ValueError as error:
            return f"{record.path}: {error}."
    part = 0.45 / rule.margin  # of the side, from its middle: within the face
    inner = slice(int(rule.size * (0.5 - part)), int(rule.size * (0.5 + part)))
    whole, face = measure(cut[0]), measure(np.ascontiguousarray(cut[0][inner, inner]))
    return np.stack(cut), np.stack(placed).astype(np.float32), [*whole.values(), *face.values()]


def jittered(points: Floats, rng: np.random.Generator) -> Floats:
    """Points with a detector's errors: float32 [5, 2]. Scale +-12 %, shift 5 % and each point 2 % of the eye distance."""
    eyes = float(np.linalg.norm(points[1] - points[0]))
    centre = points.mean(0)
    angle, scale = rng.normal(0, np.radians(3)), np.exp(rng.uniform(-0.12, 0.12))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (points - centre) @ turn.T + centre + rng.normal(0, 0.05 * eyes, 2) + rng.normal(0, 0.02 * eyes, (5, 2))
    return moved.astype(np.float32)
