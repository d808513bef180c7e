"""Error rates of presentation attack detection, by the names of ISO/IEC 30107-3. Scores are P(live): higher is more live.

At a threshold t, LIVE means score >= t. Rates are shares in [0, 1]; NaN where a rate has no samples.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def tpr_at_fpr(scores: Scores, live: Labels, rate: float) -> float:
    """Largest share of live scores accepted by a threshold that accepts at most the share `rate` of the attacks.

    No interpolation. With fewer than 1 / rate attacks this is the threshold above all attacks: see `resolvable`.
    """
    from sklearn.metrics import roc_curve

    if not live.any() or live.all():
        return float("nan")
    false_live, true_live, _ = roc_curve(live, scores, drop_intermediate=False)
    return float(true_live[false_live <= rate + 1e-12].max())


def resolvable(rate: float, attacks: int) -> bool:
    """Whether an error rate of `rate` can be seen at all among so many attacks: at least one error makes it."""
    return rate * attacks >= 1 - 1e-9


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
    edge, below = float(thresholds[best]), scores[scores < thresholds[best]]
    under = float(below.max()) if len(below) else edge
    middle = (edge + under) / 2
    threshold = middle if middle > under else edge  # neighbouring floats have no middle
    return EqualError(float((false_live[best] + 1 - true_live[best]) / 2), float(np.clip(threshold, 0, 1)))


def threshold_at_bpcer(scores: Scores, live: Labels, rate: float) -> float:
    """Largest of the live scores given that, as a threshold, rejects at most the share `rate` of them."""
    ordered = np.sort(scores[live])
    if not len(ordered):
        raise ValueError("a BPCER needs live scores")
    # 0.29 * 100 is 28.999999999999996
    return float(ordered[min(int(np.floor(rate * len(ordered) + 1e-9)), len(ordered) - 1)])


def calibration_error(scores: Scores, live: Labels, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015) with both classes weighing the same: the mean distance, over equally
    wide bins of the score, of its mean from the share that is live. NaN when one class is absent."""
    if not live.any() or live.all():
        return float("nan")
    weights = np.where(live, 0.5 / live.sum(), 0.5 / (~live).sum())
    place = np.minimum((scores * bins).astype(int), bins - 1)
    off = np.bincount(place, weights * (scores - live), minlength=bins)
    return float(np.abs(off).sum())


def _share(errors: npt.NDArray[np.bool_]) -> float:
    return float(errors.mean()) if errors.size else float("nan")
