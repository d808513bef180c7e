"""How a student does: every epoch in one line, at the end with thresholds and tables. The test part chooses nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtda.core import metrics
from dtda.core.errors import DtdaError
from dtda.core.evaluate import working_points
from dtda.core.models.student import Student
from dtda.core.training.material import Material
from dtda.core.training.scoring import score, score_table, table
from dtda.core.types import Label


def of_epoch(student: Student, material: Material, track_target: bool) -> dict[str, float]:
    """Per video: AUC and EER of the source dev part with its threshold, and, if asked for, AUC, EER and HTER at that
    threshold of the test part."""
    parts = {"dev": material.fold.dev} | ({"test": material.fold.test} if track_target else {})
    scores = score_table(student, material.chips, parts)
    _check(scores.p_live)
    scores = scores.per_video()
    dev = scores.of("dev")
    equal = metrics.eer(dev.p_live, dev.live)
    row = {"dev_auc": metrics.auc(dev.p_live, dev.live), "dev_eer": equal.rate, "dev_threshold": equal.threshold}
    if track_target:
        test = scores.of("test")
        row |= {
            "test_auc": metrics.auc(test.p_live, test.live),
            "test_eer": metrics.eer(test.p_live, test.live).rate,
            "test_hter": metrics.hter(test.p_live, test.live, equal.threshold),
        }
    return row


def final(student: Student, material: Material) -> dict[str, Any]:
    """thresholds of the source dev part, and tables per picture of the fold's parts."""
    chips, fold = material.chips, material.fold
    scores = score(student, chips, fold.dev)
    _check(scores)
    live = np.array([chips.records[number].label is Label.LIVE for number in fold.dev])
    where = (
        f"dev identities of {', '.join(fold.sources)} ({int(live.sum())} live, {int((~live).sum())} attack pictures)"
    )
    points = working_points(scores, live, where)
    apart = not set(fold.targets) & set(fold.sources)
    titles = {
        "dev identities, source domains": fold.dev,
        "test identities, source domains": material.others if apart else fold.test,
        "test identities, held-out domains": fold.test if apart else (),
    }
    results = {
        title: table(
            scores if numbers is fold.dev else score(student, chips, numbers), chips, numbers, points["default"].value
        )
        for title, numbers in titles.items()
        if numbers
    }
    return {"thresholds": {name: point.model_dump() for name, point in points.items()}, "results": results}


def _check(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise DtdaError("the student's scores are not numbers any more; start again with a lower optim.lr.")
