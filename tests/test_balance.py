import numpy as np
import pytest

from dtda.core.data.balance import balanced_batches, overlap_weights


def test_weights_remove_a_shortcut_and_keep_the_rest():
    rng = np.random.default_rng(0)
    live = rng.random(4000) < 0.5
    brightness = rng.normal(0, 1, 4000) + 0.8 * live
    cues = np.column_stack([brightness, rng.normal(0, 1, 4000)]).astype(np.float32)
    groups = ["live" if is_live else "print" for is_live in live]
    weights = overlap_weights(cues, groups)
    assert abs(brightness[live].mean() - brightness[~live].mean()) > 0.7
    weighted = [np.average(brightness[mine], weights=weights[mine]) for mine in (live, ~live)]
    assert abs(weighted[0] - weighted[1]) < 0.05
    assert weights[live].mean() == pytest.approx(1, abs=0.02)
    assert weights[~live].mean() == pytest.approx(1, abs=0.02)


def test_opposite_shortcuts_of_two_attacks_are_both_removed():
    rng = np.random.default_rng(1)
    groups = np.array(["live", "print", "phone"])[rng.integers(0, 3, 6000)]
    shift = np.select([groups == "print", groups == "phone"], [-0.8, 0.8], 0.0)
    cue = (rng.normal(0, 1, 6000) + shift).astype(np.float32)
    weights = overlap_weights(cue[:, None], groups.tolist())
    means = [np.average(cue[groups == name], weights=weights[groups == name]) for name in ("live", "print", "phone")]
    assert np.ptp(means) < 0.12  # 1.6 before


def test_one_group_has_equal_weights():
    assert overlap_weights(np.ones((3, 2), np.float32), ["live"] * 3).tolist() == [1, 1, 1]


def test_batches_are_balanced_and_go_through_everything():
    groups = [("a", True)] * 50 + [("a", False)] * 10 + [("b", True)] * 5 + [("b", False)] * 35
    batches = list(balanced_batches(groups, 8, np.random.default_rng(0), 25))
    for batch in batches:
        counts = [sum(groups[i] == pair for i in batch) for pair in set(groups)]
        assert counts == [2, 2, 2, 2]
    drawn = [i for batch in batches for i in batch]
    assert set(drawn) == set(range(100))
    first = [i for i in drawn if groups[i] == ("a", True)]
    assert sorted(first) == list(range(50))  # none twice before all once


def test_odd_batches_rotate_the_extra_places():
    groups = [(domain, live) for domain in "abc" for live in (True, False) for _ in range(20)]
    drawn = [i for batch in balanced_batches(groups, 8, np.random.default_rng(0), 30) for i in batch]
    counts = [sum(groups[i] == pair for i in drawn) for pair in set(groups)]
    assert max(counts) - min(counts) <= 2


def test_too_small_a_batch_is_refused():
    with pytest.raises(ValueError, match="cannot hold 2 groups"):
        next(balanced_batches([("a", True), ("a", False)], 1, np.random.default_rng(0), 1))
