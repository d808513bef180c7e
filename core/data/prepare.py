"""`dtda prepare`: faces of a data set, found once with the live detector and cut out of their frames.

Below `out` each set has a folder: cut-outs `<clip>.<frame>.png`, lossless and at the resolution of the recording;
`manifest.csv` and `skipped.csv`; and `.journal`, a line for every finished clip, from which a killed run goes on.
`out/manifest.csv` joins the manifests of all sets.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dtda.core.data.crew import mapped
from dtda.core.data.cutout import MARGIN, cut_out
from dtda.core.data.manifest import Record, read_manifest, write_manifest
from dtda.core.data.media import need_library, read_frames
from dtda.core.data.readers.clip import Clip, Reading
from dtda.core.errors import DtdaError
from dtda.core.sidecar import naming, write_atomic
from dtda.core.simulate.portrait import Detect
from dtda.core.types import Face, Floats, Image, Label

FORMAT = 1
SKIPPED = ("clip", "label", "attack_type", "split", "frames", "reason")


@dataclass(frozen=True, slots=True)
class Plan:
    """frames: looked at in each clip. detector: its name; make_detector gives it in every process, cached by the maker."""

    frames: int
    detector: str
    make_detector: Callable[[], Detect]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one clip gave. stamp: size and time of its file. pictures: (frame index, ten point coordinates in the cut-out).
    faceless: frames looked at in vain. turned: degrees clockwise that set the clip upright. reason: why nothing came."""

    clip: str
    stamp: tuple[int, int]
    pictures: tuple[tuple[int, tuple[float, ...]], ...] = ()
    faceless: int = 0
    turned: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """pictures, live, attack: pictures and clips of one set that are ready. skipped: sentences, one a clip. notes: more."""

    pictures: int
    live: int
    attack: int
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(
    readings: Mapping[str, Reading],
    out: Path,
    plan: Plan,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Report]:
    """Prepare sets by name. workers: processes, 0 works in this one. progress: called with the number of clips done.

    Sets prepared earlier stay. Raises DtdaError when `out` holds something else, or pictures of other options, and
    when a library for its files is not installed.
    """
    # What is missing on this machine is no fault of a clip: it must not stand in the journal.
    need_library(clip.path for reading in readings.values() for clip in reading.clips)
    _claim(out, plan)
    reports = {
        name: _prepare(reading, out / folder_of(name), plan, workers, progress) for name, reading in readings.items()
    }
    manifests = sorted(out.glob("*/manifest.csv"))
    write_manifest(out / "manifest.csv", [record for path in manifests for record in read_manifest(path)])
    return reports


def folder_of(name: str) -> str:
    """Folder of a set below `out`: its name without `generic:`."""
    return name.rpartition(":")[2]


