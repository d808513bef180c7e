"""LCC_FASD (Timoshenko et al., 2019): pictures of displays and prints from many cameras.

`LCC_FASD_{training,development}/{real,spoof}/*`, `LCC_FASD_evaluation/` flat with prefixes `real`, `spoof`, or with
sub-folders. Kinds of attack are not labelled. Where a name has no person (`..._id117_...`), each picture is its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from dtda.core.data.media import PICTURES
from dtda.core.data.readers.clip import Clip, Reading, below, files, need_folder
from dtda.core.types import Label

TITLE, DOMAIN = "LCC_FASD", "lcc-fasd"
PARTS = {"train": "LCC_FASD_training", "dev": "LCC_FASD_development", "test": "LCC_FASD_evaluation"}
LABELS = {"real": Label.LIVE, "spoof": Label.SPOOF}
TOTALS = {
    ("train", "live"): 1223,
    ("train", "spoof"): 7076,
    ("dev", "live"): 405,
    ("dev", "spoof"): 2543,
    ("test", "live"): 314,
    ("test", "spoof"): 7266,
}


def read(root: Path) -> Reading:
    """All pictures. Raises DtdaError when one of the three parts is missing."""
    clips = []
    strange = []
    for split, part in PARTS.items():
        folder = need_folder(TITLE, root, part)
        for path in files(folder, PICTURES):
            word = path.parent.name if path.parent != folder else path.stem
            label = next((label for name, label in LABELS.items() if word.lower().startswith(name)), None)
            if label is None:
                strange.append(path)
                continue
            person = re.search(r"_(id\d+)_", path.stem)
            subject = person.group(1) if person else f"{split}-{path.stem}"
            where = below(path, root)
            kind = "" if label is Label.LIVE else "attack"
            clips.append(Clip(path, label, kind, DOMAIN, f"{DOMAIN}/{subject}", split, where))
    notes = [f"{TITLE}: left out {len(strange)} pictures that are neither real nor spoof, such as {strange[0].name}."]
    return Reading(tuple(clips), tuple(notes) if strange else (), TOTALS)
