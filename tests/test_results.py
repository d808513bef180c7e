"""What is told of every epoch: the test part is judged at the threshold of the source dev part."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from dtda.core import metrics
from dtda.core.scores import About, make_table
from dtda.core.training import results

DEV = {"live": (0.6, 0.7, 0.8), "spoof": (0.1, 0.2, 0.3)}  # equal errors at 0.45
TEST = {"live": (0.3, 0.35, 0.9), "spoof": (0.1, 0.15, 0.5)}


def _table(*_):
    parts = {"dev": DEV, "test": TEST}
    named = [
        (part, label, number, score)
        for part, scores in parts.items()
        for label, values in scores.items()
        for number, score in enumerate(values)
    ]
    rows = [(f"{p}{x}{n}", f"{p}{x}{n}", p, f"{p}{n}", x, "" if x == "live" else "print", p) for p, x, n, _ in named]
    return make_table(rows, [score for *_, score in named], About())


def test_the_honest_hter_is_at_the_dev_threshold(monkeypatch):
    monkeypatch.setattr(results, "score_table", _table)
    material = SimpleNamespace(fold=SimpleNamespace(dev=(), test=()), chips=None)
    row = results.of_epoch(nn.Identity(), material, track_target=True)
    assert row["dev_threshold"] == pytest.approx(0.45)
    # at 0.45 two of three live pictures are refused and one of three attacks is accepted
    assert row["test_hter"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    live = np.array([True] * 3 + [False] * 3)
    own = metrics.eer(np.array([*TEST["live"], *TEST["spoof"]]), live)
    assert row["test_eer"] == pytest.approx(own.rate)
    assert own.rate < row["test_hter"]  # the test data's own threshold would flatter
