"""Any other data set: a CSV that names videos and pictures, or folders of live and attack files.

CSV: `path,label,domain,subject,split` with optional `attack_type`, `video` and tags, paths relative to it. Folders:
`[train|dev|test/](live|spoof)/...`; below live a sub-folder is a person, below spoof the first one is an attack type and
the second a person. Without a folder spoof, all folders beside live are attack types. Without split folders all is test.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from dtda.core.data.manifest import SPLITS, read_manifest
from dtda.core.data.media import SUFFIXES
from dtda.core.data.readers.clip import Clip, Reading, below, files, spelt
from dtda.core.errors import DtdaError
from dtda.core.types import Label

LIVE = ("live", "real", "genuine", "bonafide", "bona_fide", "client")
SPOOF = ("spoof", "attack", "attacks", "fake", "imposter")
SPLIT_NAMES = {"train": "train", "dev": "dev", "devel": "dev", "development": "dev", "val": "dev", "test": "test"}


def read(root: Path, domain: str) -> Reading:
    """Clips of a CSV or a folder. domain: of a folder. Raises DtdaError when there is nothing to read."""
    table = root / "manifest.csv" if root.is_dir() else root
    if table.is_file():
        return Reading(tuple(_listed(table)))
    if not root.is_dir():
        raise DtdaError(f"{root}: no such folder or CSV.")
    clips = [clip for split, folder in _parts(root) for clip in _found(root, folder, split, domain)]
    if not clips:
        raise DtdaError(
            f"{root}: has neither a manifest.csv nor folders live and spoof (or {', '.join(LIVE[1:] + SPOOF[1:])}) "
            "with videos or pictures."
        )
    return Reading(tuple(clips))


def labelled(root: Path) -> bool:
    """Whether `read` finds labels there."""
    if not root.is_dir() or (root / "manifest.csv").is_file():
        return True
    return any(
        path.is_dir() and path.name.lower() in LIVE + SPOOF for _, part in _parts(root) for path in part.iterdir()
    )


def _listed(table: Path) -> Iterator[Clip]:
    for record in read_manifest(table):
        yield Clip(
            path=record.path,
            label=record.label,
            attack_type=record.attack_type,
            domain=record.domain,
            subject=record.subject,
            split=record.split,
            video=_name(record.path, table.parent),
            tags=record.tags,
            part_of="" if record.video == str(record.path) else record.video,
            points=record.points,
        )


def _name(path: Path, root: Path) -> str:
    """Path below the root; for a file elsewhere its name in a folder that stands for where that is."""
    inner = os.path.relpath(path, root)
    folder, name = os.path.split(inner)
    if os.pardir in Path(inner).parts:
        inner = f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}/{name}"
    return spelt(Path(inner).as_posix())


def _parts(root: Path) -> Iterator[tuple[str, Path]]:
    parts = [(SPLIT_NAMES[path.name.lower()], path) for path in sorted(root.iterdir())
             if path.is_dir() and path.name.lower() in SPLIT_NAMES]  # fmt: skip
    yield from parts or [(SPLITS[-1], root)]


def _found(root: Path, folder: Path, split: str, domain: str) -> Iterator[Clip]:
    parts = {path: path.name.lower() for path in sorted(folder.iterdir()) if path.is_dir()}
    words = set(parts.values())
    bare = bool(words & set(LIVE)) and not words & set(SPOOF)  # attack types lie beside live
    for part, word in parts.items():
        if word not in LIVE + SPOOF and (not bare or part.name.startswith((".", "__"))):
            continue
        label = Label.LIVE if word in LIVE else Label.SPOOF
        for path in files(part, SUFFIXES):
            inner = [spelt(name) for name in path.relative_to(part).parts[:-1]]
            if word not in LIVE + SPOOF:
                inner = [spelt(part.name), *inner]
            kind = "" if label is Label.LIVE else inner[0] if inner else "attack"
            people = inner if label is Label.LIVE else inner[1:]
            subject = people[0] if people else below(path, root)
            yield Clip(path, label, kind, domain, f"{domain}/{subject}", split, below(path, root))
