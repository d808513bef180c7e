"""NUAA imposter database (Tan et al., ECCV 2010): 15 people before a webcam and their photos, pictures only.

`raw/{ClientRaw,ImposterRaw}/<ID>/*.jpg` and `raw/{client,imposter}_{train,test}_raw.txt`, whose paths have backslashes.
Training and test share people (other sessions): its protocol says so.
"""

from __future__ import annotations

from pathlib import Path

from dtda.core.data.readers.clip import Clip, Reading, below, need_file, need_folder
from dtda.core.errors import DtdaError
from dtda.core.types import Label

TITLE, DOMAIN = "NUAA", "nuaa"
TOTALS = {("train", "live"): 1743, ("train", "spoof"): 1748, ("test", "live"): 3362, ("test", "spoof"): 5761}


def read(root: Path) -> Reading:
    """All pictures of the four lists. Raises DtdaError when a folder or a list is missing."""
    raw = root / "raw" if (root / "raw").is_dir() else root
    clips = []
    for name, label in (("client", Label.LIVE), ("imposter", Label.SPOOF)):
        folder = need_folder(TITLE, raw, f"{name.capitalize()}Raw")
        for split in ("train", "test"):
            for line in need_file(TITLE, raw, f"{name}_{split}_raw.txt").read_text("utf-8", "replace").splitlines():
                if line.strip():
                    path = folder / line.strip().replace("\\", "/")
                    clips.append(_clip(root, path, label, split))
    return Reading(tuple(clips), (), TOTALS)


def _clip(root: Path, path: Path, label: Label, split: str) -> Clip:
    """File names are ID_glasses_position_session_number."""
    parts = path.stem.split("_")
    if len(parts) != 5:
        raise DtdaError(f"{TITLE}: {path.name} in a list is not named ID_glasses_position_session_number; copy the list "
                        "again.")  # fmt: skip
    kind = "print" if label is Label.SPOOF else ""
    tags = {"session": parts[3], "instrument": kind}
    return Clip(path, label, kind, DOMAIN, f"{DOMAIN}/{parts[0]}", split, below(path, root), tags)
