"""Do the students of an ablation rank pictures as another network does, which sees its own crops of the same frames?

The network scores each set of pictures once: the test part of every fold, and unlabelled pictures, if there are any. What
takes long is kept in `<out>/.agree` and beside the runs, by what it was made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dtda.core.agreement import agreements
from dtda.core.benchmark import Contender, Options, scan
from dtda.core.data.chips import VERSION, Chips, cut_chips
from dtda.core.data.gather import Data
from dtda.core.data.manifest import Record
from dtda.core.data.media import PICTURES
from dtda.core.data.prepare import main_face
from dtda.core.data.readers.clip import Clip
from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, rules
from dtda.core.resampling import Draws, Values, draw
from dtda.core.sidecar import write_atomic
from dtda.core.simulate.portrait import Detect
from dtda.core.training.ablation import Job, material
from dtda.core.training.ablation_table import Drawn, Key
from dtda.core.types import Label

Scores = Mapping[str, float]  # P(live) or logits by path, NaN where no usable face was found


@dataclass(frozen=True, slots=True)
class Reference:
    """P(live) of the other network. tested: by fold. pictures: the unlabelled ones, each with its face; their P(live) is in
    `unlabelled`. place: of what is kept."""

    name: str
    tested: Mapping[str, Scores]
    pictures: tuple[Record, ...]
    unlabelled: Scores
    place: Path


def refer(
    network: Contender, jobs: Sequence[Job], unlabelled: Data | None, out: Path, make_detector: Callable[[], Detect]
) -> Reference:
    """Score the pictures with the other network, or read what it gave before.

    unlabelled: what a manifest says they are does not count. Raises DtdaError for clips that are no pictures, of which no
    chips are cut, and where no face is found.
    """
    place = out / ".agree"
    pictures = _faces(unlabelled, place, make_detector) if unlabelled else ()
    tested = {}
    for job in {job.fold: job for job in jobs}.values():
        judge = material(job.judge, make_detector)
        records = [judge.chips.records[number] for number in judge.fold.test]
        tested[job.fold] = _scored(network, records, place, make_detector)
    given = _scored(network, pictures, place, make_detector) if pictures else {}
    return Reference(network.name.replace("|", "/"), tested, pictures, given, place)


def ranks(
    jobs: Sequence[Job], reference: Reference, make_detector: Callable[[], Detect], draws: int = 1000
) -> dict[Key, dict[str, Drawn]]:
    """Of every run that is done the rank correlation with the network, of the pictures of each group: live and attack
    pictures of its test part, and unlabelled ones."""
    found = {}
    for job in tqdm(jobs, desc="agreement", unit="run", disable=None):
        judge = material(job.judge, make_detector)
        records = [judge.chips.records[number] for number in judge.fold.test]
        mine = _logits(job, records, lambda judge=judge: (judge.chips, judge.fold.test))
        live = np.array([record.label is Label.LIVE for record in records])
        groups = {f"{reference.name}: live": live, f"{reference.name}: attack": ~live}
        found[job.row, job.fold, job.seed] = _compared(records, mine, reference.tested[job.fold], groups, draws)
        if reference.pictures:
            mine = _logits(job, reference.pictures, lambda job=job: _cut(job, reference))
            groups = {f"{reference.name}: unlabelled": np.ones(len(reference.pictures), bool)}
            found[job.row, job.fold, job.seed] |= _compared(
                reference.pictures, mine, reference.unlabelled, groups, draws
            )
    return found


def _compared(
    records: Sequence[Record],
    mine: Scores,
    theirs: Scores,
    groups: Mapping[str, npt.NDArray[np.bool_]],
    draws: int,
) -> dict[str, Drawn]:
    one, other = (np.array([given.get(str(r.path), np.nan) for r in records]) for given in (mine, theirs))
    people = draw([record.subject or str(record.path) for record in records], draws)
    return rank_correlations(one, other, people, groups)


def rank_correlations(
    one: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    draws: Draws,
    groups: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, Drawn]:
    """Spearman's, of logits or P(live) [N], in each group [N] and on each draw; NaN where there are too few."""
    there = ~np.isnan(one + other)
    values = {
        each.group: each.spearman
        for each in agreements({"one": one, "other": other}, {"one": 0.5, "other": 0.5}, groups)
    }
    return {
        name: Drawn(values.get(name, float("nan")), _on_draws(one, other, draws, np.flatnonzero(chosen & there)))
        for name, chosen in groups.items()
    }


