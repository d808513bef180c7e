"""Rank correlation, equal verdicts and quantiles of students on the same pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dtda.core.agreement import LEVELS, agreements, spreads

LIVE = np.array([True, True, True, False, False, False])
GROUPS = {"all": np.ones(6, bool), "live": LIVE}


def test_ranks_agree_whatever_the_scale_and_verdicts_by_their_own_threshold():
    p = np.array([0.9, 0.7, 0.6, 0.3, 0.2, 0.1])
    found = {(each.one, each.other, each.group): each for each in agreements(
        {"a": p, "b": p**3, "c": 1 - p}, {"a": 0.5, "b": 0.5, "c": 0.5}, GROUPS
    )}  # fmt: skip
    assert len(found) == 6
    assert found["a", "b", "all"].spearman == pytest.approx(1)
    assert found["a", "b", "all"].same == pytest.approx(4 / 6)  # b gives 0.343 and 0.216 to two that a accepts
    assert found["a", "c", "live"].spearman == pytest.approx(-1)
    logit = np.log(p / (1 - p))
    (again,) = agreements({"a": logit, "b": p}, {"a": 0, "b": 0.5}, {"all": GROUPS["all"]})
    assert (again.spearman, again.same) == (pytest.approx(1), 1)


def test_what_was_not_scored_by_both_does_not_count_and_a_flat_student_has_no_ranks():
    one = np.array([0.1, np.nan, 0.3, 0.4, 0.5, 0.6])
    other = np.array([0.5, 0.5, 0.5, 0.5, np.nan, 0.5])
    (found,) = agreements({"one": one, "other": other}, {"one": 0.5, "other": 0.6}, {"all": GROUPS["all"]})
    assert found.count == 4
    assert np.isnan(found.spearman)
    assert found.same == 0.75
    assert not list(agreements({"one": one, "other": other}, {"one": 0, "other": 0}, {"live": LIVE}))  # two are too few


def test_spreads():
    p = np.array([0.1, 0.2, np.nan, 0.4, 0.5, 0.6])
    all_of_it, live = spreads({"a": p}, {"a": 0.2}, GROUPS)
    assert (all_of_it.count, live.count) == (5, 2)
    assert all_of_it.quantiles[LEVELS.index(50)] == pytest.approx(0.4)
    assert all_of_it.accepted == pytest.approx(0.8)
    assert live.accepted == 0.5
