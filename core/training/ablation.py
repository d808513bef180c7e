"""The ablation table: what each term of DTDA adds, over the folds of a protocol and several seeds.

Every run is a folder `<out>/<row>/<fold>/seed<k>` with its checkpoint and the scores of its dev and test parts; runs that
are done are not done again, one that was killed goes on. The table is made from the score files alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from dtda.core import metrics
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.resampling import draw, interval, separation
from dtda.core.scores import About, ScoreTable, read_scores, write_scores
from dtda.core.sidecar import naming, write_atomic
from dtda.core.simulate.portrait import Detect
from dtda.core.training.config import DataPart, TrainConfig, same_run

if TYPE_CHECKING:
    from dtda.core.training.material import Material

# row -> (adversary, names of its teachers); the configuration says how strong each term is.
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ERM": ("none", ()),
    "DAT": ("dat", ()),
    "DAA": ("daa", ()),
    "DAA + perceptual": ("daa", ("perceptual",)),
    "DAA + generative": ("daa", ("generative",)),
    "DTDA": ("daa", ("perceptual", "generative")),
}
BASE = "ERM"
WARM = "warm-up"  # the run that the rows of its fold and seed start from
PATIENCE = 5.0  # seconds that processes of a killed command have to end


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the table."""

    row: str
    fold: str
    seed: int
    config: TrainConfig
    out: Path

    @property
    def scores(self) -> Path:
        return self.out / "scores.csv"


def row_config(config: TrainConfig, row: str) -> TrainConfig:
    """The configuration with only the terms of one row. Raises DtdaError for an unknown row and a teacher it lacks."""
    if row not in ROWS:
        raise DtdaError(f"{row}: no such row; there are {', '.join(ROWS)}.")
    adversary, names = ROWS[row]
    missing = [name for name in names if name not in config.teachers]
    if missing:
        raise DtdaError(f"the row {row} needs teachers.{missing[0]} in the configuration; add it or leave the row out.")
    domain = config.domain.model_copy(update={"adversary": adversary})
    return config.model_copy(update={"domain": domain, "teachers": {name: config.teachers[name] for name in names}})


def check(config: TrainConfig, rows: Sequence[str]) -> None:
    """Open every teacher of the rows once: the last row's may be wrong, and nobody wants to know it after days.

    Raises DtdaError as `row_config` and `models.teachers.open_teacher` do.
    """
    from dtda.core.models.teachers import open_teacher

    parts = [part for row in rows for part in row_config(config, row).teachers.values()]
    for number, part in enumerate(parts):
        if part not in parts[:number]:
            open_teacher(part.kind, part.file, **part.options)


def jobs(
    config: TrainConfig,
    protocol: str,
    folds: Sequence[str],
    rows: Sequence[str],
    seeds: int,
    out: Path,
    warm: TrainConfig | None = None,
) -> list[Job]:
    """All runs, seed by seed, so that a table of few seeds is there early. Raises DtdaError for an unknown row.

    warm: ERM runs of this configuration come first, one for each fold and seed; the rows start from its student.
    """

    def job(row: str, fold: str, seed: int, config: TrainConfig) -> Job:
        data = config.data.model_copy(update={"protocol": protocol, "fold": fold})
        update = {"data": data, "seed": seed, "name": f"{row}, {fold}, seed {seed}"}
        place = out / _slug(row) / _slug(fold) / f"seed{seed}"
        return Job(row, fold, seed, config.model_copy(update=update), place)

    made = []
    for seed in range(seeds):
        for fold in folds:
            start = config.weights
            if warm:
                made.append(job(WARM, fold, seed, row_config(warm, BASE)))
                start = str((made[-1].out / "last.ckpt").absolute())
            made += [
                job(row, fold, seed, row_config(config, row).model_copy(update={"weights": start})) for row in rows
            ]
    return made


