"""The ablation table: what each row adds, over the folds of a protocol and several seeds.

Every run is a folder `<out>/<row>/<fold>/seed<k>` with its checkpoint and the scores of its dev and test parts; runs that
are done are not done again, one that was killed goes on. A row may train on other pictures than the configuration's; it is
judged on the configuration's, cut by the row's own crop rule. `ablation_table` makes the table from the score files alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.scores import About, ScoreTable, read_scores, write_scores
from dtda.core.sidecar import naming, write_atomic
from dtda.core.simulate.portrait import Detect
from dtda.core.training.ablation_rows import BASE, ROWS, WARM, Row, check_warm, row_config, slug
from dtda.core.training.config import DataPart, TrainConfig, same_run

if TYPE_CHECKING:
    from dtda.core.training.material import Material

PATIENCE = 5.0  # seconds that processes of a killed command have to end


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the table. judged_on: manifests of the pictures it is judged on; empty: those it is trained on."""

    row: str
    fold: str
    seed: int
    config: TrainConfig
    out: Path
    judged_on: tuple[Path, ...] = ()

    @property
    def scores(self) -> Path:
        return self.out / "scores.csv"

    @property
    def judge(self) -> DataPart:
        """Of the pictures it is judged on, cut as those it is trained on."""
        data = self.config.data
        return data.model_copy(update={"manifests": list(self.judged_on or data.manifests)})


def check(config: TrainConfig, rows: Sequence[Row]) -> None:
    """Build every student and open every teacher of the rows once: the last row's may be wrong, and nobody wants to know it
    after days.

    Raises DtdaError as `row_config`, `models.student.build_student` and `models.teachers.open_teacher` do.
    """
    from dtda.core.models.student import build_student
    from dtda.core.models.teachers import open_teacher

    made = [row_config(config, row) for row in rows]
    starts = dict.fromkeys((each.student, each.weights, each.cue_map > 0, each.texture) for each in made)
    for name, weights, cue_map, texture in starts:
        build_student(name, weights=weights, cue_map=cue_map, texture=texture)
    parts = [(part, each.data.crop) for each in made for part in each.teachers.values()]
    for number, (part, crop) in enumerate(parts):
        if (part, crop) not in parts[:number]:
            open_teacher(part.kind, part.file, crop=crop, **part.options)


def jobs(
    config: TrainConfig,
    protocol: str,
    folds: Sequence[str],
    rows: Sequence[Row],
    seeds: int,
    out: Path,
    warm: TrainConfig | None = None,
) -> list[Job]:
    """All runs, seed by seed, so that a table of few seeds is there early. Raises DtdaError for a row that does not fit.

    warm: ERM runs of this configuration come first, one for each fold and seed; the rows start from its student.
    """

    def job(row: str, fold: str, seed: int, made: TrainConfig) -> Job:
        data = made.data.model_copy(update={"protocol": protocol, "fold": fold})
        update = {"data": data, "seed": seed, "name": f"{row}, {fold}, seed {seed}"}
        place = out / slug(row) / slug(fold) / f"seed{seed}"
        return Job(row, fold, seed, made.model_copy(update=update), place, tuple(config.data.manifests))

    if warm:
        check_warm(config, rows)
    configs = {row.name: row_config(config, row) for row in rows}
    made = []
    for seed in range(seeds):
        for fold in folds:
            start = {}
            if warm:
                made.append(job(WARM, fold, seed, row_config(warm, ROWS[BASE])))
                start = {"weights": str((made[-1].out / "last.ckpt").absolute()), "texture": "random"}
            made += [job(name, fold, seed, each.model_copy(update=start)) for name, each in configs.items()]
    return made


def check_people(jobs: Sequence[Job], make_detector: Callable[[], Detect]) -> None:
    """No job is judged on people it is trained on. Cuts the chips of all jobs, so that the runs find them.

    Raises DtdaError as `do` does.
    """
    for job in {(j.config.data.model_dump_json(), j.config.weights, j.config.texture): j for j in jobs}.values():
        _materials(job, make_detector)


