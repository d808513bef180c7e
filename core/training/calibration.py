"""What is done to a trained student at the end: back towards its start, or what it began with added to it; then the last
layer rescaled so that P(live) means what it says, where both classes are as likely."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dtda.core.errors import DtdaError
from dtda.core.models.student import Student
from dtda.core.training.material import Material
from dtda.core.training.scoring import branches
from dtda.core.types import Label


@torch.no_grad()
def blend(student: Student, start: Student, keep: float) -> None:
    """Weights and statistics moved, in place, by the share `keep` of the way to those that `start` has begun with (Wortsman
    et al. 2022, WiSE-FT): what a network knew of other data survives better than in the weights that training ended with."""
    before = start.state_dict()
    for name, value in student.state_dict().items():
        if value.is_floating_point() and name.startswith(start.begun):
            value.lerp_(before[name].to(value), keep)


@torch.no_grad()
def silence(student: Student) -> None:
    """Published bodies take no part in training until they `speak`: their features are 0, and so is their part of the head.
    Raises DtdaError for a student without such bodies, and for one of bodies alone."""
    from dtda.core.models.fasnet import Fasnet

    trunk = student.trunk
    if not isinstance(trunk, Fasnet) or "head." not in student.begun:
        raise DtdaError('bodies = "apart" is for students that go on from MiniFASNets; leave it out.')
    if trunk.whole is None and trunk.texture is None:
        raise DtdaError('with bodies = "apart" nothing of this student would be left to train; pair-lite has more.')
    trunk.silent = True
    trunk.bodies.requires_grad_(False)
    student.head[1].weight.zero_()


@torch.no_grad()
def speak(student: Student, start: Student, keep: float) -> None:
    """The logit becomes, in place, `keep` times that of `start`, the published bodies', plus 1 - `keep` times the student's
    own. What saw real attacks is in it whole, whatever training did (Hinton 2002: a product of experts)."""
    student.trunk.silent = False
    last = student.head[1]
    for own, published in ((last.weight, start.head[1].weight), (last.bias, start.head[1].bias)):
        own.mul_(1 - keep).add_(published.to(own), alpha=keep)


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
    """Slope and intercept of the logistic regression of the label on logits, float64 [N], both classes weighing alike."""
    from sklearn.linear_model import LogisticRegression

    scale = max(float(found.std()), 1e-6)  # of unit size, for the solver
    fit = LogisticRegression(C=1e4, class_weight="balanced").fit(found[:, None] / scale, live)
    return float(fit.coef_[0, 0]) / scale, float(fit.intercept_[0])


def _uncalibrated() -> dict[str, Any]:
    tqdm.write("not calibrated: the scores of the dev people do not rise with their labels", file=sys.stderr)
    return {"slope": 1.0, "intercept": 0.0}
