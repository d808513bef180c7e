"""Plots of an evaluation: ROC and DET curves, histograms of the scores, and a t-SNE map of the student's features.

Drawn without pyplot, so that no window system is touched and nothing global is left behind.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from dtda.core import metrics
from dtda.core.evaluate import Report, at_level, groups, scored
from dtda.core.metrics import Labels, Scores
from dtda.core.scores import ScoreTable
from dtda.core.sidecar import write_atomic
from dtda.core.tables import title
from dtda.core.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind people too (jfly.uni-koeln.de/color), without their yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F3C8D", "#666666")
LIVE, ATTACK = COLOURS[0], COLOURS[1]
TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of DET axes
MAP_POINTS = 2000

Scale = Callable[[float], float]


def curves(table: ScoreTable, report: Report) -> dict[str, Figure]:
    """The figures that need scores only, by file name: roc, det, scores."""
    everything = scored(at_level(table, report.level))
    dev, test = everything.of("dev"), everything.of("test")
    lines = _lines(dev, test)
    default = report.thresholds["default"].value
    roc, axes = _canvas(f"ROC: {title(report)}", 6.4, 5.6)
    for number, (name, scores, live) in enumerate(lines):
        _roc_line(axes, name, scores, live, number)
    _mark(axes, test, default, report.target_threshold, _same, lambda bpcer: 1 - bpcer)
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="attacks accepted (APCER = FPR)", ylabel="live accepted (1 - BPCER = TPR)")
    axes.legend(loc="lower right", fontsize=8)
    det, axes = _canvas(f"DET: {title(report)}", 6.4, 5.6)
    for number, (name, scores, live) in enumerate(lines):
        _det_line(axes, name, scores, live, number)
    _mark(axes, test, default, report.target_threshold, _deviate, _deviate)
    _det_axes(axes)
    return {"roc": roc, "det": det, "scores": _histograms(dev, test, report)}


def feature_map(features: Floats, domains: Sequence[str], live: Labels, targets: Sequence[str], name: str) -> Figure:
    """t-SNE of features [N, width], after PCA to at most 50 dimensions: a colour for each domain, dots are live and crosses
    attacks; those of target domains have a black edge.

    Distances between far clusters and their sizes mean nothing in such a map; whether domains mix does.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    kept = min(50, *features.shape)
    reduced = PCA(kept, random_state=0).fit_transform(features)
    perplexity = min(30.0, max(2.0, (len(features) - 1) / 4))
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    figure, axes = _canvas(f"t-SNE of features: {name}", 8.2, 5.6)
    where = np.array(domains)
    for number, domain in enumerate(sorted(set(domains), key=lambda each: (each in targets, each))):
        colour = COLOURS[number % len(COLOURS)]
        side = "target" if domain in targets else "source"
        edge = "black" if domain in targets else "white"
        for chosen, kind, marker in ((live, "live", "o"), (~live, "attack", "X")):
            x, y = points[(where == domain) & chosen].T
            axes.scatter(x, y, s=22, marker=marker, color=colour, edgecolors=edge, linewidths=0.5, alpha=0.8,
                         label=f"{domain} ({side}), {kind}")  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return figure


