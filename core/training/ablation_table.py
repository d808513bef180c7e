"""The ablation table: figures of its rows from their score files, with intervals over people, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dtda.core import metrics
from dtda.core.errors import DtdaError
from dtda.core.resampling import Values, draw, interval, separation
from dtda.core.scores import ScoreTable
from dtda.core.sidecar import write_atomic
from dtda.core.training.ablation import Job
from dtda.core.training.ablation_rows import BASE, ROWS

By = Literal["fold", "type"]
Interval = tuple[float, float]
Key = tuple[str, str, int]  # row, fold, seed of a run


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of one run. draws: float64 [draws], the same figure on every draw of people."""

    value: float
    draws: Values


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, over folds and seeds. Shares in [0, 1].

    auc, hter, eer: mean over folds and seeds, on the target; hter at the threshold of the source dev part, eer at the
    target's own (the field's HTER). Intervals (low, high): 95 % by bootstrap over the people of each target, the runs
    given. gain: AUC minus that of the row `base` on the same draws, which is ERM where the table has it, else its first
    row. sd: of the mean over folds, between seeds. by_fold: mean AUC of each. by_type: mean AUC of each attack type against
    all live pictures, over the runs that have it, and its gain. ranks: mean Spearman rank correlation with another network
    by group of pictures, where one was asked for.
    """

    row: str
    base: str
    runs: int
    auc: float
    auc_interval: Interval
    gain: float
    gain_interval: Interval
    auc_sd: float
    hter: float
    hter_sd: float
    eer: float
    by_fold: dict[str, float]
    by_type: dict[str, float] = field(default_factory=dict)
    by_type_interval: dict[str, Interval] = field(default_factory=dict)
    by_type_gain: dict[str, float] = field(default_factory=dict)
    by_type_gain_interval: dict[str, Interval] = field(default_factory=dict)
    ranks: dict[str, float] = field(default_factory=dict)
    ranks_interval: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Figures:
    """Of one run. types: AUC of each attack type."""

    auc: Drawn
    hter: float
    eer: float
    types: dict[str, Drawn]


def table(
    done: Sequence[tuple[Job, ScoreTable]],
    draws: int = 1000,
    order: Sequence[str] = tuple(ROWS),
    ranks: Mapping[Key, Mapping[str, Drawn]] | None = None,
) -> list[Line]:
    """Lines of the rows, in the given order, over the (fold, seed) pairs that all rows have.

    ranks: of every run, by group of pictures. Raises DtdaError for rows that were not judged on the same pictures.
    """
    rows = [row for row in order if any(job.row == row for job, _ in done)]
    scored = {(job.row, job.fold, job.seed): scores.per_video() for job, scores in done}
    pairs = [pair for pair in dict.fromkeys((job.fold, job.seed) for job, _ in done)
             if all((row, *pair) in scored for row in rows)]  # fmt: skip
    if not pairs:
        return []
    _check_same(scored, rows, pairs)
    figures = {(row, *pair): _figures(scored[(row, *pair)], draws) for row in rows for pair in pairs}
    base = BASE if BASE in rows else rows[0]
    return [_line(row, base, pairs, figures, ranks or {}) for row in rows]


def _check_same(scored: Mapping[Key, ScoreTable], rows: Sequence[str], pairs: Sequence[tuple[str, int]]) -> None:
    for pair in pairs:
        told = {row: _told(scored[(row, *pair)].of("test")) for row in rows}
        for row in rows:
            if told[row] != told[rows[0]]:
                raise DtdaError(f"the rows {rows[0]} and {row} were judged on other people or pictures in fold {pair[0]}; "
                                "train them in one --out, or leave one of them out.")  # fmt: skip


def _told(test: ScoreTable) -> list[tuple[str, str, bool, str]]:
    columns = (test.video, test.subject, test.live, test.attack_type)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def _figures(scores: ScoreTable, draws: int) -> _Figures:
    dev, test = scores.of("dev"), scores.of("test")
    threshold = metrics.eer(dev.p_live, dev.live).threshold
    # The same people are drawn for every run on this target: differences between rows are paired.
    people = draw(test.subject.tolist(), draws)

    def auc(chosen: npt.NDArray[np.bool_]) -> Drawn:
        value = metrics.auc(test.p_live[chosen], test.live[chosen])
        return Drawn(value, separation(test.p_live, test.live, people, chosen, ()).auc)

    kinds = sorted(set(test.attack_type[~test.live].tolist()))
    return _Figures(
        auc(np.ones(len(test), bool)),
        metrics.hter(test.p_live, test.live, threshold),
        metrics.eer(test.p_live, test.live).rate,
        {kind or "attack": auc(test.live | (test.attack_type == kind)) for kind in kinds},
    )


def _line(
    row: str,
    base: str,
    pairs: Sequence[tuple[str, int]],
    figures: Mapping[Key, _Figures],
    ranks: Mapping[Key, Mapping[str, Drawn]],
) -> Line:
    mine, theirs = ([figures[(name, *pair)] for pair in pairs] for name in (row, base))
    auc, base_auc = _mean([each.auc for each in mine]), _mean([each.auc for each in theirs])
    kinds = dict.fromkeys(kind for each in mine for kind in each.types)
    types, base_types = (
        {kind: _mean([each.types[kind] for each in runs if kind in each.types]) for kind in kinds}
        for runs in (mine, theirs)
    )
    ranked = [ranks.get((row, *pair), {}) for pair in pairs]
    groups = {name: _mean([each[name] for each in ranked]) for name in ranked[0]}

    def between_seeds(values: Sequence[float]) -> float:
        seeds = sorted({seed for _, seed in pairs})
        means = [np.mean([v for v, (_, seed) in zip(values, pairs, strict=True) if seed == wanted]) for wanted in seeds]
        return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")

    def of_fold(wanted: str) -> float:
        return float(np.mean([each.auc.value for each, (fold, _) in zip(mine, pairs, strict=True) if fold == wanted]))

    return Line(
        row=row,
        base=base,
        runs=len(mine),
        auc=auc.value,
        auc_interval=interval(auc.draws),
        gain=auc.value - base_auc.value,
        gain_interval=interval(auc.draws - base_auc.draws),
        auc_sd=between_seeds([each.auc.value for each in mine]),
        hter=float(np.mean([each.hter for each in mine])),
        hter_sd=between_seeds([each.hter for each in mine]),
        eer=float(np.mean([each.eer for each in mine])),
        by_fold={fold: of_fold(fold) for fold in dict.fromkeys(fold for fold, _ in pairs)},
        by_type={kind: each.value for kind, each in types.items()},
        by_type_interval={kind: interval(each.draws) for kind, each in types.items()},
        by_type_gain={kind: each.value - base_types[kind].value for kind, each in types.items()},
        by_type_gain_interval={kind: interval(each.draws - base_types[kind].draws) for kind, each in types.items()},
        ranks={name: each.value for name, each in groups.items()},
        ranks_interval={name: interval(each.draws) for name, each in groups.items()},
    )


def _mean(figures: Sequence[Drawn]) -> Drawn:
    """Over runs, draw by draw."""
    return Drawn(float(np.mean([each.value for each in figures])), np.mean([each.draws for each in figures], axis=0))


def markdown(lines: Sequence[Line], by: By = "fold") -> str:
    """The table, rates in per cent. by: what has its own columns of AUC; those of attack types say the 95 % interval of the
    gain, too."""
    columns = list(lines[0].by_fold if by == "fold" else lines[0].by_type)
    titles = columns if by == "fold" else [f"{name} (vs {lines[0].base})" for name in columns]
    heads = ["row", "runs", "AUC % (95 %)", f"vs {lines[0].base} (95 %)", "sd of seeds", "HTER %", "EER %", *titles,
             *(f"ranks as {group} (95 %)" for group in lines[0].ranks)]  # fmt: skip
    text = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for line in lines:
        gain = f"{100 * line.gain:+.1f} ({_span(line.gain_interval, '+')})" if line.row != line.base else "-"
        sd = f"{100 * line.auc_sd:.1f}" if np.isfinite(line.auc_sd) else "-"
        cells = [line.row, str(line.runs), f"{100 * line.auc:.1f} ({_span(line.auc_interval)})", gain, sd,
                 f"{100 * line.hter:.1f}", f"{100 * line.eer:.1f}",
                 *(_cell(line, by, name) for name in columns),
                 *(_rank(line, group) for group in line.ranks)]  # fmt: skip
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def _cell(line: Line, by: By, name: str) -> str:
    if by == "fold":
        return f"{100 * line.by_fold[name]:.1f}"
    if line.row == line.base:
        return f"{100 * line.by_type[name]:.1f}"
    return f"{100 * line.by_type[name]:.1f} ({_span(line.by_type_gain_interval[name], '+')})"


def _rank(line: Line, group: str) -> str:
    low, high = line.ranks_interval[group]
    return f"{line.ranks[group]:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(line.ranks[group]) else "-"


def write(out: Path, lines: Sequence[Line], by: By = "fold") -> None:
    """ablation.md and ablation.json in the folder."""
    write_atomic(out / "ablation.md", (markdown(lines, by) + "\n").encode())
    rows = [{name: getattr(line, name) for name in Line.__dataclass_fields__} for line in lines]
    write_atomic(out / "ablation.json", (json.dumps(rows, indent=2) + "\n").encode())


def _span(bounds: Interval, sign: str = "") -> str:
    return " to ".join(f"{100 * bound:{sign}.1f}" for bound in bounds)
