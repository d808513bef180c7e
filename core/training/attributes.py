"""Attribute-labelled faces for a generative teacher: read, aligned as CelebA is, kept in memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dtda.core.errors import DtdaError
from dtda.core.models.frames import celeba_frame, cut, similarity
from dtda.core.pictures import read_picture
from dtda.core.simulate.dataset import split_of
from dtda.core.simulate.portrait import Detect, Entry, list_portraits
from dtda.core.types import Floats

VALUES = {"": np.nan, "0": 0.0, "1": 1.0, "-1": 0.0}  # -1: CelebA's own files


@dataclass(frozen=True)
class AttributeFaces:
    """names: of the C attributes. images: uint8 [N, 3, S, S] RGB. labels: float32 [N, C], 1, 0, or NaN where unknown.
    train, held_out: numbers of pictures, no identity in both. skipped: sentences."""

    names: tuple[str, ...]
    images: Tensor
    labels: Tensor
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    skipped: tuple[str, ...]


def read_faces(
    folder: Path,
    table: Path | None,
    size: int,
    held_out: float,
    make_detector: Callable[[], Detect],
    progress: Callable[[int], None] = lambda _: None,
) -> AttributeFaces:
    """Faces of a folder with their attributes.

    table: CSV with a column `file`, relative to the folder, and a column of 0, 1 or nothing (unknown) per attribute;
    None: such columns of the folder's `faces.csv`, or else one attribute per sub-folder. Facial points and identities are
    those of `faces.csv`; without it faces are detected and each picture is its own identity. held_out: share of
    identities kept from training. Raises DtdaError when there is nothing to learn from.
    """
    entries = list_portraits(folder)
    names, labels = _labels(folder, table, entries)
    entries = [entry for entry in entries if _key(folder, entry) in labels]
    if not entries:
        raise DtdaError(f"{table or folder}: none of its files is a portrait in {folder}; name files relative to it.")
    detect = make_detector() if any(entry.points is None for entry in entries) else None
    images, kept, skipped = [], [], []
    with ThreadPoolExecutor(2 if detect is None else 1) as pool:
        for entry, found in zip(entries, pool.map(lambda one: _aligned(one, size, detect), entries), strict=True):
            if isinstance(found, str):
                skipped.append(found)
            else:
                images.append(found)
                kept.append(entry)
            progress(1)
    if not kept:
        raise DtdaError(f"none of the {len(entries)} pictures of {folder} could be used; the first: {skipped[0]}")
    values = np.stack([labels[_key(folder, entry)] for entry in kept])
    parts = [split_of(entry.subject, (1 - held_out, held_out)) for entry in kept]
    train = tuple(number for number, part in enumerate(parts) if part == "train")
    rest = tuple(number for number, part in enumerate(parts) if part != "train")
    for column, name in enumerate(names):
        seen = {float(value) for value in values[list(train), column]} & {0.0, 1.0}
        if len(seen) < 2:
            raise DtdaError(f"attribute {name}: training needs faces with it and faces without; drop it or add faces.")
    return AttributeFaces(names, torch.stack(images), torch.from_numpy(values), train, rest, tuple(skipped))


def _key(folder: Path, entry: Entry) -> str:
    return entry.path.relative_to(folder).as_posix()


def _labels(folder: Path, table: Path | None, entries: Sequence[Entry]) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """Names of the attributes, and float32 [C] by file."""
    source = table or folder / "faces.csv"
    if source.is_file():
        names, labels = _read_table(source)
        if names:
            return names, labels
    if table is not None:
        raise DtdaError(f"{table}: {'has no column of 0 and 1' if table.is_file() else 'no such file'}; needed are a "
                        "column file and one of 0, 1 or nothing per attribute.")  # fmt: skip
    parts = {_key(folder, entry): _key(folder, entry).split("/") for entry in entries}
    names = tuple(sorted({part[0] for part in parts.values() if len(part) > 1}))
    if len(names) < 2:
        raise DtdaError(f"{folder}: no attributes; name a CSV with --attributes, or sort the faces into sub-folders.")
    return names, {
        key: np.array([part[0] == name for name in names], np.float32) for key, part in parts.items() if len(part) > 1
    }


def _read_table(path: Path) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """All columns of which every field is 0, 1, -1 or empty, and not all are empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DtdaError(f"{path}: not a CSV in UTF-8 ({error}); save it as one.") from error
    if not rows or "file" not in rows[0]:
        raise DtdaError(f"{path}: column file is missing, or it has no lines; name the pictures there.")
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DtdaError(f"{path}, line {line}: has more or fewer fields than the header.")
    columns = {name: {row[name].strip() for row in rows} for name in rows[0] if name != "file"}
    names = tuple(name for name, values in columns.items() if values <= set(VALUES) and values != {""})
    return names, {row["file"]: np.array([VALUES[row[name].strip()] for name in names], np.float32) for row in rows}


def _aligned(entry: Entry, size: int, detect: Detect | None) -> Tensor | str:
    """uint8 [3, size, size] RGB, or the sentence on why there is none."""
    bgr = read_picture(entry.path)
    if bgr is None:
        return f"{entry.path}: not a readable picture."
    points = entry.points
    if points is None:
        faces = detect(bgr) if detect else []
        if not faces:
            return f"{entry.path}: no face found."
        points = max(faces, key=lambda face: face.width).points
    frame = celeba_frame(size)
    picture = torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1].transpose(2, 0, 1)))[None].float()
    where = torch.from_numpy(points)[None].float()
    scale = float(torch.linalg.vector_norm(similarity(where, frame)[0, :, 0]))  # frame pixels per picture pixel
    if not 1e-3 < scale < 1e3:
        return f"{entry.path}: its facial points coincide."
    return cut(picture, where, frame, max(1, round(1 / scale)))[0].round().clamp(0, 255).byte()
