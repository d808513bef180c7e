import numpy as np
import pytest
from hypothesis import given
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


def test_bootstrap_resamples_whole_units():
    values = np.repeat(np.arange(40.0), 5)
    units = [f"s{int(v)}" for v in values]
    low, high = metrics.bootstrap(lambda i: float(values[i].mean()), units, draws=400)
    assert low < values.mean() < high
    # 40 units of sd 11.5: the interval is about +-1.96 * 11.5 / sqrt(40) = 3.6; single samples would give 1.6
    assert 5 < high - low < 9
