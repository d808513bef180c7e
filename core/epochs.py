"""The epochs of a run by their test figures: the one the field would pick, the one dev data picks, and their spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

LAST = 10  # epochs of mean and sd, as method papers report


@dataclass(frozen=True, slots=True)
class Epoch:
    """Test figures of one epoch, 1-based; eer is the field's HTER, hter is at that epoch's dev threshold."""

    number: int
    eer: float
    auc: float
    hter: float


@dataclass(frozen=True, slots=True)
class Epochs:
    """count: epochs trained. on_test, on_dev: the best one by test EER and by dev EER. mean, sd: over the last `last`."""

    count: int
    on_test: Epoch
    on_dev: Epoch
    last: int
    mean: Epoch
    sd: Epoch


def summarise(history: Sequence[Mapping[str, float | None]]) -> Epochs | None:
    """None unless every epoch has test_eer, test_auc, test_hter and dev_eer."""
    needed = ("test_eer", "test_auc", "test_hter", "dev_eer")
    if not history or any(entry.get(key) is None for entry in history for key in needed):
        return None
    rows = [{key: float(entry[key] or 0.0) for key in needed} for entry in history]
    epochs = [Epoch(n, row["test_eer"], row["test_auc"], row["test_hter"]) for n, row in enumerate(rows, 1)]
    last = epochs[-LAST:]

    def over(summary: Callable[[list[float]], float]) -> Epoch:
        return Epoch(0, *(summary([getattr(epoch, key) for epoch in last]) for key in ("eer", "auc", "hter")))

    return Epochs(
        count=len(epochs),
        on_test=min(epochs, key=lambda epoch: epoch.eer),
        on_dev=min(epochs, key=lambda epoch: rows[epoch.number - 1]["dev_eer"]),
        last=len(last),
        mean=over(statistics.fmean),
        sd=over(lambda values: statistics.stdev(values) if len(values) > 1 else math.nan),
    )
