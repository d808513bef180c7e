"""The table of readers: name of a set on the command line -> module with `read(root)`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from dtda.core.data.readers.clip import Reading, shortfalls
from dtda.core.errors import DtdaError

SETS = {
    "oulu-npu": "oulu_npu",
    "casia-fasd": "casia_fasd",
    "replay-attack": "replay_attack",
    "msu-mfsd": "msu_mfsd",
    "celeba-spoof": "celeba_spoof",
    "siw": "siw",
    "rose-youtu": "rose_youtu",
    "wmca": "wmca",
    "nuaa": "nuaa",
    "lcc-fasd": "lcc_fasd",
}
GENERIC = "generic"


def read_set(name: str, root: Path) -> Reading:
    """Clips of a set by its name, `generic:NAME` for any other, with a note for each total it does not reach.

    Raises DtdaError for an unknown name, a missing part, and a set without a single clip.
    """
    kind, _, domain = name.partition(":")
    if kind == GENERIC and domain:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", domain) or domain == "chips":
            raise DtdaError(f"{name}: the name of a set is letters, digits, _ and -, and not chips.")
        from dtda.core.data.readers import generic

        reading = generic.read(root, domain)
    elif name in SETS:
        module = importlib.import_module(f"dtda.core.data.readers.{SETS[name]}")
        reading = module.read(root)
        if not reading.clips:
            raise DtdaError(f"{root}: holds no video or picture named as {module.TITLE} names them.")
        reading = Reading(reading.clips, (*reading.notes, *shortfalls(module.TITLE, reading)), reading.totals)
    else:
        raise DtdaError(f"{name}: not a known data set; name {', '.join(SETS)}, or {GENERIC}:NAME for your own.")
    twice = _first_twice([clip.video for clip in reading.clips])
    if twice:
        raise DtdaError(f"{root}: {twice} is listed twice.")
    return reading


def _first_twice(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
