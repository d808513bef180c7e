"""Idiap Replay-Attack (Chingovska et al., BIOSIG 2012): 50 people before a laptop, prints and two screens, held or fixed.

`{train,devel,test}/real/*.mov` and `.../attack/{fixed,hand}/*.mov`, whose names are the same in both folders. `enroll`
is for face recognition and not read.
"""

from __future__ import annotations

from pathlib import Path

from dtda.core.data.media import VIDEOS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.types import Label

TITLE, DOMAIN = "Replay-Attack", "replay-attack"
PARTS = {"train": "train", "dev": "devel", "test": "test"}
REAL = r"client(\d+)_session\d+_webcam_authenticate_(adverse|controlled)_\d+"
ATTACK = r"attack_(print|mobile|highdef)_client(\d+)_session\d+_\w+_(photo|video)_(adverse|controlled)"
TOTALS = {
    ("train", "live"): 60,
    ("train", "spoof"): 300,
    ("dev", "live"): 60,
    ("dev", "spoof"): 300,
    ("test", "live"): 80,
    ("test", "spoof"): 400,
}


def read(root: Path) -> Reading:
    """All videos but those for enrolment. Raises DtdaError when a part is missing."""
    notes: list[str] = []
    clips = []
    for split, part in PARTS.items():
        need_folder(TITLE, root, part)
        for path, match in named(files(need_folder(TITLE, root, f"{part}/real"), VIDEOS), REAL, TITLE, notes):
            client, light = match.groups()
            subject, tags = f"{DOMAIN}/{client}", {"light": light}
            clips.append(Clip(path, Label.LIVE, "", DOMAIN, subject, split, below(path, root), tags))
        for support in ("fixed", "hand"):
            folder = need_folder(TITLE, root, f"{part}/attack/{support}")
            for path, match in named(files(folder, VIDEOS), ATTACK, TITLE, notes):
                device, client, medium, light = match.groups()
                kind = "print" if device == "print" else "display"
                tags = {"light": light, "support": support, "instrument": f"{device}-{medium}"}
                subject = f"{DOMAIN}/{client}"
                clips.append(Clip(path, Label.SPOOF, kind, DOMAIN, subject, split, below(path, root), tags))
    return Reading(tuple(clips), tuple(notes), TOTALS)
