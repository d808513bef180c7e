"""What students are compared on: a manifest, a labelled folder, a public set, or pictures that nobody labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtda.core.data.media import SUFFIXES, need_library
from dtda.core.data.readers import generic
from dtda.core.data.readers.clip import Clip, files, spelt
from dtda.core.data.readers.sets import GENERIC, SETS, read_set
from dtda.core.errors import DtdaError
from dtda.core.types import Label


@dataclass(frozen=True, slots=True)
class Data:
    """What to look at. title: in words. labelled: whether clips say what they are; else their label is CANNOT_TELL."""

    title: str
    clips: tuple[Clip, ...]
    labelled: bool
    notes: tuple[str, ...] = ()


def gather(spec: str, splits: Sequence[str] = (), limit: int | None = None, seed: int = 0) -> Data:
    """The clips of a manifest, a folder, labelled or not, a picture, or a public set (`casia-fasd=DIR`).

    splits: only these. limit: so many clips, drawn at random. Raises DtdaError.
    """
    name, _, place = spec.partition("=")
    root = Path(spec).expanduser()
    notes: tuple[str, ...] = ()
    known = True
    if place and name.partition(":")[0] in (*SETS, GENERIC) and not root.exists():
        reading = read_set(name, Path(place).expanduser())
        clips, notes = reading.clips, reading.notes
    elif not root.exists():
        raise DtdaError(f"{root}: no such folder or manifest.")
    elif root.suffix.lower() == ".csv" or (root.is_dir() and generic.labelled(root)):
        clips = generic.read(root, root.name or "data").clips
    else:
        clips, known = tuple(_unlabelled(root)), False
    if splits:
        clips = tuple(clip for clip in clips if clip.split in splits)
        if not clips:
            raise DtdaError(f"{spec}: has no clips of the split {' or '.join(splits)}.")
    total = len({_group(clip) for clip in clips})
    if limit is not None and limit < total:
        groups = list(dict.fromkeys(map(_group, clips)))
        chosen = {groups[number] for number in np.random.default_rng(seed).permutation(total)[:limit]}
        clips = tuple(clip for clip in clips if _group(clip) in chosen)
        notes = (*notes, f"{limit} of {total} clips, drawn with seed {seed}.")
    if known and len({clip.split for clip in clips}) > 1:
        counts = ", ".join(f"{count} {split}" for split, count in Counter(clip.split for clip in clips).items())
        notes = (
            *notes,
            f"Splits are mixed ({counts}): a student flatters itself on what it was trained on; see --split.",
        )
    need_library(clip.path for clip in clips)
    return Data(spec, clips, known, notes)


def _group(clip: Clip) -> tuple[str, str]:
    return clip.domain, clip.part_of or clip.video


def _unlabelled(root: Path) -> Iterator[Clip]:
    found = [root] if root.is_file() else list(files(root, SUFFIXES))
    if not found:
        raise DtdaError(f"{root}: holds no videos or pictures.")
    for path in found:
        name = spelt(path.name if root.is_file() else path.relative_to(root).as_posix())
        yield Clip(path, Label.CANNOT_TELL, "", spelt(root.name), name, "test", name)
