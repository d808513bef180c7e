"""The figures of one evaluation: what the field prints and what is honest, side by side, with intervals.

Field convention (SSDG, SSAN, SA-FAS, FLIP): the threshold is where both errors are equal *on the test data*, and the epoch
is the best one there. Honest: threshold, and epoch if any is picked, come from the dev data of the source domains.
Everything is computed from a `ScoreTable`; no model is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dtda.core import metrics
from dtda.core.epochs import Epochs, summarise
from dtda.core.errors import DtdaError
from dtda.core.metrics import Labels, Scores
from dtda.core.resampling import Draws, Values, draw, interval, separation
from dtda.core.scores import About, ScoreTable
from dtda.core.sidecar import Threshold

LEVELS = ("video", "picture")
UNITS = ("auto", "subject", "video", "picture")
FEW = 10  # units below which resampling them says little
RATES = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_0.1": 0.001}
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Figure:
    """A share in [0, 1] with its 95 % interval; NaN where there is none."""

    value: float
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of a part of the test data. group: all, attack type, domain, or domain and attack type.

    live, attack: how many were scored. figures: auc, eer, tpr_at_fpr_1, tpr_at_fpr_0.1 (NaN where so few attacks cannot
    resolve them), ece (calibration error), apnrr and bpnrr (non-response: share without a usable face, all types pooled).
    at: for each working point hter, bpcer, apcer (pooled), apcer_max (of the worst attack type) and acer (with apcer_max).
    """

    name: str
    group: str
    live: int
    attack: int
    figures: dict[str, Figure]
    at: dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Report:
    """thresholds: working points, `default` (source EER) first. target_threshold: where the test data's errors are equal.
    rows: the first is over all. unit, units: what was resampled and how many there were."""

    about: About
    level: str
    unit: str
    units: int
    draws: int
    thresholds: dict[str, Threshold]
    target_threshold: float
    rows: tuple[Row, ...]
    epochs: Epochs | None = None
    notes: tuple[str, ...] = field(default=())


def evaluate(table: ScoreTable, level: str = "video", units: str = "auto", draws: int = 1000, seed: int = 0) -> Report:
    """The report of a score table. level: what a score is of. units: what the bootstrap draws (see `choose_unit`).

    Raises DtdaError when a part lacks live or attack scores, or when nothing gives a threshold beforehand.
    """
    everything = at_level(table, level)
    dev, test = scored(everything.of("dev")), everything.of("test")
    if len(dev):
        _require_both("dev", dev, level)
    answered = scored(test)
    _require_both("test", answered, level)
    thresholds, notes = _thresholds(dev, table.about, level)
    unit, names, said = choose_unit(test, level, units)
    drawn = draw(names, draws, seed)
    rows = tuple(_row(name, group, test, chosen, drawn, thresholds) for name, group, chosen in groups(test))
    return Report(
        about=table.about,
        level=level,
        unit=unit,
        units=len(set(names)),
        draws=draws,
        thresholds=thresholds,
        target_threshold=metrics.eer(answered.p_live, answered.live).threshold,
        rows=rows,
        epochs=summarise(table.about.history),
        notes=(*table.about.notes, *notes, *said, *_warnings(dev, rows[0])),
    )


def at_level(table: ScoreTable, level: str) -> ScoreTable:
    return table.per_video() if level == "video" else table


def scored(table: ScoreTable) -> ScoreTable:
    """Without the non-responses."""
    return table.where(~np.isnan(table.p_live))


def working_points(scores: Scores, live: Labels, split: str) -> dict[str, Threshold]:
    """The thresholds every student is used at, fixed on dev scores; split: in words, for the sidecar."""
    found = {
        "default": (metrics.eer(scores, live).threshold, "equal error rate"),
        "bpcer_1": (metrics.threshold_at_bpcer(scores, live, 0.01), "BPCER 1 %"),
        "bpcer_5": (metrics.threshold_at_bpcer(scores, live, 0.05), "BPCER 5 %"),
    }
    return {name: Threshold(value=value, rule=rule, split=split) for name, (value, rule) in found.items()}


def choose_unit(test: ScoreTable, level: str, wanted: str) -> tuple[str, list[str], list[str]]:
    """What to resample: its name, the unit of each row, and sentences about the choice.

    Scores of one person, and of one video, err together: drawing them one by one would give intervals that are too
    narrow. auto: people where they are named and at least FEW, else videos. Raises DtdaError for people without names.
    """
    videos = [f"{domain}\x1f{video}" for domain, video in zip(test.domain, test.video, strict=True)]
    subjects = test.subject.tolist()
    named = len(set(subjects)) if all(subjects) else 0
    notes = []
    if wanted == "subject" and not named:
        raise DtdaError("intervals over subjects need the subject of every test picture; use --units video.")
    if wanted == "auto":
        wanted = "subject" if named >= FEW else "video"
        if 0 < named < FEW:
            notes.append(f"Only {named} test subjects: intervals are over videos, and too narrow for other people.")
        elif not named:
            notes.append("Subjects are not named: intervals are over videos, too narrow if people stand in several.")
    if wanted == "picture" and level == "video":
        wanted = "video"
    chosen = {"subject": subjects, "video": videos, "picture": [str(number) for number in range(len(test))]}
    return wanted, chosen[wanted], notes


def _require_both(name: str, part: ScoreTable, level: str) -> None:
    if not len(part):
        raise DtdaError(f"the {name} part has no scored {level}; error rates need live and attack ones.")
    if part.live.all() or not part.live.any():
        only = "live" if part.live.all() else "attack"
        raise DtdaError(f"the {name} part has only {only} {level}s; error rates need live and attack ones.")


