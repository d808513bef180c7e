"""ROSE-Youtu (Li et al., TIFS 2018): 20 people, five devices, prints, displays and paper masks.

`L_S_D_x_E_p_N.mp4` anywhere below the root: L kind, S speech, D device, x glasses, E background, p person, N number. Many
clips lie on their side: preparation sets them upright. People 2 to 12 are the training half, 13 to 23 the test half.
"""

from __future__ import annotations

from pathlib import Path

from dtda.core.data.media import VIDEOS
from dtda.core.data.readers.clip import Clip, Reading, below, files, named, need_folder
from dtda.core.types import Label

TITLE, DOMAIN = "ROSE-Youtu", "rose-youtu"
NAME = r"([A-Z][a-z]?)_(NT|T)_(HS|HW|IP|5s|ZTE)_(g|wg)_([^_]+)_(\d+)_(\d+)"
# kind -> attack type, instrument
KINDS = {
    "G": ("", ""),
    "Ps": ("print", "print-still"),
    "Pq": ("print", "print-quivering"),
    "Vl": ("display", "lenovo"),
    "Vm": ("display", "mac"),
    "Mc": ("mask", "paper-mask-cut-out"),
    "Mf": ("mask", "paper-mask-full"),
    "Mu": ("mask", "paper-mask-upper"),
}
TOTALS = {("train", ""): 1748, ("test", ""): 1749}  # as counted by gradiant's bob.gradiant.face.databases


def read(root: Path) -> Reading:
    """All videos. Raises DtdaError when the folder is missing."""
    notes: list[str] = []
    clips = []
    for path, match in named(files(need_folder(TITLE, root, "."), VIDEOS), NAME, TITLE, notes):
        letters, speech, device, glasses, place, person, _ = match.groups()
        if letters not in KINDS or not 2 <= int(person) <= 23:
            notes.append(f"{TITLE}: left out {path.name}: its kind or person is not one of the set's.")
            continue
        kind, instrument = KINDS[letters]
        split = "train" if int(person) <= 12 else "test"
        label = Label.SPOOF if kind else Label.LIVE
        tags = {"instrument": instrument, "device": device, "background": place}
        tags |= {"glasses": "yes" if glasses == "g" else "no", "speech": "yes" if speech == "T" else "no"}
        subject = f"{DOMAIN}/{int(person):02}"
        clips.append(Clip(path, label, kind, DOMAIN, subject, split, below(path, root), tags))
    return Reading(tuple(clips), tuple(notes), TOTALS)
