"""One-cue classifiers over a labelled set: what would separate live from attack without any recapture being seen.

For every cue, domain and instrument the area under the ROC curve of the cue alone, attacks as the positive class: 0.5 says
nothing, above 0.5 the attack has more of it (is brighter, sharper, ...). Sampling errors after Hanley and McNeil (Radiology
1982).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtda.core.data.manifest import Record
from dtda.core.errors import DtdaError
from dtda.core.metrics import auc
from dtda.core.pictures import read_picture
from dtda.core.simulate.cues import survey
from dtda.core.types import Floats, Label

LOW, HIGH = 0.4, 0.6
SIGMAS = 2.58  # two-sided 99 %: a table has hundreds of cells
ALL = "all"
FEWEST = 12  # pictures of a class, below which a cell says nothing


@dataclass(frozen=True, slots=True)
class Cell:
    """auc: P(cue of an attack > cue of a live picture). error: its standard error. live, attack: pictures."""

    domain: str
    instrument: str
    cue: str
    auc: float
    error: float
    live: int
    attack: int

    @property
    def leaks(self) -> bool:
        """Outside LOW..HIGH by more than its sampling error."""
        return self.auc - SIGMAS * self.error > HIGH or self.auc + SIGMAS * self.error < LOW


def surveyed(record: Record) -> dict[str, float] | str:
    """The cues of a picture, or a sentence on why there are none."""
    bgr = read_picture(record.path)
    if bgr is None or record.points is None:
        return f"{record.path}: {'not a readable picture' if bgr is None else 'no facial points in the manifest'}."
    try:
        return survey(bgr, record.points)
    except ValueError as error:
        return f"{record.path}: {error}."


def table(records: Sequence[Record], cues: Sequence[dict[str, float]]) -> list[Cell]:
    """Cells of every domain and instrument that are there, and of all together (`ALL`), in order.

    cues: of each record, from `surveyed`. Raises DtdaError when one class is missing everywhere.
    """
    live = np.array([record.label is Label.LIVE for record in records])
    domains = np.array([record.domain for record in records])
    kinds = np.array([record.attack_type for record in records])
    names = list(cues[0]) if cues else []
    values = np.array([[row[name] for name in names] for row in cues], np.float64)
    cells = []
    for domain in (ALL, *sorted(set(domains))):
        here = np.full(len(live), True) if domain == ALL else domains == domain
        for kind in (ALL, *sorted(set(kinds[here & ~live]))):
            attack = here & ~live & ((kinds == kind) | (kind == ALL))
            bona = here & live
            if kind != ALL and domain == ALL:  # only where that instrument is used: other domains are other cameras
                bona &= np.isin(domains, domains[attack])
            if min(attack.sum(), bona.sum()) < FEWEST:
                continue
            for number, name in enumerate(names):
                area = _area(values[attack, number], values[bona, number])
                error = standard_error(area, int(attack.sum()), int(bona.sum()))
                cells.append(Cell(domain, kind, name, area, error, int(bona.sum()), int(attack.sum())))
    if not cells:
        raise DtdaError(f"fewer than {FEWEST} live or attack pictures with facial points; name a larger set.")
    return cells


def _area(attack: Floats, live: Floats) -> float:
    labels = np.repeat([True, False], [len(attack), len(live)])
    return float(auc(np.concatenate([attack, live]), labels))


def standard_error(area: float, positives: int, negatives: int) -> float:
    """Of an AUC (Hanley and McNeil 1982, equation 2 with their exponential approximation)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)) / (
        positives * negatives
    )
    return float(np.sqrt(max(variance, 1e-12)))


def markdown(cells: Sequence[Cell]) -> str:
    """A table: one line per domain and instrument, one column per cue; leaks in bold."""
    names = list(dict.fromkeys(cell.cue for cell in cells))
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.domain, cell.instrument), {})[cell.cue] = cell
    lines = ["| " + " | ".join(["domain", "instrument", "live", "attack", *names]) + " |"]
    lines.append("|" + "---|" * (4 + len(names)))
    for (domain, kind), found in rows.items():
        first = next(iter(found.values()))
        shown = [f"**{found[name].auc:.2f}**" if found[name].leaks else f"{found[name].auc:.2f}" for name in names]
        lines.append("| " + " | ".join([domain, kind, str(first.live), str(first.attack), *shown]) + " |")
    return "\n".join(lines)


def as_csv(cells: Sequence[Cell]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["domain", "instrument", "cue", "auc", "standard_error", "live", "attack", "leaks"])
    for c in cells:
        numbers = [f"{c.auc:.4f}", f"{c.error:.4f}", c.live, c.attack]
        writer.writerow([c.domain, c.instrument, c.cue, *numbers, "yes" if c.leaks else "no"])
    return text.getvalue()