def _thresholds(dev: ScoreTable, about: About, level: str) -> tuple[dict[str, Threshold], list[str]]:
    if len(dev):
        counts = f"{int(dev.live.sum())} live, {int((~dev.live).sum())} attack {level}s"
        split = f"dev part of {', '.join(sorted(set(dev.domain.tolist())))} ({counts})"
        return working_points(dev.p_live, dev.live, split), []
    if "default" not in about.thresholds:
        raise DtdaError(
            "there are no dev scores, so no threshold is fixed before the test; add rows of source data with part dev."
        )
    return about.thresholds, ["Thresholds are the student's own: no dev data was scored here."]


def groups(test: ScoreTable) -> Iterator[tuple[str, str, Labels]]:
    """(name, group, mask) of each row. One domain: rows of domains would repeat those over all, and are left out."""
    domain, live, kinds = test.domain, test.live, test.attack_type
    yield "all", "all", np.ones(len(live), bool)
    domains = sorted(set(domain.tolist()))
    if len(domains) > 1:
        for kind in sorted(set(kinds[~live].tolist())):
            yield kind or "attack", "attack type", live | (kinds == kind)
        for name in domains:
            yield name, "domain", domain == name
    for name in domains:
        for kind in sorted(set(kinds[~live & (domain == name)].tolist())):
            yield (
                f"{name} {kind or 'attack'}".strip(),
                "domain and attack type",
                (domain == name) & (live | (kinds == kind)),
            )


def _row(
    name: str, group: str, test: ScoreTable, chosen: Labels, drawn: Draws, thresholds: dict[str, Threshold]
) -> Row:
    lost = np.isnan(test.p_live)
    figures = {
        name: Figure(float(lost[kind].mean()) if kind.any() else NAN)
        for name, kind in (("apnrr", chosen & ~test.live), ("bpnrr", chosen & test.live))
    }
    chosen = chosen & ~lost
    scores, live = test.p_live[chosen], test.live[chosen]
    apart = separation(test.p_live, test.live, drawn, chosen, tuple(RATES.values()))
    both = bool(live.any() and not live.all())
    figures |= {
        "auc": Figure(metrics.auc(scores, live), *interval(apart.auc)),
        "eer": Figure(metrics.eer(scores, live).rate if both else NAN, *interval(apart.eer)),
        "ece": Figure(metrics.calibration_error(scores, live)),
    }
    attacks = int((~live).sum())
    for number, (key, rate) in enumerate(RATES.items()):
        seen = metrics.resolvable(rate, attacks)
        value = metrics.tpr_at_fpr(scores, live, rate)
        figures[key] = Figure(value, *interval(apart.tpr[:, number])) if seen else Figure(NAN)
    at = {point: _errors(test, chosen, drawn, threshold.value) for point, threshold in thresholds.items()}
    return Row(name, group, int(live.sum()), attacks, figures, at)


def _errors(test: ScoreTable, chosen: Labels, drawn: Draws, threshold: float) -> dict[str, Figure]:
    """Every error rate of the rows chosen at a fixed threshold."""
    accepted, live, attack = test.p_live >= threshold, chosen & test.live, chosen & ~test.live
    bpcer, apcer = drawn.rate(~accepted, live), drawn.rate(accepted, attack)
    kinds = [attack & (test.attack_type == kind) for kind in sorted(set(test.attack_type[attack].tolist()))]
    by_kind = [drawn.rate(accepted, kind) for kind in kinds]
    worst = np.fmax.reduce(by_kind) if by_kind else apcer
    scores, labels, types = test.p_live[chosen], test.live[chosen], test.attack_type[chosen].tolist()
    values = metrics.apcer_by_type(scores, labels, types, threshold)
    most = max(values.values(), default=NAN)
    rates = {
        "bpcer": _bounded(metrics.bpcer(scores, labels, threshold), bpcer, drawn.present(live)),
        "apcer": _bounded(metrics.apcer(scores, labels, threshold), apcer, drawn.present(attack)),
        "apcer_max": _bounded(most, worst, min((drawn.present(kind) for kind in kinds), default=0)),
    }
    for name, other, spread in (("hter", "apcer", apcer), ("acer", "apcer_max", worst)):
        pair = rates["bpcer"], rates[other]
        low, high = interval((bpcer + spread) / 2)
        if low == high:  # no draw differs: the bounds of both errors
            low, high = (pair[0].low + pair[1].low) / 2, (pair[0].high + pair[1].high) / 2
        rates[name] = Figure((pair[0].value + pair[1].value) / 2, low, high)
    return rates


def _bounded(value: float, draws: Values, units: int) -> Figure:
    """With its interval. No error, or nothing but errors, is the same in every draw: then the exact binomial bound
    (Clopper and Pearson 1934) for so many units, for 0 of 100 is not the certainty of 0."""
    low, high = interval(draws)
    if low == high and value in (0.0, 1.0):
        edge = 1 - 0.025 ** (1 / units)
        low, high = (0.0, edge) if value == 0 else (1 - edge, 1.0)
    return Figure(value, low, high)


def _warnings(dev: ScoreTable, everything: Row) -> list[str]:
    notes = []
    if len(dev) and metrics.auc(dev.p_live, dev.live) < 0.5:
        notes.append(
            "The dev AUC is below 50 %: are the labels, or the score's direction, inverted? Higher is more live."
        )
    if everything.figures["auc"].value < 0.5:
        notes.append("The test AUC is below 50 %: on this data the score points the wrong way.")
    return notes