def do(job: Job, make_detector: Callable[[], Detect]) -> ScoreTable:
    """Train, or go on, and score the fold's dev and test parts; or read the scores of a run that is done.

    Raises DtdaError when the folder holds a run of another configuration, and when another process is at work in it.
    """
    from filelock import FileLock, Timeout

    job.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.out / ".lock", timeout=PATIENCE):
            return _done(job, make_detector)
    except Timeout as error:
        raise DtdaError(
            f"{job.out}: another process trains this run; wait until it is done, or name another --out."
        ) from error


def _done(job: Job, make_detector: Callable[[], Detect]) -> ScoreTable:
    stamp = job.out / "job.json"
    if stamp.is_file() and not _same(stamp, job.config):
        raise DtdaError(f"{job.out}: holds a run of another configuration; name another --out.")
    if job.scores.is_file():
        return read_scores(job.scores)
    from dtda.core.training import checkpoint
    from dtda.core.training.loop import train
    from dtda.core.training.scoring import score_table

    write_atomic(stamp, job.config.model_dump_json(indent=2).encode())
    made = _material(job.config.data.model_dump_json(), make_detector)
    last = job.out / "last.ckpt"
    with naming(job.out):
        train(job.config, job.out, last.is_file(), make_detector, material=made)
    trained = checkpoint.load_student(last)
    about = About(
        name=job.config.name,
        protocol=job.config.data.protocol,
        fold=job.fold,
        sources=list(made.fold.sources),
        targets=list(made.fold.targets),
        thresholds=trained.state["thresholds"],
        history=[{k: v for k, v in row.items() if k.startswith(("dev_", "test_"))} for row in trained.state["history"]],
    )
    parts = {"dev": made.fold.dev, "test": made.fold.test}
    scores = score_table(trained.student, made.chips, parts, about=about)
    write_scores(job.scores, scores)
    return scores


def _same(stamp: Path, config: TrainConfig) -> bool:
    try:
        return same_run(TrainConfig.model_validate_json(stamp.read_text("utf-8")), config)
    except (ValidationError, UnicodeDecodeError):  # by another version of this program
        return False


@functools.lru_cache(maxsize=8)
def _material(data: str, make_detector: Callable[[], Detect]) -> Material:
    """Loaded once in a process: most of it is the same for all rows and seeds."""
    from dtda.core.training.material import load

    return load(DataPart.model_validate_json(data), make_detector)


