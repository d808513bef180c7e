import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dtda.core import metrics

SCORES = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.1])
LIVE = np.array([True, True, True, True, False, False, False, False])
TYPES = ["", "", "", "", "print", "print", "phone", "phone"]


def test_iso_rates_worked_by_hand():
    # at 0.5: live 0.2 is rejected (1 of 4), attack 0.6 is accepted (1 of 4), a print
    assert metrics.bpcer(SCORES, LIVE, 0.5) == 0.25
    assert metrics.apcer(SCORES, LIVE, 0.5) == 0.25
    assert metrics.apcer_by_type(SCORES, LIVE, TYPES, 0.5) == {"phone": 0.0, "print": 0.5}
    assert metrics.acer(SCORES, LIVE, TYPES, 0.5) == (0.25 + 0.5) / 2
    assert metrics.hter(SCORES, LIVE, 0.5) == 0.25


def test_a_score_on_the_threshold_is_live():
    assert metrics.apcer(np.array([0.5]), np.array([False]), 0.5) == 1.0
    assert metrics.bpcer(np.array([0.5]), np.array([True]), 0.5) == 0.0


def test_rates_without_samples_are_nan():
    assert np.isnan(metrics.bpcer(SCORES[4:], LIVE[4:], 0.5))
    assert np.isnan(metrics.auc(SCORES[4:], LIVE[4:]))
    with pytest.raises(ValueError, match="live and attack"):
        metrics.eer(SCORES[4:], LIVE[4:])


def test_eer_by_hand():
    found = metrics.eer(SCORES, LIVE)
    assert found.rate == 0.25
    assert metrics.bpcer(SCORES, LIVE, found.threshold) == metrics.apcer(SCORES, LIVE, found.threshold) == 0.25


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_eer_lies_between_its_own_errors(pairs):
    scores, live = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if live.all() or not live.any():
        return
    found = metrics.eer(scores, live)
    errors = sorted([metrics.bpcer(scores, live, found.threshold), metrics.apcer(scores, live, found.threshold)])
    assert errors[0] - 1e-9 <= found.rate <= errors[1] + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 0.99))
def test_threshold_keeps_its_bpcer(scores, rate):
    live = np.ones(len(scores), bool)
    threshold = metrics.threshold_at_bpcer(np.array(scores), live, rate)
    assert metrics.bpcer(np.array(scores), live, threshold) <= rate


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores, live = rng.random(300), rng.random(300) > 0.4
    assert metrics.auc(scores, live) == pytest.approx(roc_auc_score(live, scores))


def test_a_worked_iso_example():
    """ISO/IEC 30107-3: APCER of each instrument species on its own, the largest one reported; counted by hand at 0.6.

    20 bona fide, 3 below 0.6: BPCER 3/20. Mask 10 attacks, 1 at or above: 1/10. Print 5, 2 of them (one exactly on the
    threshold): 2/5. Replay 25, none: 0. Pooled 3/40. ACER = (0.15 + 0.4) / 2.
    """
    live = [0.9] * 12 + [0.6] * 5 + [0.59, 0.3, 0.0]
    mask, prints, replay = [0.7] + [0.2] * 9, [0.6, 0.8, 0.1, 0.1, 0.599], [0.5] * 25
    scores = np.array([*live, *mask, *prints, *replay])
    types = [""] * 20 + ["mask"] * 10 + ["print"] * 5 + ["replay"] * 25
    is_live = np.array([not kind for kind in types])
    assert metrics.bpcer(scores, is_live, 0.6) == 3 / 20
    assert metrics.apcer_by_type(scores, is_live, types, 0.6) == {"mask": 1 / 10, "print": 2 / 5, "replay": 0.0}
    assert metrics.apcer(scores, is_live, 0.6) == 3 / 40
    assert metrics.acer(scores, is_live, types, 0.6) == pytest.approx(0.275)
    assert metrics.hter(scores, is_live, 0.6) == pytest.approx((3 / 20 + 3 / 40) / 2)