def _claim(out: Path, plan: Plan) -> None:
    stamp = out / "prepare.json"
    options = {"format": FORMAT, "frames": plan.frames, "detector": plan.detector, "margin": MARGIN}
    if stamp.is_file():
        try:
            there = dict(json.loads(stamp.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise DtdaError(f"{stamp}: is damaged; name another folder.") from error
        if there.get("format") != FORMAT or there.get("margin") != MARGIN:
            raise DtdaError(f"{out}: was prepared by another version of this program; name another folder.")
        if there != options:
            raise DtdaError(
                f"{out}: holds pictures made with --frames {there.get('frames')} and {there.get('detector')}, not "
                f"--frames {plan.frames} and {plan.detector}; use the same options or name another folder."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DtdaError(f"{out}: is not empty and holds no prepared data; name an empty folder.")
    write_atomic(stamp, (json.dumps(options) + "\n").encode())


def _prepare(
    reading: Reading, folder: Path, plan: Plan, workers: int, progress: Callable[[int], None] | None
) -> Report:
    journal = folder / ".journal"
    done = _finished(journal, folder, reading.clips)
    if progress and done:
        progress(len(done))
    left = [clip for clip in reading.clips if clip.video not in done]
    with naming(journal), journal.open("a", encoding="utf-8") as file:
        for taken in mapped(partial(_take, folder=folder, plan=plan), left, workers):
            done[taken.clip] = taken
            file.write(json.dumps([getattr(taken, name) for name in Taken.__slots__]) + "\n")
            file.flush()
            if progress:
                progress(1)
    return _conclude(reading, folder, done)


def _finished(journal: Path, folder: Path, clips: Sequence[Clip]) -> dict[str, Taken]:
    """Clips of the journal whose file is still the same and whose pictures are all there.

    A line cut short by a kill is removed, so that the next one does not grow onto it.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    if not journal.is_file():
        return {}
    text = journal.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        write_atomic(journal, whole)
    noted: dict[str, Taken] = {}
    for line in whole.decode("utf-8").splitlines():
        try:
            clip, stamp, pictures, *rest = json.loads(line)
        except ValueError as error:
            raise DtdaError(f"{journal}: is damaged; remove {folder} and prepare the set again.") from error
        noted[clip] = Taken(clip, tuple(stamp), tuple((index, tuple(points)) for index, points in pictures), *rest)
    return {
        clip.video: noted[clip.video]
        for clip in clips
        if clip.video in noted
        and noted[clip.video].stamp == _stamp(clip.path)
        and all((folder / picture_name(clip, index)).is_file() for index, _ in noted[clip.video].pictures)
    }


def picture_name(clip: Clip, index: int) -> str:
    """Where a frame's cut-out lies below the folder of its set."""
    return f"{clip.video}.{index:05}.png"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _take(clip: Clip, folder: Path, plan: Plan) -> Taken:
    """Find and cut the faces of one clip."""
    stamp = _stamp(clip.path)
    try:
        frames = list(read_frames(clip.path, plan.frames))
    except DtdaError as error:
        return Taken(clip.video, stamp, reason=str(error))
    turned, faces = _upright(frames, clip, plan.make_detector())
    pictures = []
    for (index, bgr), face in zip(frames, faces, strict=True):
        if face is None:
            continue
        try:
            picture, points = cut_out(_turn(bgr, turned), face.points)
        except ValueError:  # coinciding points: no face after all
            continue
        encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
        write_atomic(folder / picture_name(clip, index), encoded.tobytes())
        pictures.append((index, tuple(round(float(value), 2) for value in points.ravel())))
    reason = "" if pictures else f"{clip.path}: no face found in {len(frames)} frames."
    return Taken(clip.video, stamp, tuple(pictures), len(frames) - len(pictures), turned, reason)


def _upright(frames: Sequence[tuple[int, Image]], clip: Clip, detect: Detect) -> tuple[int, list[Face | None]]:
    """Degrees clockwise that set a clip upright, and the face of each frame turned so.

    Clips are taken as stored unless most frames show no upright face; then the turn with the highest scores wins.
    """
    asis = [main_face(detect(bgr), clip, index, bgr) for index, bgr in frames]
    if 2 * sum(face is not None for face in asis) >= len(frames):
        return 0, asis
    found = {0: asis}
    for turned in (90, 180, 270):
        found[turned] = [main_face(detect(_turn(bgr, turned)), None, index, bgr) for index, bgr in frames]
    best = max(found, key=lambda turned: sum(face.score for face in found[turned] if face))
    return best, found[best]


def main_face(faces: Sequence[Face], clip: Clip | None, index: int, bgr: Image) -> Face | None:
    """The largest face that stands upright, or the one the data set has annotated."""
    standing = [face for face in faces if _stands(face.points)]
    if not standing:
        return None
    box = clip.locate(clip.path, index, (bgr.shape[0], bgr.shape[1])) if clip and clip.locate else None
    if box is not None and len(standing) > 1:
        return max(standing, key=lambda face: _overlap(face.box, box))
    return max(standing, key=lambda face: face.width * face.height)


def _stands(points: Floats) -> bool:
    """Whether the mouth is below the eyes, within 45 degrees."""
    across, down = points[3:].mean(0) - points[:2].mean(0)
    return bool(down >= abs(across) and down > 0)


def _overlap(one: Floats, other: Floats) -> float:
    """Intersection over union of two boxes, float [4] xyxy."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return float(width * height) / (sum(areas) - float(width * height))


def _turn(bgr: Image, degrees: int) -> Image:
    return np.ascontiguousarray(np.rot90(bgr, -degrees // 90)) if degrees else bgr


def _conclude(reading: Reading, folder: Path, done: Mapping[str, Taken]) -> Report:
    """Write the set's manifest and the list of what is not in it."""
    records: list[Record] = []
    rows: list[list[Any]] = []
    skipped, turned = [], []
    counts = {Label.LIVE: 0, Label.SPOOF: 0}
    for clip in reading.clips:
        taken = done[clip.video]
        records += [_record(clip, folder, index, points) for index, points in taken.pictures]
        reason = taken.reason or (f"no face found in {taken.faceless} frames" if taken.faceless else "")
        if reason:
            rows.append([clip.video, clip.label.value, clip.attack_type, clip.split, taken.faceless, reason])
        if taken.reason:
            skipped.append(taken.reason)
        else:
            counts[clip.label] += 1
        if taken.turned:
            turned.append(clip.video)
    if not records:
        raise DtdaError(f"none of the {len(reading.clips)} clips gave a face; the first: {skipped[0]}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([SKIPPED, *rows])
    write_atomic(folder / "skipped.csv", text.getvalue().encode("utf-8", "backslashreplace"))
    write_manifest(folder / "manifest.csv", records)
    notes = list(reading.notes)
    if turned:
        notes.append(f"{len(turned)} clips lay on their side or head and were set upright, such as {turned[0]}.")
    lost = sum(taken.faceless for taken in done.values() if not taken.reason)
    if lost:
        notes.append(f"{lost} frames of usable clips show no face; skipped.csv names the clips.")
    return Report(len(records), counts[Label.LIVE], counts[Label.SPOOF], tuple(skipped), tuple(notes))


def _record(clip: Clip, folder: Path, index: int, points: tuple[float, ...]) -> Record:
    return Record(
        path=folder / picture_name(clip, index),
        label=clip.label,
        attack_type=clip.attack_type,
        domain=clip.domain,
        subject=clip.subject,
        split=clip.split,
        points=np.array(points, np.float32).reshape(5, 2),
        video=f"{folder.name}/{clip.part_of or clip.video}",
        tags={name: value for name, value in clip.tags.items() if value},
    )
