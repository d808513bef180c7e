"""Scores of a student over cached chips, and the numbers made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dtda.core import metrics
from dtda.core.data.chips import Chips
from dtda.core.data.manifest import Record
from dtda.core.memory import keep_memory
from dtda.core.models.student import Student
from dtda.core.resampling import draw, interval, separation
from dtda.core.scores import About, ScoreTable, make_table
from dtda.core.types import Floats, Label


def score(student: Student, chips: Chips, numbers: Sequence[int], batch: int = 128) -> Floats:
    """P(live) of the unmoved crop of each numbered chip, float32 [len(numbers)]."""
    return _over(lambda x: torch.sigmoid(student(x).float()), student, chips, numbers, batch)


def logits(student: Student, chips: Chips, numbers: Sequence[int], batch: int = 128) -> Floats:
    """Live logit of the unmoved crop of each numbered chip, float32 [len(numbers)]."""
    return _over(student, student, chips, numbers, batch)


def branches(student: Student, chips: Chips, numbers: Sequence[int], batch: int = 128) -> Floats:
    """What each of N branches adds to the logits of `logits`, without the bias, float32 [len(numbers), N]."""
    return _over(lambda x: student.branches(student.features(x)), student, chips, numbers, batch)


def features(student: Student, chips: Chips, numbers: Sequence[int], batch: int = 128) -> Floats:
    """Pooled features of the unmoved crop of each numbered chip, float32 [len(numbers), width]."""
    return _over(student.features, student, chips, numbers, batch)


@torch.no_grad()
def _over(
    work: Callable[[Tensor], Tensor], student: Student, chips: Chips, numbers: Sequence[int], batch: int
) -> Floats:
    keep_memory()
    was_training = student.training
    student.eval()
    device = next(student.parameters()).device
    parts = []
    for start in range(0, len(numbers), batch):
        images = chips.images[list(numbers[start : start + batch]), 0]
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        x = x.float().div_(255).to(memory_format=torch.channels_last)
        parts.append(work(x).float().cpu().numpy())
    student.train(was_training)
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def score_table(
    student: Student,
    chips: Chips,
    parts: Mapping[str, Sequence[int]],
    lost: Iterable[tuple[str, Record]] = (),
    about: About | None = None,
) -> ScoreTable:
    """Scores of the numbered chips of each part (dev, test). lost: parts and records that gave no chip, non-responses."""
    rows, scores = [], []
    for part, numbers in parts.items():
        rows += [_texts(part, chips.records[number]) for number in numbers]
        scores += score(student, chips, numbers).tolist()
    for part, record in lost:
        rows.append(_texts(part, record))
        scores.append(float("nan"))
    return make_table(rows, scores, about or About())


def _texts(part: str, r: Record) -> tuple[str, ...]:
    return str(r.path), r.video or str(r.path), r.domain, r.subject, r.label.value, r.attack_type, part


def table(scores: Floats, chips: Chips, numbers: Sequence[int], threshold: float) -> dict[str, dict[str, float]]:
    """Figures per picture over all and over each (domain, attack type) against that domain's live pictures.

    Rows hold live and attack counts, AUC, EER, calibration error, and BPCER, APCER, ACER at the threshold; the row "all"
    adds 95 % intervals of AUC and EER by bootstrap over subjects.
    """
    records = [chips.records[number] for number in numbers]
    live = np.array([record.label is Label.LIVE for record in records])
    domains = np.array([record.domain for record in records])
    types = np.array([record.attack_type for record in records])
    rows = {"all": _row(scores, live, types, threshold)}
    apart = separation(scores, live, draw([record.subject for record in records], 1000), np.ones(len(live), bool), ())
    for name, values in (("auc", apart.auc), ("eer", apart.eer)):
        rows["all"][f"{name}_low"], rows["all"][f"{name}_high"] = interval(values)
    for domain in sorted(set(domains.tolist())):
        for kind in sorted(set(types[~live & (domains == domain)].tolist())):
            chosen = (domains == domain) & (live | (types == kind))
            rows[f"{domain} {kind or 'attack'}"] = _row(scores[chosen], live[chosen], types[chosen], threshold)
    return rows


def _row(scores: Floats, live: np.ndarray, types: np.ndarray, threshold: float) -> dict[str, float]:
    both = bool(live.any() and not live.all())
    return {
        "live": int(live.sum()),
        "attack": int((~live).sum()),
        "auc": metrics.auc(scores, live),
        "eer": metrics.eer(scores, live).rate if both else float("nan"),
        "ece": metrics.calibration_error(scores, live),
        "bpcer": metrics.bpcer(scores, live, threshold),
        "apcer": metrics.apcer(scores, live, threshold),
        "acer": metrics.acer(scores, live, types.tolist(), threshold),
    }
