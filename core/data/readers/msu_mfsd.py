"""MSU-MFSD (Wen et al., TIFS 2015): 35 people, laptop and phone cameras, tablet, phone and printed attacks.

`scene01/{real,attack}/*` and `{train,test}_sub_list.txt`, one two-digit id a line. Some videos lie on their side or head:
preparation sets them upright.
"""

from __future__ import annotations

from pathlib import Path

from dtda.core.data.media import VIDEOS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_file, need_folder
from dtda.core.errors import DtdaError
from dtda.core.types import Label

TITLE, DOMAIN = "MSU-MFSD", "msu-mfsd"
REAL = r"real_client(\d+)_(android|laptop)_SD_scene01()"
ATTACK = r"attack_client(\d+)_(android|laptop)_SD_(ipad_video|iphone_video|printed_photo)_scene01"
TOTALS = {("train", "live"): 30, ("train", "spoof"): 90, ("test", "live"): 40, ("test", "spoof"): 120}


def read(root: Path) -> Reading:
    """All videos of listed people. Raises DtdaError when a part or a list is missing or a list is malformed."""
    notes: list[str] = []
    split_of: dict[int, str] = {}
    for split in ("train", "test"):
        for number in _numbers(need_file(TITLE, root, f"{split}_sub_list.txt")):
            if split_of.setdefault(number, split) != split:
                raise DtdaError(f"{TITLE}: person {number:02} is in both sub-lists; copy them again.")
    clips = []
    unlisted: set[int] = set()
    for part, pattern in (("real", REAL), ("attack", ATTACK)):
        folder = need_folder(TITLE, root, f"scene01/{part}")
        for path, match in named(files(folder, VIDEOS), pattern, TITLE, notes):
            client, camera, medium = match.groups()
            if int(client) not in split_of:
                unlisted.add(int(client))
                continue
            kind = {"": "", "printed_photo": "print"}.get(medium, "display")
            tags = {"camera": camera, "instrument": medium.replace("_", "-")}
            label, split = Label.SPOOF if kind else Label.LIVE, split_of[int(client)]
            subject = f"{DOMAIN}/{int(client):02}"
            clips.append(Clip(path, label, kind, DOMAIN, subject, split, below(path, root), tags))
    if unlisted:
        notes.append(f"{TITLE}: left out people {', '.join(map(str, sorted(unlisted)))}, who are in neither sub-list.")
    return Reading(tuple(clips), tuple(notes), TOTALS)


def _numbers(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text("utf-8").split()]
    except ValueError as error:
        raise DtdaError(f"{path}: is not a list of numbers, one a line ({error}); copy it again.") from error