def chosen_for_map(keys: Sequence[tuple[str, ...]], seed: int = 0) -> list[int]:
    """At most MAP_POINTS indices, as equal in number for every key (domain, label) as there are."""
    rng = np.random.default_rng(seed)
    names = sorted(set(keys))
    shuffled = {name: rng.permutation([i for i, key in enumerate(keys) if key == name]).tolist() for name in names}
    chosen: list[int] = []
    left = MAP_POINTS
    for done, name in enumerate(sorted(names, key=lambda each: len(shuffled[each]))):
        share = shuffled[name][: left // (len(names) - done)]
        chosen += share
        left -= len(share)
    return sorted(chosen)


def save(folder: Path, figures: dict[str, Figure]) -> None:
    """Each as NAME.png and NAME.svg; the bytes depend on the figures alone."""
    import matplotlib

    for name, figure in figures.items():
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            data = io.BytesIO()
            with matplotlib.rc_context({"svg.hashsalt": name}):
                figure.savefig(data, format=kind, dpi=150, metadata=metadata)
            write_atomic(folder / f"{name}.{kind}", data.getvalue())


def _canvas(name: str, width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(name, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _lines(dev: ScoreTable, test: ScoreTable) -> list[tuple[str, Scores, Labels]]:
    """All test data first, then its attack types (or domains and types, where there are few), then source dev."""
    rows = [(name, group, mask) for name, group, mask in groups(test)]
    wanted = "attack type" if any(group == "attack type" for _, group, _ in rows) else "domain and attack type"
    several = len({name for name, group, _ in rows if group == wanted}) > 1
    chosen: list[tuple[str, Scores, Labels]] = [("test, all", test.p_live, test.live)]
    for name, group, mask in rows:
        if several and group == wanted and test.live[mask].any() and not test.live[mask].all():
            chosen.append((name, test.p_live[mask], test.live[mask]))
    return chosen + ([("dev (source)", dev.p_live, dev.live)] if len(dev) else [])


def _style(name: str, number: int) -> dict[str, Any]:
    if name == "test, all":
        return {"color": "black", "linewidth": 2.0, "zorder": 4}
    if name == "dev (source)":
        return {"color": "0.5", "linewidth": 1.4, "linestyle": "--"}
    dashes = ("-", "-.", ":")[(number - 1) // len(COLOURS) % 3]
    return {"color": COLOURS[(number - 1) % len(COLOURS)], "linewidth": 1.2, "linestyle": dashes}


def _roc_line(axes: Axes, name: str, scores: Scores, live: Labels, number: int) -> None:
    from sklearn.metrics import roc_curve

    accepted_attack, accepted_live, _ = roc_curve(live, scores, drop_intermediate=False)
    label = f"{name}: AUC {100 * metrics.auc(scores, live):.1f} %"
    axes.plot(accepted_attack, accepted_live, label=label, drawstyle="steps-post", **_style(name, number))


def _det_line(axes: Axes, name: str, scores: Scores, live: Labels, number: int) -> None:
    from sklearn.metrics import det_curve

    apcer, bpcer, _ = det_curve(live, scores)
    label = f"{name}: EER {100 * metrics.eer(scores, live).rate:.1f} %"
    axes.plot([_deviate(x) for x in apcer], [_deviate(y) for y in bpcer], label=label, **_style(name, number))


def _mark(axes: Axes, test: ScoreTable, default: float, own: float, x: Scale, y: Scale) -> None:
    """Both working points on the curve of all test data. x, y: from APCER and BPCER to the axes."""
    for threshold, marker, label in (
        (default, "o", "honest: threshold from dev"),
        (own, "D", "field: EER of the test"),
    ):
        apcer = metrics.apcer(test.p_live, test.live, threshold)
        bpcer = metrics.bpcer(test.p_live, test.live, threshold)
        axes.plot(x(apcer), y(bpcer), marker=marker, markersize=7, linestyle="", color="black", markerfacecolor="white",
                  markeredgewidth=1.5, zorder=5, label=label)  # fmt: skip


def _same(share: float) -> float:
    return share


def _deviate(share: float) -> float:
    """Normal deviate; shares of 0 and 1 are drawn at the edge of the axes."""
    return NormalDist().inv_cdf(min(max(float(share), TICKS[0] / 2), 1 - TICKS[0] / 2))


def _det_axes(axes: Axes) -> None:
    """Ticks in per cent; the axes end where the curves or 60 % do."""
    both = [*TICKS, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    places = [_deviate(tick) for tick in both]
    names = [f"{100 * tick:g}" for tick in both]
    axes.set_xticks(places, names, fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    data = np.concatenate([np.c_[line.get_xdata(), line.get_ydata()] for line in axes.lines])
    inside = data[(data > _deviate(TICKS[0])) & (data < _deviate(1 - TICKS[0]))]
    low = min(_deviate(0.01), *inside) - 0.1 if len(inside) else _deviate(0.01)
    axes.plot([low, 3], [low, 3], color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlim=(low, _deviate(0.8)), ylim=(low, _deviate(0.8)), aspect="equal")
    axes.set(xlabel="APCER %, attacks accepted", ylabel="BPCER %, live rejected")
    axes.legend(loc="upper right", fontsize=8)


def _histograms(dev: ScoreTable, test: ScoreTable, report: Report) -> Figure:
    """Share of live and of attack scores per bin, dev above test, with both thresholds."""
    from matplotlib.figure import Figure

    parts = [("dev (source)", dev)] * bool(len(dev)) + [("test (target)", test)]
    figure = Figure(figsize=(8.2, 2.4 * len(parts) + 0.4), layout="constrained")
    panels = figure.subplots(len(parts), sharex=True, squeeze=False)[:, 0]
    figure.suptitle(f"scores per {report.level}: {title(report)}", fontsize=10)
    bins = np.linspace(0, 1, 41)
    for axes, (name, part) in zip(panels, parts, strict=True):
        for chosen, label, colour in ((part.live, "live", LIVE), (~part.live, "attack", ATTACK)):
            share = np.full(int(chosen.sum()), 100 / max(1, int(chosen.sum())))
            axes.hist(
                part.p_live[chosen], bins, weights=share, color=colour, alpha=0.55, label=f"{label} ({len(share)})"
            )
        axes.axvline(report.thresholds["default"].value, color="black", label="threshold from dev")
        if name.startswith("test"):
            axes.axvline(report.target_threshold, color="black", linestyle=":", label="EER of the test")
        axes.set(ylabel=f"{name}, %", xlim=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    panels[-1].set_xlabel("P(live)")
    return figure
