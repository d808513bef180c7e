"""Do students agree, whatever the truth is: rank correlation of their scores, and where the scores of each lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Masks = Mapping[str, npt.NDArray[np.bool_]]
LEVELS = (5, 25, 50, 75, 95)
FEWEST = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two students on one group of pictures. spearman: rank correlation of logits, which is that of P(live): ranks are the
    same; NaN where one scores all alike. same: share of equal verdicts, each at its own threshold."""

    one: str
    other: str
    group: str
    count: int
    spearman: float
    same: float


@dataclass(frozen=True, slots=True)
class Spread:
    """P(live) of a student on one group of pictures. quantiles: at LEVELS, per cent. accepted: share at or above its
    threshold."""

    name: str
    group: str
    count: int
    quantiles: tuple[float, ...]
    accepted: float


def agreements(
    scores: Mapping[str, npt.NDArray[np.floating]], thresholds: Mapping[str, float], groups: Masks
) -> Iterator[Agreement]:
    """Of every two students. scores: P(live) [N], NaN where it was not scored. groups: masks [N]."""
    from scipy.stats import spearmanr

    for one, other in combinations(scores, 2):
        for group, chosen in groups.items():
            there = chosen & ~np.isnan(scores[one] + scores[other])
            first, second = scores[one][there], scores[other][there]
            if len(first) < FEWEST:
                continue
            flat = np.ptp(first) == 0 or np.ptp(second) == 0
            rank = float("nan") if flat else float(spearmanr(first, second).statistic)
            same = float(((first >= thresholds[one]) == (second >= thresholds[other])).mean())
            yield Agreement(one, other, group, len(first), rank, same)


def spreads(
    scores: Mapping[str, npt.NDArray[np.floating]], thresholds: Mapping[str, float], groups: Masks
) -> Iterator[Spread]:
    for name, values in scores.items():
        for group, chosen in groups.items():
            found = values[chosen & ~np.isnan(values)]
            if len(found):
                quantiles = tuple(float(value) for value in np.percentile(found, LEVELS))
                yield Spread(name, group, len(found), quantiles, float((found >= thresholds[name]).mean()))
