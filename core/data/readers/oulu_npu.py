"""OULU-NPU (Boulkenafet et al., FG 2017): six phones, three sessions, two printers, two displays.

`{Train,Dev,Test}_files/Phone_Session_User_File.avi`. Protocols are selected by the tags phone, session and file
(protocols.toml); the official lists, where they are there, are compared with that selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dtda.core.data.manifest import Record
from dtda.core.data.media import VIDEOS
from dtda.core.data.protocols import resolve
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.errors import DtdaError
from dtda.core.types import Label

TITLE, DOMAIN = "OULU-NPU", "oulu-npu"
PARTS = {"train": "Train_files", "dev": "Dev_files", "test": "Test_files"}
USERS = {"train": range(1, 21), "dev": range(21, 36), "test": range(36, 56)}
INSTRUMENTS = {"2": "print-1", "3": "print-2", "4": "display-1", "5": "display-2"}
TOTALS = {
    ("train", "live"): 360,
    ("train", "spoof"): 1440,
    ("dev", "live"): 270,
    ("dev", "spoof"): 1080,
    ("test", "live"): 360,
    ("test", "spoof"): 1440,
}


def read(root: Path) -> Reading:
    """All videos. Raises DtdaError when one of the three parts is missing."""
    notes: list[str] = []
    clips = []
    for split, part in PARTS.items():
        folder = need_folder(TITLE, root, part)
        for path, match in named(files(folder, VIDEOS), r"([1-6])_([1-3])_(\d\d)_([1-5])", TITLE, notes):
            phone, session, user, file = match.groups()
            if int(user) not in USERS[split]:
                notes.append(f"{TITLE}: left out {below(path, root)}, whose user {user} is not of the {split} part.")
                continue
            instrument = INSTRUMENTS.get(file, "")
            tags = {"phone": phone, "session": session, "file": file, "instrument": instrument}
            label, kind = (Label.SPOOF, instrument.partition("-")[0]) if instrument else (Label.LIVE, "")
            clips.append(Clip(path, label, kind, DOMAIN, f"{DOMAIN}/{user}", split, below(path, root), tags))
    notes += list(_disagreements(root, clips))
    return Reading(tuple(clips), tuple(notes), TOTALS)


def _disagreements(root: Path, clips: Sequence[Clip]) -> Iterator[str]:
    """Where the official lists and the protocols of protocols.toml differ."""
    records = [
        Record(c.path, c.label, c.attack_type, c.domain, c.subject, c.split, None, c.video, c.tags) for c in clips
    ]
    stems = {record.path.stem for record in records}
    absent: set[str] = set()
    for number in (1, 2, 3, 4):
        folder = root / "Protocols" / f"Protocol_{number}"
        for suffix in ("", *(f"_{fold}" for fold in range(1, 7))):
            lists = {part: folder / f"{part.capitalize()}{suffix}.txt" for part in PARTS}
            if not all(path.is_file() for path in lists.values()):
                continue
            official = {}
            for part, path in lists.items():
                official[part], wrong = _listed(path)
                absent |= official[part] - stems
                if wrong:
                    yield f"{TITLE}: {below(path, root)} calls {wrong} by the other label than its name does."
            phones = {stem[0] for stem in official["test"]}
            fold = f"phone-{min(phones, default='')}" if number > 2 else f"oulu-{number}"
            try:
                (ours,) = resolve(f"oulu-{number}", records, fold)
            except DtdaError as error:
                yield f"{TITLE}: {folder.name}{suffix} could not be compared ({error})"
                continue
            for part, path in lists.items():
                chosen = {records[index].path.stem for index in getattr(ours, part)}
                odd = sorted(chosen ^ (official[part] & stems))
                if odd:
                    yield (
                        f"{TITLE}: {below(path, root)} differs from protocol oulu-{number} in {len(odd)} videos, "
                        f"such as {odd[0]}; the protocol is used."
                    )
    if absent:
        yield f"{TITLE}: the protocol lists name {len(absent)} videos that are not here, such as {min(absent)}."


def _listed(path: Path) -> tuple[set[str], str]:
    """Videos of a list, and the first whose label (+1 live, -1 or -2 attack) is not that of its name, or ""."""
    rows = [
        line.replace(" ", "").split(",") for line in path.read_text("utf-8", "replace").splitlines() if line.strip()
    ]
    pairs = [(row[0], row[-1]) for row in rows]
    wrong = next((stem for sign, stem in pairs if sign.startswith("-") == stem.endswith("_1")), "")
    return {stem for _, stem in pairs}, wrong
