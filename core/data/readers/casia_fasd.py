"""CASIA-FASD (Zhang et al., ICB 2012): 50 people, three camera qualities, warped print, cut photo and video replay.

`{train,test}_release/<id>/{1..8,HR_1..HR_4}.avi`. Ids of the test part start at 1 again: other people.
"""

from __future__ import annotations

from pathlib import Path

from dtda.core.data.media import VIDEOS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.types import Label

TITLE, DOMAIN = "CASIA-FASD", "casia-fasd"
# video -> attack type, instrument
VIDEO = {
    **dict.fromkeys(("1", "2", "HR_1"), ("", "")),
    **dict.fromkeys(("3", "4", "HR_2"), ("print", "warped-print")),
    **dict.fromkeys(("5", "6", "HR_3"), ("cut", "cut-photo")),
    **dict.fromkeys(("7", "8", "HR_4"), ("display", "video")),
}
TOTALS = {("train", "live"): 60, ("train", "spoof"): 180, ("test", "live"): 90, ("test", "spoof"): 270}


def read(root: Path) -> Reading:
    """All videos. Raises DtdaError when one of the two parts is missing."""
    notes: list[str] = []
    clips = []
    for split in ("train", "test"):
        folder = need_folder(TITLE, root, f"{split}_release")
        for path, match in named(files(folder, VIDEOS), "[1-8]|HR_[1-4]", TITLE, notes):
            name = match.group()
            kind, instrument = VIDEO[name]
            quality = "high" if name.startswith("HR") else "normal" if int(name) % 2 == 0 else "low"
            label = Label.SPOOF if kind else Label.LIVE
            subject = f"{DOMAIN}/{split}-{path.parent.name}"
            tags = {"instrument": instrument, "quality": quality}
            clips.append(Clip(path, label, kind, DOMAIN, subject, split, below(path, root), tags))
    return Reading(tuple(clips), tuple(notes), TOTALS)
