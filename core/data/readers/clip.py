"""What a data set holds before preparation: clips with their labels, and what all readers share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Label

# Our names of attack types, coarse enough to mean the same in every set; a set's own finer name is the tag `instrument`.
ATTACK_TYPES = ("print", "cut", "display", "mask", "disguise")

Locate = Callable[[Path, int, tuple[int, int]], Floats | None]
# ("train", "live") -> number of clips; "" stands for all splits or both labels.
Totals = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, a picture or an HDF5 file of frames, with what its data set says of it.

    attack_type: one of ATTACK_TYPES, or what a generic set calls it; empty for live. subject: unique over all sets.
    video: its name in the set, a relative path without `..`, which its pictures are named after. part_of: the clip it is a
    frame of, where the set has single frames. tags: what protocols may select by. locate: box of the annotated face
    of a frame, (path, frame index, (height, width)) -> float32 [4] xyxy frame pixels or None; it decides where a frame
    holds several faces. points: float32 [5, 2] pixels of the face in a picture, where a manifest has them.
    """

    path: Path
    label: Label
    attack_type: str
    domain: str
    subject: str
    split: str
    video: str
    tags: Mapping[str, str] = field(default_factory=dict)
    locate: Locate | None = None
    part_of: str = ""
    points: Floats | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """clips: in a stable order. notes: sentences on what is missing or strange. totals: what a whole copy holds."""

    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    totals: Totals = field(default_factory=dict)


def need_folder(title: str, root: Path, *names: str) -> Path:
    """The first of the sub-folders that exists. Raises DtdaError naming the part that is missing."""
    _need_root(title, root)
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise DtdaError(
            f"{title}: its part {names[0]} is missing in {root} (looked for {', '.join(names)}); "
            "name the folder that holds it, or unpack that part there."
        )
    return found


def need_file(title: str, root: Path, name: str) -> Path:
    """A file below the root. Raises DtdaError when it is missing."""
    _need_root(title, root)
    if not (root / name).is_file():
        raise DtdaError(f"{title}: the list {name} is missing in {root}; copy it there from the data set.")
    return root / name


def _need_root(title: str, root: Path) -> None:
    if not root.is_dir():
        raise DtdaError(f"{root}: no such folder; name the folder of {title}.")


def files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Files below a folder with one of these suffixes, sorted, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield path


def named(paths: Iterator[Path], pattern: str, title: str, notes: list[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    """Files whose stem matches the whole pattern; a note says how many others were left out."""
    strange = []
    for path in paths:
        match = re.fullmatch(pattern, path.stem)
        if match:
            yield path, match
        else:
            strange.append(path)
    if strange:
        notes.append(f"{title}: left out {len(strange)} files not named as its videos are, such as {strange[0].name}.")


def below(path: Path, root: Path) -> str:
    return spelt(path.relative_to(root).as_posix())


def spelt(name: str) -> str:
    """A file name as text for manifests: bytes that are not UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def shortfalls(title: str, reading: Reading) -> list[str]:
    """A sentence for every total of a whole copy that these clips do not reach or exceed."""
    counts: Counter[tuple[str, str]] = Counter()
    for clip in reading.clips:
        for split in (clip.split, ""):
            for label in (clip.label.value, ""):
                counts[split, label] += 1
    return [
        f"{title}: {counts[key]} {' '.join(word for word in (key[1], key[0]) if word)} clips of {wanted} expected."
        for key, wanted in reading.totals.items()
        if counts[key] != wanted
    ]
