"""Data sets as a CSV: one row per picture, with label, attack type, domain, subject and split."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.sidecar import write_atomic
from dtda.core.types import Floats, Label

REQUIRED = ("path", "label", "domain", "subject", "split")
POINTS = [f"{name}_{axis}" for name in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy"]
SPLITS = ("train", "dev", "test")
BOX = ("x1", "y1", "x2", "y2")  # the simulator's face boxes; nothing selects by them
COLUMNS = ("path", "label", "attack_type", "domain", "subject", "split", "video")


@dataclass(frozen=True, slots=True)
class Record:
    """One picture. label: LIVE or SPOOF. attack_type: empty for live. points: float32 [5, 2] pixels, None if unknown.

    video: the clip it is a frame of, one name per clip of the data set; the picture's own path where none is named, so
    that pictures of two sets with the same layout stay apart. tags: all further columns, for protocols to
    select by (phone, session, instrument).
    """

    path: Path
    label: Label
    attack_type: str
    domain: str
    subject: str
    split: str
    points: Floats | None = None
    video: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def read_manifest(path: Path) -> list[Record]:
    """Records of a CSV with at least path, label (live or spoof), domain, subject and split (train, dev, test).

    Paths are relative to the CSV. Raises DtdaError naming the first wrong line.
    """
    if not path.is_file():
        raise DtdaError(f"{path}: no such manifest; make one with `dtda simulate` or `dtda prepare`.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise DtdaError(f"{path}: column {missing[0]} is missing; needed are {', '.join(REQUIRED)}.")
            has_points = all(name in (reader.fieldnames or ()) for name in POINTS)
            records = [_record(path, line, row, has_points) for line, row in enumerate(reader, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DtdaError(f"{path}: not a CSV in UTF-8 ({error}); save it as one.") from error
    if not records:
        raise DtdaError(f"{path}: holds no pictures.")
    return records


def _record(manifest: Path, line: int, row: dict[str, str], has_points: bool) -> Record:
    if None in row or None in row.values():
        raise DtdaError(f"{manifest}, line {line}: has more or fewer fields than the header.")
    if row["label"] not in ("live", "spoof"):
        raise DtdaError(f"{manifest}, line {line}: label is {row['label']!r}; it must be live or spoof.")
    if row["split"] not in SPLITS:
        raise DtdaError(f"{manifest}, line {line}: split is {row['split']!r}; it must be one of {', '.join(SPLITS)}.")
    points = None
    if has_points and row[POINTS[0]]:
        try:
            points = np.array([float(row[name]) for name in POINTS], np.float32).reshape(5, 2)
        except ValueError as error:
            raise DtdaError(f"{manifest}, line {line}: facial points are not numbers ({error}).") from error
    known = {*COLUMNS, *POINTS, *BOX}
    path = manifest.parent / row["path"]
    return Record(
        path=path,
        label=Label(row["label"]),
        attack_type=row.get("attack_type") or "",
        domain=row["domain"],
        subject=row["subject"],
        split=row["split"],
        points=points,
        video=row.get("video") or str(path),
        tags={name: value for name, value in row.items() if value and name not in known},
    )


def write_manifest(path: Path, records: Sequence[Record]) -> None:
    """Write what `read_manifest` reads, whole or not at all. Paths become relative to the CSV."""
    tags = sorted({name for record in records for name in record.tags})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *POINTS, *tags])
    for r in records:
        points = [""] * len(POINTS) if r.points is None else [f"{value:.2f}" for value in r.points.ravel()]
        where = Path(os.path.relpath(r.path.absolute(), path.absolute().parent)).as_posix()
        video = "" if r.video == str(r.path) else r.video  # a path is told once, and relative
        row = [where, r.label.value, r.attack_type, r.domain, r.subject, r.split, video]
        writer.writerow([*row, *points, *(r.tags.get(name, "") for name in tags)])
    write_atomic(path, text.getvalue().encode())
