"""Plots: what is in them, and that the same scores give the same bytes."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc as area

from dtda.core.evaluate import evaluate
from dtda.core.plots import MAP_POINTS, chosen_for_map, curves, feature_map, save
from dtda.core.scores import About, make_table
from dtda.core.sidecar import Threshold


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    rows, scores = [], []
    for number in range(240):
        part, live = ("dev", "test")[number % 2], number % 6 < 2
        kind = "" if live else ("print", "phone")[number // 6 % 2]
        label = "live" if live else "spoof"
        rows.append((f"{number}", f"v{number}", "ab"[number % 2], f"s{number % 30}", label, kind, part))
        scores.append(float(np.clip(rng.normal(0.65 if live else 0.35, 0.15), 0, 1)) if number % 50 else math.nan)
    return make_table(rows, scores, About(name="tiny", protocol="p", fold="b", sources=["a"], targets=["b"]))


@pytest.fixture(scope="module")
def report(table):
    return evaluate(table, draws=20)


def _legend(figure):
    return [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]


def test_curves_have_all_types_and_both_thresholds(table, report):
    figures = curves(table, report)
    assert set(figures) == {"roc", "det", "scores"}
    names = _legend(figures["roc"])
    auc = report.rows[0].figures["auc"].value
    assert names[0] == f"test, all: AUC {100 * auc:.1f} %"
    assert [name.partition(":")[0] for name in names[1:]] == ["b phone", "b print", "dev (source)", "honest", "field"]
    axes = figures["roc"].axes[0]
    marks = {line.get_label(): line.get_xydata()[0] for line in axes.lines if len(line.get_xydata()) == 1}
    errors = report.rows[0].at["default"]
    assert marks["honest: threshold from dev"] == pytest.approx([errors["apcer"].value, 1 - errors["bpcer"].value])
    x, y = axes.lines[0].get_xydata().T
    assert area(x, y) == pytest.approx(auc)


def test_the_det_curve_is_in_normal_deviates(table, report):
    axes = curves(table, report)["det"].axes[0]
    ticks = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert ticks["50"] == pytest.approx(0)
    assert ticks["20"] == pytest.approx(-0.8416, abs=1e-4)  # of a standard normal table
    assert all(np.isfinite(line.get_xydata()).all() for line in axes.lines)


def test_histograms_show_shares_of_each_class(table, report):
    figure = curves(table, report)["scores"]
    assert len(figure.axes) == 2
    for axes in figure.axes:
        heights = [sum(patch.get_height() for patch in bars) for bars in axes.containers]
        assert heights == pytest.approx([100, 100])


def test_perfect_scores_and_scores_without_dev_are_drawn(table, tmp_path):
    test = table.of("test")
    about = About(thresholds={"default": Threshold(value=0.5, rule="fixed", split="none")})
    test = replace(test, p_live=np.where(test.live, 1.0, 0.0), about=about)
    figures = curves(test, evaluate(test, draws=20))
    assert not any("dev (source)" in name for name in _legend(figures["roc"]))
    save(tmp_path, figures)
    assert len(list(tmp_path.iterdir())) == 6


def test_the_same_scores_give_the_same_bytes(table, report, tmp_path):
    for name in ("one", "two"):
        save(tmp_path / name, {"roc": curves(table, report)["roc"]})
    for kind in ("png", "svg"):
        assert (tmp_path / "one" / f"roc.{kind}").read_bytes() == (tmp_path / "two" / f"roc.{kind}").read_bytes()
    assert (tmp_path / "one" / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_the_map_shows_domains_labels_and_sides():
    rng = np.random.default_rng(0)
    domains = ["a", "b", "c"] * 14
    live = np.arange(42) % 2 == 0
    features = rng.normal(size=(42, 8)).astype(np.float32)
    features[:, 0] += 20 * live
    figure = feature_map(features, domains, live, ["b"], "tiny")
    assert _legend(figure) == ["a (source), live", "a (source), attack", "c (source), live", "c (source), attack",
                               "b (target), live", "b (target), attack"]  # fmt: skip
    spots = figure.axes[0].collections
    assert sum(len(spot.get_offsets()) for spot in spots) == 42
    lives, attacks = (np.concatenate([s.get_offsets() for s in spots[i::2]]) for i in (0, 1))
    gap = np.linalg.norm(lives.mean(0) - attacks.mean(0))
    assert gap > lives.std() / 2
    again = feature_map(features, domains, live, ["b"], "tiny")
    np.testing.assert_array_equal(again.axes[0].collections[0].get_offsets(), spots[0].get_offsets())


def test_the_map_takes_as_many_of_every_group():
    keys = [("a", "live")] * 3000 + [("a", "spoof")] * 5000 + [("b", "live")] * 100
    chosen = chosen_for_map(keys)
    assert len(chosen) == len(set(chosen)) == MAP_POINTS
    assert Counter(keys[i] for i in chosen) == {("a", "live"): 950, ("a", "spoof"): 950, ("b", "live"): 100}
    assert chosen_for_map(keys[:50]) == list(range(50))