def _on_draws(
    one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], draws: Draws, chosen: npt.NDArray[np.intp]
) -> Values:
    """[draws]: Pearson's correlation of mid-ranks, a sample counting as often as its person was drawn."""
    if not len(chosen):
        return np.full(len(draws.counts), np.nan)
    parts = []
    for weights in draws.chunks(chosen):
        total = weights.sum(1, keepdims=True, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = (_ranks(values[chosen], weights) for values in (one, other))
            a, b = (rank - (rank * weights).sum(1, keepdims=True) / total for rank in (a, b))
            spread = np.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))
            parts.append(np.where(spread > 0, (weights * a * b).sum(1) / spread, np.nan))
    return np.concatenate(parts)


def _ranks(values: npt.NDArray[np.floating], weights: npt.NDArray[np.float32]) -> Values:
    """Mid-ranks [draws, n] of values [n] that stand `weights` [draws, n] times each; equal values share theirs."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    firsts = np.searchsorted(group[order], np.arange(len(distinct)))
    sizes = np.add.reduceat(weights[:, order], firsts, axis=1, dtype=np.float64)
    return (np.cumsum(sizes, axis=1) - sizes / 2)[:, group]


def _scored(network: Contender, records: Sequence[Record], place: Path, make_detector: Callable[[], Detect]) -> Scores:
    path = place / f"network-{_key(records, network.info.sha256, repr(rules(network.info)))}.json"
    if not path.is_file():
        clips = [
            Clip(r.path, r.label, r.attack_type, r.domain, r.subject, r.split, str(r.path), points=r.points)
            for r in records
        ]
        with tqdm(total=len(clips), desc=network.name, unit="picture", disable=None) as bar:
            found = scan(clips, [network], lambda bgr: make_detector()(bgr), Options(frames=1), bar.update)
        _write(path, dict(zip(found.path, found.scores[0].tolist(), strict=True)))
    return _read(path)


def _logits(job: Job, records: Sequence[Record], cut: Callable[[], tuple[Chips, Sequence[int]]]) -> Scores:
    """Live logits of the student of a run, or what it gave before: P(live) of a sure student is 1 for half of them, and has
    no ranks. cut: the chips of these records, and which of them to score."""
    trained = job.out / "last.ckpt"
    path = job.out / f"logits-{_key(records, str(trained.stat().st_mtime_ns))}.json"
    if not path.is_file():
        from dtda.core.training.checkpoint import load_student
        from dtda.core.training.scoring import logits

        chips, numbers = cut()
        values = logits(load_student(trained).student, chips, numbers).tolist()
        _write(path, {str(chips.records[n].path): value for n, value in zip(numbers, values, strict=True)})
    return _read(path)


def _cut(job: Job, reference: Reference) -> tuple[Chips, Sequence[int]]:
    """Unlabelled pictures by the crop rule of a run."""
    data = job.config.data
    chips = cut_chips(reference.pictures, CropRule(data.size, data.margin, data.crop), 1, reference.place / "chips")
    return chips, range(len(chips.records))


def _faces(data: Data, place: Path, make_detector: Callable[[], Detect]) -> tuple[Record, ...]:
    """Pictures with the points of the face that network and students judge, found once; those without one are left out."""
    for clip in data.clips:
        if clip.path.suffix.lower() not in PICTURES:
            raise DtdaError(f"{clip.path}: is no picture; --unlabelled takes a folder or a manifest of pictures.")
    records = [
        Record(c.path, c.label, c.attack_type, c.domain, c.subject, c.split, c.points, str(c.path)) for c in data.clips
    ]
    lacking = [number for number, record in enumerate(records) if record.points is None]
    path = place / f"faces-{_key([records[number] for number in lacking])}.json"
    if lacking and not path.is_file():
        found = {}
        for number in tqdm(lacking, desc="faces", unit="picture", disable=None):
            bgr = read_picture(records[number].path)
            face = None if bgr is None else main_face(make_detector()(bgr), data.clips[number], 0, bgr)
            found[str(records[number].path)] = None if face is None else face.points.tolist()
        _write(path, found)
    points = json.loads(path.read_text("utf-8")) if lacking else {}
    for number in lacking:
        given = points[str(records[number].path)]
        if given is not None:
            records[number] = replace(records[number], points=np.array(given, np.float32))
    kept = tuple(record for record in records if record.points is not None)
    if not kept:
        raise DtdaError(f"{data.title}: no face was found in {len(records)} pictures.")
    return kept


def _key(records: Sequence[Record], *further: str) -> str:
    """Of the pictures as they lie there, and of what else the scores depend on."""
    told: list[object] = [VERSION, *further]
    for record in records:
        stat = record.path.stat() if record.path.is_file() else None
        points = None if record.points is None else record.points.ravel().tolist()
        told.append([str(record.path), stat and [stat.st_size, stat.st_mtime_ns], points])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _write(path: Path, values: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(values).encode())


def _read(path: Path) -> Scores:
    return dict(json.loads(path.read_text("utf-8")))
