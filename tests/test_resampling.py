"""Draws of whole units, against scikit-learn on the samples a draw really holds."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dtda.core import metrics
from dtda.core.resampling import Draws, draw, interval, separation


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    live = rng.random(60) < 0.4
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * live, 0.2), 0, 1), 1)  # many ties
    return scores, live, [f"s{number % 17}" for number in range(60)]


def test_every_draw_is_what_its_samples_give(data):
    scores, live, units = data
    draws = draw(units, 40)
    found = separation(scores, live, draws, np.ones(60, bool), (0.05, 0.3))
    wrong = draws.rate(scores < 0.5, live)
    for number, counts in enumerate(draws.counts):
        samples = np.repeat(np.arange(60), counts[draws.unit].astype(int))
        s, y = scores[samples], live[samples]
        assert found.auc[number] == pytest.approx(roc_auc_score(y, s))
        assert found.eer[number] == pytest.approx(metrics.eer(s, y).rate)
        assert found.tpr[number, 0] == pytest.approx(metrics.tpr_at_fpr(s, y, 0.05))
        assert found.tpr[number, 1] == pytest.approx(metrics.tpr_at_fpr(s, y, 0.3))
        assert wrong[number] == pytest.approx(metrics.bpcer(s, y, 0.5))


def test_a_draw_of_each_once_is_the_point_estimate(data):
    scores, live, _ = data
    once = Draws(np.ones((1, 60), np.float32), np.arange(60))
    found = separation(scores, live, once, np.ones(60, bool), (0.1,))
    assert found.auc[0] == pytest.approx(metrics.auc(scores, live))
    assert found.eer[0] == pytest.approx(metrics.eer(scores, live).rate)


def test_chunks_change_nothing(data, monkeypatch):
    scores, live, units = data
    whole = separation(scores, live, draw(units, 30), live | (scores > 0.2), (0.1,))
    monkeypatch.setattr("dtda.core.resampling.CELLS", 7)
    parts = separation(scores, live, draw(units, 30), live | (scores > 0.2), (0.1,))
    np.testing.assert_allclose(whole.auc, parts.auc)
    np.testing.assert_allclose(whole.tpr, parts.tpr)


def test_whole_units_are_drawn():
    draws = draw(["a", "a", "b", "c"], 200)
    assert draws.counts.shape == (200, 3)
    assert set(draws.counts.sum(1)) == {3}
    assert draws.unit[0] == draws.unit[1]
    assert draws.present(np.array([True, True, False, True])) == 2


def test_the_interval_widens_with_the_units():
    """40 units of five equal samples: sd of the mean error is sqrt(p q / 40), not sqrt(p q / 200)."""
    wrong = np.repeat(np.arange(40) % 2 == 0, 5)
    units = [str(number // 5) for number in range(200)]
    low, high = interval(draw(units, 2000).rate(wrong, np.ones(200, bool)))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 40), rel=0.12)


def test_the_interval_holds_the_truth_nineteen_times_of_twenty():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        wrong = rng.random(80) < 0.3
        low, high = interval(draw([str(number) for number in range(80)], 300, seed).rate(wrong, np.ones(80, bool)))
        held += low <= 0.3 <= high
    assert 0.90 <= held / 200 <= 0.98


def test_draws_without_a_class_are_left_out():
    live = np.array([True, False, False])
    found = separation(np.array([0.9, 0.5, 0.1]), live, draw(["a", "b", "c"], 100), np.ones(3, bool), (0.5,))
    lacking = np.isnan(found.auc)
    assert 0 < lacking.sum() < 100
    assert np.isnan(found.eer[lacking]).all()
    assert np.isnan(found.tpr[lacking]).all()
    assert interval(found.auc) == (1.0, 1.0)
    nothing = separation(np.zeros(3), live, draw(["a", "b", "c"], 5), np.zeros(3, bool), (0.5,))
    assert all(np.isnan(value) for value in interval(nothing.auc))


def test_the_same_seed_draws_the_same(data):
    np.testing.assert_array_equal(draw(data[2], 20, 3).counts, draw(data[2], 20, 3).counts)
    assert not np.array_equal(draw(data[2], 20, 3).counts, draw(data[2], 20, 4).counts)
