"""WMCA (George et al., TIFS 2019), the frames of its colour camera: 72 people, disguises, masks, prints, displays.

`client_session_presenter_type_pai.hdf5` anywhere below the root. The person seen in an attack is the presenter where there
is one. The split comes from the protocol's CSV, which belongs to the set but not to the HDF5 archive.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from dtda.core.data.media import CONTAINERS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.errors import DtdaError
from dtda.core.types import Label

TITLE, DOMAIN = "WMCA", "wmca"
# type -> attack type, instrument; the finer instrument is the number of the PAI, whose list is not public
TYPES = {"0": ("", ""), "1": ("disguise", "glasses"), "2": ("mask", "mask-or-head"), "3": ("print", "print"),
         "4": ("display", "display")}  # fmt: skip
SPLITS = {"train": "train", "dev": "dev", "eval": "test", "test": "test"}
TOTALS = {("", "live"): 347, ("", "spoof"): 1332}


def read(root: Path) -> Reading:
    """All recordings; those of no protocol list are test recordings. Raises DtdaError when the folder is missing."""
    notes: list[str] = []
    folder = need_folder(TITLE, root, ".")
    splits = _splits(root)
    clips = []
    for path, match in named(files(folder, CONTAINERS), r"(\d+)_(\d+)_(\d+)_(\d+)_(\d+)", TITLE, notes):
        client, session, presenter, type_, pai = match.groups()
        kind, instrument = TYPES.get(type_.lstrip("0") or "0", ("attack", f"type-{type_}"))
        label = Label.SPOOF if kind else Label.LIVE
        tags = {"session": session, "instrument": instrument, "pai": pai}
        subject = f"{DOMAIN}/{client if int(presenter) == 0 else presenter}"
        split = splits.get(path.stem, "test")
        clips.append(Clip(path, label, kind, DOMAIN, subject, split, below(path, root), tags))
    unlisted = sum(clip.path.stem not in splits for clip in clips)
    if unlisted:
        notes.append(f"{TITLE}: {unlisted} recordings are in no protocol CSV below {root}; they count as test.")
    return Reading(tuple(clips), tuple(notes), TOTALS)


def _splits(root: Path) -> dict[str, str]:
    """Stem -> split of the grand-test list: any CSV with a cell that names a recording and one that names a part."""
    lists = list(files(root, [".csv"]))
    found: dict[str, str] = {}
    for path in [p for p in lists if "grand" in p.name.lower()] or lists[:1]:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for row in csv.reader(file):
                    cells = [cell.strip() for cell in row]
                    part = next((SPLITS[cell] for cell in cells if cell in SPLITS), None)
                    stem = next(
                        (PurePosixPath(cell).name.split(".")[0] for cell in cells if cell.count("_") >= 4), None
                    )
                    if part and stem:
                        found[stem] = part
        except (UnicodeDecodeError, csv.Error) as error:
            raise DtdaError(f"{path}: not a CSV in UTF-8 ({error}); copy it again.") from error
    return found
