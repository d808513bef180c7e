"""Error rates of presentation attack detection, by the names of ISO/IEC 30107-3. Scores are P(live): higher is more live.

At a threshold t, LIVE means score >= t. Rates are shares in [0, 1]; NaN where a rate has no samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]


def bpcer(scores: Scores, live: Labels, threshold: float) -> float:
    """Bona fide presentation classification error rate: share of live scores below the threshold."""
    return _share(scores[live] < threshold)


def apcer(scores: Scores, live: Labels, threshold: float) -> float:
    """Attack presentation classification error rate: share of attack scores at or above the threshold, all types pooled."""
    return _share(scores[~live] >= threshold)


def apcer_by_type(scores: Scores, live: Labels, types: Sequence[str], threshold: float) -> dict[str, float]:
    """APCER of each presentation attack instrument species; ISO/IEC 30107-3 reports their maximum."""
    names = np.array(types)
    return {
        str(name): _share(scores[~live & (names == name)] >= threshold) for name in sorted(set(names[~live].tolist()))
    }


def acer(scores: Scores, live: Labels, types: Sequence[str], threshold: float) -> float:
    """Mean of BPCER and the largest APCER over types (as in the OULU-NPU protocol)."""
    worst = max(apcer_by_type(scores, live, types, threshold).values(), default=float("nan"))
    return (bpcer(scores, live, threshold) + worst) / 2


def hter(scores: Scores, live: Labels, threshold: float) -> float:
    """Half total error rate: mean of pooled APCER and BPCER."""
    return (apcer(scores, live, threshold) + bpcer(scores, live, threshold)) / 2


def auc(scores: Scores, live: Labels) -> float:
    """Area under the ROC curve; NaN when one class is absent."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(live, scores)) if live.any() and not live.all() else float("nan")


@dataclass(frozen=True, slots=True)
class EqualError:
    """rate: equal error rate, mean of both errors where they are closest. threshold: there."""

    rate: float
    threshold: float


def eer(scores: Scores, live: Labels) -> EqualError:
    """Equal error rate over the ROC's operating points. Raises ValueError when one class is absent."""
    from sklearn.metrics import roc_curve

    if not live.any() or live.all():
        raise ValueError("an equal error rate needs live and attack scores")
    false_live, true_live, thresholds = roc_curve(live, scores, drop_intermediate=False)
    gap = np.abs(false_live - (1 - true_live))
    best = int(np.argmin(gap))
    # Between two neighbouring scores every threshold acts alike: take the middle, not the edge on a sample.
    below = scores[scores < thresholds[best]]
    threshold = (thresholds[best] + below.max()) / 2 if len(below) else thresholds[best]
    return EqualError(float((false_live[best] + 1 - true_live[best]) / 2), float(np.clip(threshold, 0, 1)))


def threshold_at_bpcer(scores: Scores, live: Labels, rate: float) -> float:
    """Largest threshold that rejects at most the share `rate` of the live scores given."""
    ordered = np.sort(scores[live])
    if not len(ordered):
        raise ValueError("a BPCER needs live scores")
    return float(ordered[int(np.floor(rate * len(ordered)))])


def bootstrap(
    statistic: Callable[[npt.NDArray[np.intp]], float], units: Sequence[str], draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of sample indices, resampling whole units (subjects, clips).

    Draws on which the statistic is NaN (a class is missing) are left out; NaN when all are.
    """
    names, inverse = np.unique(np.array(units), return_inverse=True)
    members = [np.flatnonzero(inverse == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        chosen = rng.integers(len(members), size=len(members))
        values.append(statistic(np.concatenate([members[unit] for unit in chosen])))
    finite = np.array(values)[~np.isnan(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _share(errors: npt.NDArray[np.bool_]) -> float:
    return float(errors.mean()) if errors.size else float("nan")