def folds_of(config: TrainConfig, protocol: str, make_detector: Callable[[], Detect]) -> list[str]:
    """Names of the folds over the configuration's data. Cuts its chips, so that the runs find them."""
    from dtda.core.training.material import load_chips

    return [fold.name for fold in resolve(protocol, load_chips(config.data, make_detector).records)]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, over folds and seeds. Shares in [0, 1].

    auc, hter, eer: mean over folds and seeds, on the target; hter at the threshold of the source dev part, eer at the
    target's own (the field's HTER). Intervals (low, high): 95 % by bootstrap over the people of each target, the runs
    given. gain: AUC minus that of the row `base` on the same draws, which is ERM where the table has it, else its first
    row. sd: of the mean over folds, between seeds. by_fold: mean AUC of each.
    """

    row: str
    base: str
    runs: int
    auc: float
    auc_interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    auc_sd: float
    hter: float
    hter_sd: float
    eer: float
    by_fold: dict[str, float]


def table(done: Sequence[tuple[Job, ScoreTable]], draws: int = 1000) -> list[Line]:
    """Lines of the rows, in order of ROWS, over the (fold, seed) pairs that all rows have."""
    rows = [row for row in ROWS if any(job.row == row for job, _ in done)]
    scored = {(job.row, job.fold, job.seed): scores.per_video() for job, scores in done}
    pairs = [pair for pair in dict.fromkeys((job.fold, job.seed) for job, _ in done)
             if all((row, *pair) in scored for row in rows)]  # fmt: skip
    if not pairs:
        return []
    figures = {(row, *pair): _figures(scored[(row, *pair)], draws) for row in rows for pair in pairs}
    mean_draws = {row: np.mean([figures[(row, *pair)].drawn for pair in pairs], axis=0) for row in rows}
    base = BASE if BASE in rows else rows[0]
    lines = []
    for row in rows:
        mine = {pair: figures[(row, *pair)] for pair in pairs}

        def mean(name: str, mine: dict[tuple[str, int], _Figures] = mine) -> float:
            return float(np.mean([getattr(figure, name) for figure in mine.values()]))

        def between_seeds(name: str, mine: dict[tuple[str, int], _Figures] = mine) -> float:
            seeds = sorted({seed for _, seed in mine})
            means = [np.mean([getattr(f, name) for (_, seed), f in mine.items() if seed == wanted]) for wanted in seeds]
            return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")

        folds = dict.fromkeys(fold for fold, _ in pairs)
        lines.append(
            Line(
                row=row,
                base=base,
                runs=len(mine),
                auc=mean("auc"),
                auc_interval=interval(mean_draws[row]),
                gain=mean("auc") - float(np.mean([figures[(base, *pair)].auc for pair in pairs])),
                gain_interval=interval(mean_draws[row] - mean_draws[base]),
                auc_sd=between_seeds("auc"),
                hter=mean("hter"),
                hter_sd=between_seeds("hter"),
                eer=mean("eer"),
                by_fold={
                    fold: float(np.mean([f.auc for (name, _), f in mine.items() if name == fold])) for fold in folds
                },
            )
        )
    return lines


@dataclass(frozen=True, slots=True)
class _Figures:
    auc: float
    hter: float
    eer: float
    drawn: npt.NDArray[np.float64]


def _figures(scores: ScoreTable, draws: int) -> _Figures:
    dev, test = scores.of("dev"), scores.of("test")
    threshold = metrics.eer(dev.p_live, dev.live).threshold
    # The same people are drawn for every run on this target: differences between rows are paired.
    people = draw(test.subject.tolist(), draws)
    everyone = np.ones(len(test), bool)
    return _Figures(
        metrics.auc(test.p_live, test.live),
        metrics.hter(test.p_live, test.live, threshold),
        metrics.eer(test.p_live, test.live).rate,
        separation(test.p_live, test.live, people, everyone, ()).auc,
    )


def markdown(lines: Sequence[Line]) -> str:
    """The table, rates in per cent."""
    folds = list(lines[0].by_fold)
    text = [
        f"| row | runs | AUC % (95 %) | vs {lines[0].base} (95 %) | sd of seeds | HTER % | EER % | "
        + " | ".join(folds)
        + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(folds),
    ]
    for line in lines:
        gain = f"{100 * line.gain:+.1f} ({_span(line.gain_interval, '+')})" if line.row != line.base else "-"
        sd = f"{100 * line.auc_sd:.1f}" if np.isfinite(line.auc_sd) else "-"
        cells = [line.row, str(line.runs), f"{100 * line.auc:.1f} ({_span(line.auc_interval)})", gain, sd,
                 f"{100 * line.hter:.1f}", f"{100 * line.eer:.1f}",
                 *(f"{100 * line.by_fold[fold]:.1f}" for fold in folds)]  # fmt: skip
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def write(out: Path, lines: Sequence[Line]) -> None:
    """ablation.md and ablation.json in the folder."""
    write_atomic(out / "ablation.md", (markdown(lines) + "\n").encode())
    rows = [{name: getattr(line, name) for name in Line.__dataclass_fields__} for line in lines]
    write_atomic(out / "ablation.json", (json.dumps(rows, indent=2) + "\n").encode())


def _span(bounds: tuple[float, float], sign: str = "") -> str:
    return " to ".join(f"{100 * bound:{sign}.1f}" for bound in bounds)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name).lower()
