"""Bootstrap intervals of error rates: whole units (subjects, videos) are drawn, all draws at once.

A draw is a weight per sample: how often its unit was drawn. Weighted rates and weighted ROC curves then give every figure
of 1000 draws in a few array operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtda.core.metrics import Labels, Scores

Values = npt.NDArray[np.float64]
CELLS = 2_000_000  # draws x samples worked on at a time; 16 MB for each intermediate array


@dataclass(frozen=True)
class Draws:
    """counts: float32 [draws, units], how often each unit was drawn. unit: [N], the unit of each sample."""

    counts: npt.NDArray[np.float32]
    unit: npt.NDArray[np.intp]

    def rate(self, errors: Labels, among: Labels) -> Values:
        """[draws]: share of the samples `among` that are errors; NaN on draws without any."""
        size = self.counts.shape[1]
        wrong = np.bincount(self.unit[errors & among], minlength=size)
        total = np.bincount(self.unit[among], minlength=size)
        with np.errstate(invalid="ignore"):
            return np.asarray((self.counts @ wrong) / (self.counts @ total), np.float64)

    def present(self, among: Labels) -> int:
        """How many units have samples `among`."""
        return len(np.unique(self.unit[among]))

    def chunks(self, chosen: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.float32]]:
        """Weights [some draws, len(chosen)] of the samples chosen, until all draws have passed."""
        step = max(1, CELLS // max(1, len(chosen)))
        for start in range(0, len(self.counts), step):
            yield self.counts[start : start + step, self.unit[chosen]]


def draw(units: Sequence[str], draws: int, seed: int = 0) -> Draws:
    """Draw as many units as there are, with replacement, `draws` times."""
    names, unit = np.unique(np.array(units, dtype=np.str_), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, len(names)), np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
    return Draws(counts, unit.reshape(-1))


@dataclass(frozen=True, slots=True)
class Separation:
    """Figures that need no threshold, over draws. auc, eer: [draws]. tpr: [draws, rates], at each FPR asked for."""

    auc: Values
    eer: Values
    tpr: Values


def separation(scores: Scores, live: Labels, draws: Draws, chosen: Labels, rates: Sequence[float]) -> Separation:
    """AUC, EER and TPR at FPR of the samples chosen, on every draw; NaN on draws that lack a class.

    Definitions are those of `metrics.auc`, `metrics.eer` and `metrics.tpr_at_fpr`.
    """
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        void = np.full(len(draws.counts), np.nan)
        return Separation(void, void, np.full((len(void), len(rates)), np.nan))
    numbers = numbers[np.argsort(-scores[numbers], kind="stable")]
    ordered, is_live = scores[numbers], live[numbers]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # equal scores are accepted together
    parts = [_curves(weights, is_live, last, rates) for weights in draws.chunks(numbers)]
    auc, eer, tpr = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Separation(auc, eer, tpr)


def _curves(
    weights: npt.NDArray[np.float32], live: Labels, last: npt.NDArray[np.intp], rates: Sequence[float]
) -> tuple[Values, Values, Values]:
    """weights: [D, n] of samples from the highest score down. last: the last sample of each group of equal scores."""
    with np.errstate(invalid="ignore"):
        true_live, false_live = (
            np.pad(total[:, last] / total[:, -1:], ((0, 0), (1, 0)))
            for total in (np.cumsum(weights * kind, axis=1, dtype=np.float64) for kind in (live, ~live))
        )
    auc = (np.diff(false_live) * (true_live[:, 1:] + true_live[:, :-1]) / 2).sum(1)
    best = np.argmin(np.abs(false_live - (1 - true_live)), axis=1)[:, None]
    near_live, near_false = np.take_along_axis(true_live, best, 1)[:, 0], np.take_along_axis(false_live, best, 1)[:, 0]
    eer = (near_false + 1 - near_live) / 2
    # Both rise along a row, so the last point with an FPR of at most `rate` has the largest TPR.
    tpr = np.empty((len(weights), len(rates)))
    for number, rate in enumerate(rates):
        point = (false_live <= rate + 1e-12).sum(1, keepdims=True) - 1
        tpr[:, number] = np.take_along_axis(true_live, point, 1)[:, 0]
    void = np.isnan(auc)
    eer[void], tpr[void] = np.nan, np.nan
    return auc, eer, tpr


def interval(values: Values) -> tuple[float, float]:
    """95 % percentile interval over draws; those that are NaN are left out, NaN when all are."""
    finite = values[~np.isnan(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