def test_a_wrong_polarity_shows():
    """With labels turned round the same scores are as bad as they were good: no figure is symmetric."""
    assert metrics.auc(SCORES, LIVE) == pytest.approx(13 / 16)
    assert metrics.auc(SCORES, ~LIVE) == pytest.approx(3 / 16)
    assert metrics.eer(SCORES, ~LIVE).rate == 0.75
    assert metrics.tpr_at_fpr(SCORES, LIVE, 0.0) == 0.75
    assert metrics.tpr_at_fpr(SCORES, ~LIVE, 0.0) == 0.0


def test_tpr_at_fpr_by_hand():
    # live 0.9 0.8 0.7 0.2, attacks 0.6 0.4 0.3 0.1: above 0.6 no attack and 3 of 4 live; one attack of four buys nothing
    assert [metrics.tpr_at_fpr(SCORES, LIVE, rate) for rate in (0.01, 0.24, 0.25, 0.75)] == [0.75, 0.75, 0.75, 1.0]
    assert np.isnan(metrics.tpr_at_fpr(SCORES[:4], LIVE[:4], 0.1))
    tied = np.array([0.5, 0.5, 0.5, 0.5])
    assert metrics.tpr_at_fpr(tied, np.array([True, True, False, False]), 0.1) == 0.0


@pytest.mark.parametrize(("rate", "attacks", "seen"), [(0.01, 99, False), (0.01, 100, True), (0.001, 1000, True)])
def test_a_rate_needs_as_many_attacks(rate, attacks, seen):
    assert metrics.resolvable(rate, attacks) is seen


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2, max_size=40))
@example([(0.0, False)] * 4 + [(0.25, False), (0.25, True), (0.5, False), (0.5, True), (0.75, False)])
def test_auc_is_scikit_learns_and_tpr_the_best_threshold_with_ties(pairs):
    scores, live = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if live.all() or not live.any():
        return
    assert metrics.auc(scores, live) == pytest.approx(roc_auc_score(live, scores))
    # By the definition, over every threshold there is; scikit-learn's roc_curve drops those on straight stretches.
    thresholds = [t for t in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25) if (scores[~live] >= t).mean() <= 0.3]
    best = max((scores[live] >= t).mean() for t in thresholds)
    assert metrics.tpr_at_fpr(scores, live, 0.3) == pytest.approx(best)


def test_neighbouring_floats_keep_the_threshold_above_the_attack():
    scores = np.array([0.5, np.nextafter(0.5, 0)])
    found = metrics.eer(scores, np.array([True, False]))
    assert found.rate == 0
    assert metrics.hter(scores, np.array([True, False]), found.threshold) == 0


def test_threshold_at_bpcer_takes_all_it_may():
    scores, live = np.arange(100) / 100, np.ones(100, bool)
    assert metrics.threshold_at_bpcer(scores, live, 0.29) == 0.29  # 0.29 * 100 is 28.999999999999996
    assert metrics.threshold_at_bpcer(scores, live, 0.0) == 0.0
    assert metrics.threshold_at_bpcer(scores, live, 1.0) == 0.99
    with pytest.raises(ValueError, match="live scores"):
        metrics.threshold_at_bpcer(scores, ~live, 0.1)


def test_calibration_error_by_hand():
    scores = np.array([0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9])
    live = np.array([True, True, True, False, False, False, False, False])
    # The bin of 0.9 holds half the weight as live, a tenth as attack; that of 0.1 four tenths as attack.
    assert metrics.calibration_error(scores, live) == pytest.approx(abs(0.5 * 0.1 - 0.1 * 0.9) + 0.4 * 0.1)
    rng = np.random.default_rng(0)
    even = rng.uniform(size=200_000)
    true = rng.uniform(size=len(even)) < even  # both classes as likely, so nothing to correct
    assert metrics.calibration_error(even, true) < 0.01
    assert metrics.calibration_error(even**2, true) > 0.1
    assert np.isnan(metrics.calibration_error(scores, np.ones(8, bool)))