def do(job: Job, make_detector: Callable[[], Detect]) -> ScoreTable:
    """Train, or go on, and score the dev and test parts it is judged on; or read the scores of a run that is done.

    Raises DtdaError when the folder holds a run of another configuration, when another process is at work in it, and when
    people it is judged on would train it.
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
    if stamp.is_file() and not _same(stamp, job):
        raise DtdaError(f"{job.out}: holds a run of another configuration; name another --out.")
    own, judge = _materials(job, make_detector)
    keys = [own.key, judge.key]
    if stamp.is_file() and _values(stamp).get("pictures", keys) != keys:
        raise DtdaError(f"{job.out}: holds a run on other pictures of the same names; name another --out.")
    if job.scores.is_file():
        return read_scores(job.scores)
    from dtda.core.training import checkpoint
    from dtda.core.training.loop import train
    from dtda.core.training.scoring import score_table

    write_atomic(stamp, _stamp(job, keys))
    last = job.out / "last.ckpt"
    with naming(job.out):
        train(job.config, job.out, last.is_file(), make_detector, material=own)
    trained = checkpoint.load_student(last)
    told = own is judge and not job.config.optim.keep  # else of other pictures, or of the student before it was blended
    history = trained.state["history"] if told else []
    about = About(
        name=job.config.name,
        protocol=job.config.data.protocol,
        fold=job.fold,
        sources=list(own.fold.sources),
        targets=list(judge.fold.targets),
        thresholds=trained.state["thresholds"],
        history=[{k: v for k, v in row.items() if k.startswith(("dev_", "test_"))} for row in history],
    )
    parts = {"dev": judge.fold.dev, "test": judge.fold.test}
    scores = score_table(trained.student, judge.chips, parts, about=about)
    write_scores(job.scores, scores)
    return scores


def _stamp(job: Job, keys: Sequence[str]) -> bytes:
    values = job.config.model_dump(mode="json") | {"pictures": list(keys)}
    if list(job.judge.manifests) != list(job.config.data.manifests):
        values["judged_on"] = [str(path) for path in job.judge.manifests]
    return (json.dumps(values, indent=2) + "\n").encode()


def _values(stamp: Path) -> dict[str, Any]:
    return dict(json.loads(stamp.read_text("utf-8")))


def _same(stamp: Path, job: Job) -> bool:
    try:
        values = _values(stamp)
        values.pop("pictures", None)
        judged_on = values.pop("judged_on", None)
        before = TrainConfig.model_validate(values)
    except (ValueError, AttributeError):  # by another version of this program
        return False
    judges = [Path(name) for name in judged_on] if judged_on else list(before.data.manifests)
    return same_run(before, job.config) and judges == list(job.judge.manifests)


def _materials(job: Job, make_detector: Callable[[], Detect]) -> tuple[Material, Material]:
    """What it is trained and what it is judged on. Raises DtdaError when the one has people of the other's test or dev."""
    from dtda.core.training.checkpoint import people_of

    own, judge = material(job.config.data, make_detector), material(job.judge, make_detector)
    # Where official lists share people they may be in both; else `resolve` has seen to it that these are not in the test.
    seen = {*own.trained_on, *people_of(job.config)} - set(judge.trained_on)
    for part in ("dev", "test"):
        people = {judge.chips.records[number].subject for number in getattr(judge.fold, part)}
        if people & seen:
            raise DtdaError(
                f"the row {job.row}, fold {job.fold}, is trained on {len(people & seen)} of the {len(people)} {part} people "
                f"it is judged on, such as {min(people & seen)}; give its data the configuration's split of people."
            )
    return own, judge


def material(data: DataPart, make_detector: Callable[[], Detect]) -> Material:
    """Loaded once in a process: most of it is the same for all rows and seeds."""
    return _material(data.model_dump_json(), make_detector)


@functools.lru_cache(maxsize=8)
def _material(data: str, make_detector: Callable[[], Detect]) -> Material:
    from dtda.core.training.material import load

    return load(DataPart.model_validate_json(data), make_detector)


def folds_of(config: TrainConfig, protocol: str, make_detector: Callable[[], Detect]) -> list[str]:
    """Names of the folds over the configuration's data. Cuts its chips, so that the runs find them."""
    from dtda.core.training.material import load_chips

    return [fold.name for fold in resolve(protocol, load_chips(config.data, make_detector).records)]
