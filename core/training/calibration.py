"""What is done to a trained student at the end: back towards its start; then the last layer rescaled so that P(live) means
what it says, where both classes are as likely."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dtda.core.models.student import Student
from dtda.core.training.material import Material
from dtda.core.training.scoring import branches
from dtda.core.types import Label

SPREAD = 1e-6  # less is rounding of float32


@torch.no_grad()
def blend(student: Student, start: Student, keep: float) -> None:
    """Weights and statistics moved, in place, by the share `keep` of the way to those that `start` has begun with (Wortsman
    et al. 2022, WiSE-FT): what a network knew of other data survives better than in the weights that training ended with."""
    before = start.state_dict()
    for name, value in student.state_dict().items():
        if value.is_floating_point() and name.startswith(start.begun):
            value.lerp_(before[name].to(value), keep)


def calibrate(student: Student, material: Material, alone: bool = False) -> dict[str, Any]:
    """Platt scaling (Platt 1999, with hard labels) on the source dev part, folded into the head, in place; returns slope and
    intercept.

    Without `alone` it moves no score past another. Where dev logits do not rise with the label, or are no numbers, nothing
    is changed, which is said. A cue map is left as it is.

    alone: of a student whose branches learned each by itself, what each says is scaled so first, and their sum then (a
    logarithmic opinion pool, Genest and Zidek 1986): otherwise a branch that `blend` moved out of its scale would speak too
    loud. One that says nothing of the label falls silent. Returns these scales, too, as `branches`.
    """
    numbers = material.fold.dev
    live = np.array([material.chips.records[number].label is Label.LIVE for number in numbers])
    last, scales = student.head[1], np.ones(len(student.widths))
    spoken = branches(student, material.chips, numbers).astype(np.float64)
    if not np.isfinite(spoken).all():
        return _uncalibrated()
    bias = float(last.bias.detach())
    if alone:
        scales, bias = np.array([max(_platt(each, live)[0], 0.0) for each in spoken.T]), 0.0
    slope, intercept = _platt(spoken @ scales + bias, live)
    if not (np.isfinite(slope) and slope > 0):
        return _uncalibrated()
    with torch.no_grad():
        each = torch.repeat_interleave(torch.from_numpy(scales * slope), torch.tensor(student.widths))
        last.weight.mul_(each.to(last.weight))
        last.bias.fill_(bias * slope + intercept)
    return {"slope": slope, "intercept": intercept} | ({"branches": scales.tolist()} if alone else {})


def _platt(found: np.ndarray, live: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of the label on logits, float64 [N], both classes weighing alike; 0 and
    0 of logits that differ by rounding only."""
    from sklearn.linear_model import LogisticRegression

    scale = float(found.std())
    if scale < SPREAD:
        return 0.0, 0.0
    # Of unit size, for the solver.
    fit = LogisticRegression(C=1e4, class_weight="balanced").fit(found[:, None] / scale, live)
    return float(fit.coef_[0, 0]) / scale, float(fit.intercept_[0])


def _uncalibrated() -> dict[str, Any]:
    tqdm.write("not calibrated: the scores of the dev people do not rise with their labels", file=sys.stderr)
    return {"slope": 1.0, "intercept": 0.0}
