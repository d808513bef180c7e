"""CelebA-Spoof (Zhang et al., ECCV 2020): 10 177 people, ten instruments, pictures only.

`Data/{train,test}/<id>/{live,spoof}/<n>.{jpg,png}` with `<n>_BB.txt`, and `metas/intra_test/{train,test}_label.json`:
path -> 44 numbers, of which [40] spoof type, [41] light, [42] environment, [43] 0 live or 1 spoof.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dtda.core.data.readers.clip import Clip, Reading, need_file, need_folder
from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Label

TITLE, DOMAIN = "CelebA-Spoof", "celeba-spoof"
# spoof type -> instrument, attack type
TYPES = [
    ("", ""),
    ("photo", "print"),
    ("poster", "print"),
    ("a4", "print"),
    ("face-mask", "mask"),
    ("upper-body-mask", "mask"),
    ("region-mask", "mask"),
    ("pc", "display"),
    ("pad", "display"),
    ("phone", "display"),
    ("3d-mask", "mask"),
]
LIGHTS = ("", "normal", "strong", "back", "dark")
PLACES = ("", "indoor", "outdoor")
BOX_SIDE = 224  # boxes are given as if the picture were 224 x 224
TOTALS = {("train", ""): 494_405, ("test", ""): 67_170}  # lines of the released lists


def read(root: Path) -> Reading:
    """All pictures of the two lists. Raises DtdaError when a part is missing or a list is malformed."""
    notes: list[str] = []
    clips = []
    for split in ("train", "test"):
        need_folder(TITLE, root, f"Data/{split}")
        path = need_file(TITLE, root, f"metas/intra_test/{split}_label.json")
        try:
            table = json.loads(path.read_text("utf-8"))
            clips += [_clip(root, name, numbers, split) for name, numbers in table.items()]
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            raise DtdaError(f"{path}: is not a table of 44 numbers a picture ({error}); copy it again.") from error
    odd = [clip for clip in clips if (clip.path.parent.name == "live") is not (clip.label is Label.LIVE)]
    if odd:
        notes.append(f"{TITLE}: {len(odd)} labels differ from the folder, such as {odd[0].video}; the label is used.")
    return Reading(tuple(clips), tuple(notes), TOTALS)


def _clip(root: Path, name: str, numbers: list[int], split: str) -> Clip:
    if len(numbers) != 44:
        raise ValueError(f"{name} has {len(numbers)}")
    spoof_type, light, place, spoof = numbers[40:]
    instrument, attack_type = TYPES[spoof_type]
    label, kind = (Label.SPOOF, attack_type or "attack") if spoof else (Label.LIVE, "")
    tags = {"instrument": instrument, "light": LIGHTS[light], "environment": PLACES[place]}
    person = Path(name).parts[-3]
    return Clip(root / name, label, kind, DOMAIN, f"{DOMAIN}/{person}", split, name, tags, annotated_box)


def annotated_box(path: Path, index: int, shape: tuple[int, int]) -> Floats | None:
    """The box of `<n>_BB.txt`, `x y w h score` in a 224 x 224 picture; float32 [4] xyxy pixels, None without one."""
    try:
        x, y, w, h = map(float, path.with_name(f"{path.stem}_BB.txt").read_text("utf-8").split()[:4])
    except (OSError, ValueError):
        return None
    height, width = shape
    scale = np.array([width, height, width, height]) / BOX_SIDE
    return np.asarray(np.array([x, y, x + w, y + h]) * scale, np.float32)
