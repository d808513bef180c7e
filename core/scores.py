"""Score files: one row per picture of an evaluation, enough to redo all its figures without the model.

The first line of a file that `dtda evaluate` wrote is `# ` and a JSON object (`About`); score files of other programs
need only the columns of REQUIRED.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from dtda.core.errors import DtdaError
from dtda.core.metrics import Labels
from dtda.core.sidecar import Threshold, write_atomic
from dtda.core.types import Label

Texts = npt.NDArray[np.str_]
REQUIRED = ("path", "label", "part", "p_live")
COLUMNS = ("path", "video", "domain", "subject", "label", "attack_type", "part", "p_live")
PARTS = ("dev", "test")


class About(BaseModel):
    """Where scores come from. name: of the student. protocol: or, in words, the split of a manifest.

    thresholds: of the checkpoint, used where the file has no dev rows. history: one entry per epoch with test_auc,
    test_eer (at the test data's own threshold), test_hter (at that epoch's dev threshold), all per video. notes: sentences
    for the report.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    protocol: str = ""
    fold: str = ""
    sources: list[str] = []
    targets: list[str] = []
    thresholds: dict[str, Threshold] = {}
    history: list[dict[str, float | None]] = []
    notes: list[str] = []


@dataclass(frozen=True)
class ScoreTable:
    """Columns of N rows, a row being a picture or, after `per_video`, a video.

    p_live: float64 [N], NaN where no usable face was found: a non-response. part: dev (source, where thresholds come
    from) or test (target).
    """

    path: Texts
    video: Texts
    domain: Texts
    subject: Texts
    live: Labels
    attack_type: Texts
    part: Texts
    p_live: npt.NDArray[np.float64]
    about: About

    def __len__(self) -> int:
        return len(self.path)

    def where(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> ScoreTable:
        """The rows chosen by a mask or by indices."""
        columns = {each.name: getattr(self, each.name)[chosen] for each in fields(self) if each.name != "about"}
        return replace(self, **columns)

    def of(self, part: str) -> ScoreTable:
        return self.where(self.part == part)

    def on_domains(self, names: Sequence[str]) -> ScoreTable:
        """All dev rows and the test rows of these domains. Raises DtdaError for one that is not there."""
        test = self.part == "test"
        present = sorted(set(self.domain[test].tolist()))
        for name in names:
            if name not in present:
                raise DtdaError(f"the test part has no domain {name}; there are {', '.join(present)}.")
        about = self.about.model_copy(update={"targets": list(names), "history": []})
        return replace(self.where(~test | np.isin(self.domain, list(names))), about=about)

    def per_video(self) -> ScoreTable:
        """One row per video of a domain: P(live) is the mean over its scored pictures, NaN when it has none.

        Raises DtdaError when pictures of one video differ in label, attack type, subject or part.
        """
        keys = np.array(["\x1f".join(key) for key in zip(self.domain, self.video, strict=True)], np.str_)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        for name in ("live", "attack_type", "subject", "part"):
            column = getattr(self, name)
            wrong = np.flatnonzero(column != column[first][inverse])
            if len(wrong):
                what = "label" if name == "live" else name.replace("_", " ")
                raise DtdaError(
                    f"video {self.video[wrong[0]]} has pictures that differ in {what} (one is {self.path[wrong[0]]}); "
                    "give every clip a name of its own in the column video."
                )
        scored = ~np.isnan(self.p_live)
        total = np.bincount(inverse[scored], weights=self.p_live[scored], minlength=len(first))
        count = np.bincount(inverse[scored], minlength=len(first))
        with np.errstate(invalid="ignore"):
            means = total / count
        order = np.argsort(first)  # as in the file, not by name
        return replace(self.where(first[order]), p_live=means[order])


def make_table(rows: Iterable[Sequence[str]], p_live: Iterable[float], about: About) -> ScoreTable:
    """rows: path, video, domain, subject, label, attack_type, part. Raises DtdaError when a picture stands twice."""
    columns = np.array([tuple(row) for row in rows], np.str_).reshape(-1, 7).T
    path, video, domain, subject, label, attack_type, part = columns
    names, counts = np.unique(path, return_counts=True)
    if (counts > 1).any():
        raise DtdaError(f"{names[counts > 1][0]} is listed more than once; a picture has one score and one part.")
    live = label == Label.LIVE.value
    scores = np.array(list(p_live), np.float64)
    return ScoreTable(path, video, domain, subject, live, attack_type, part, scores, about)


def write_scores(path: Path, table: ScoreTable) -> None:
    """Write what `read_scores` reads, to the last bit of every score."""
    text = io.StringIO()
    text.write(f"# {table.about.model_dump_json()}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    labels = np.where(table.live, Label.LIVE.value, Label.SPOOF.value)
    texts = (table.path, table.video, table.domain, table.subject, labels, table.attack_type, table.part)
    for *row, score in zip(*texts, table.p_live.tolist(), strict=True):
        writer.writerow([*row, "" if math.isnan(score) else repr(score)])
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_scores(path: Path) -> ScoreTable:
    """Scores of a CSV with at least path, label (live, spoof), part (dev, test) and p_live (empty: non-response).

    A row without a video is its own video; without a domain, subject or attack type, these are empty. Raises DtdaError
    naming the first wrong line.
    """
    if not path.is_file():
        raise DtdaError(f"{path}: no such score file; `dtda evaluate CKPT` writes one.")
    try:
        text = path.read_text("utf-8-sig", "surrogateescape")  # file names may hold any bytes
        about, skipped = About(), 0
        if text.startswith("#"):
            first, _, text = text.partition("\n")
            about, skipped = About.model_validate_json(first[1:]), 1
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise DtdaError(f"{path}: column {missing[0]} is missing; needed are {', '.join(REQUIRED)}.")
        rows, scores = [], []
        for row in reader:
            rows.append(_texts(f"{path}, line {reader.line_num + skipped}", row))
            scores.append(_score(f"{path}, line {reader.line_num + skipped}", row["p_live"]))
    except ValidationError as error:
        raise DtdaError(
            f"{path}: its first line is not that of a score file; evaluate the checkpoint again."
        ) from error
    except csv.Error as error:
        raise DtdaError(f"{path}: not a CSV in UTF-8 ({error}); save it as one.") from error
    if not rows:
        raise DtdaError(f"{path}: holds no scores.")
    return make_table(rows, scores, about)


def _texts(where: str, row: dict[str, str]) -> tuple[str, ...]:
    if None in row or None in row.values():
        raise DtdaError(f"{where}: has more or fewer fields than the header.")
    for column, allowed in (("label", (Label.LIVE.value, Label.SPOOF.value)), ("part", PARTS)):
        if row[column] not in allowed:
            raise DtdaError(f"{where}: {column} is {row[column]!r}; it must be {' or '.join(allowed)}.")
    given = {name: row.get(name) or "" for name in COLUMNS}
    return tuple(given[name] or (given["path"] if name == "video" else "") for name in COLUMNS[:-1])


def _score(where: str, text: str) -> float:
    if not text:
        return math.nan
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise DtdaError(f"{where}: p_live is {text!r}; it must be a number from 0 to 1, higher is more live, or empty.")
    return score
