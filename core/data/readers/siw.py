"""SiW, Spoof in the Wild (Liu et al., CVPR 2018): 165 people, two cameras, prints and four displays.

`{Train,Test}/{live,spoof}/<id>/Subject-Sensor-Type-Medium-Session.{mov,mp4}`, with hyphens or underscores, and beside
each video a `.face` with a line `x1 y1 x2 y2` for every frame.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from dtda.core.data.media import VIDEOS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.types import Floats, Label

TITLE, DOMAIN = "SiW", "siw"
NAME = r"(\d{3})[-_](\d)[-_]([1-3])[-_](\d)[-_](\d)"
PRINTS = {"1": "print-high", "2": "print-low"}  # resolution of the photo printed
DISPLAYS = {"1": "ipad-pro", "2": "iphone-7-plus", "3": "asus-mb168b", "4": "galaxy-s8"}


def read(root: Path) -> Reading:
    """All videos. Raises DtdaError when the training or the test part is missing."""
    notes: list[str] = []
    clips = []
    for split in ("train", "test"):
        folder = need_folder(TITLE, root, split.capitalize(), split)
        for path, match in named(files(folder, VIDEOS), NAME, TITLE, notes):
            subject, sensor, type_, medium, session = match.groups()
            kind = {"1": "", "2": "print", "3": "display"}[type_]
            instrument = {"1": {}, "2": PRINTS, "3": DISPLAYS}[type_].get(medium, kind)
            tags = {"sensor": sensor, "medium": medium, "session": session, "instrument": instrument}
            label = Label.SPOOF if kind else Label.LIVE
            where = below(path, root)
            clips.append(Clip(path, label, kind, DOMAIN, f"{DOMAIN}/{subject}", split, where, tags, annotated_box))
    return Reading(tuple(clips), tuple(notes))


def annotated_box(path: Path, index: int, shape: tuple[int, int]) -> Floats | None:
    """float32 [4] xyxy pixels from the `.face` file, None where it has no box for the frame."""
    rows = _rows(path.with_suffix(".face"))
    box = rows[index] if index < len(rows) else None
    return box if box is not None and box[2] > box[0] and box[3] > box[1] else None


@lru_cache(maxsize=4)
def _rows(path: Path) -> tuple[Floats | None, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
        return tuple(np.array(line.split()[:4], np.float32) if len(line.split()) >= 4 else None for line in lines)
    except (OSError, ValueError):
        return ()
