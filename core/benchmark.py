"""Students side by side on the same pictures: each face is found once, and each student gets its own crop of it.

Students come from anywhere, so nothing is known of the people they were trained on; `evaluate` has the figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtda.core.agreement import Agreement, Spread, agreements, spreads
from dtda.core.data.gather import Data
from dtda.core.data.media import read_frames
from dtda.core.data.prepare import main_face
from dtda.core.data.readers.clip import Clip
from dtda.core.errors import DtdaError
from dtda.core.evaluate import Report, choose_unit, evaluate
from dtda.core.preprocess import crop, rules, similarity, upright_box
from dtda.core.quality import QualityGate
from dtda.core.robustness import ALTERS, Drift, altered, drifts, unmoved
from dtda.core.scores import About, ScoreTable, make_table
from dtda.core.sidecar import Threshold
from dtda.core.simulate.portrait import Detect
from dtda.core.types import EngineInfo, Face, Floats, Image, Label

BACKWARDS = "its AUC is below 50 %; of a network from elsewhere, is `live` the right class? See docs/third-party.md."


@dataclass(frozen=True, slots=True)
class Contender:
    """A student. name: its own among those compared. infer: chips by each of `preprocess.rules(info)` to P(live) [N].

    thresholds: that it comes with, `default` first.
    """

    name: str
    info: EngineInfo
    infer: Callable[..., Floats]
    thresholds: Mapping[str, Threshold]


@dataclass(frozen=True)
class Options:
    """frames: of a video. gated: faces that the live quality gate refuses are non-responses. robust: measure drift.
    afresh: find faces even where a manifest has points."""

    frames: int = 5
    gated: bool = False
    robust: bool = False
    afresh: bool = False


@dataclass(frozen=True)
class Findings:
    """N pictures. path: `clip#frame` for frames of a video. scores: float64 [students, N], NaN without a usable face.

    moved: float32 [students, N, len(ALTERS)], or [students, N, 0]. reasons: why a picture has no score, else "".
    unreadable: sentences.
    """

    path: tuple[str, ...]
    clip: tuple[Clip, ...]
    reasons: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    moved: npt.NDArray[np.float32]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """reports: of each student by what the intervals are over (subject, video, picture), the one to read first; empty
    without labels of both classes. lost: share of pictures without a usable face."""

    data: Data
    contenders: tuple[Contender, ...]
    findings: Findings
    reports: Mapping[str, Mapping[str, Report]]
    tables: Mapping[str, ScoreTable]
    agreements: tuple[Agreement, ...]
    spreads: tuple[Spread, ...]
    drifts: Mapping[str, Sequence[Drift]]
    lost: float
    notes: tuple[str, ...]


def scan(
    clips: Sequence[Clip],
    contenders: Sequence[Contender],
    detect: Detect,
    options: Options,
    progress: Callable[[int], object] = lambda _: None,
) -> Findings:
    """Score every picture with every student. progress: called with 1 after each clip. Raises what a student raises."""
    path, owner, reasons, unreadable = [], [], [], []
    scores: list[list[float]] = []
    moved: list[list[Floats]] = []
    nothing = np.full(len(ALTERS) if options.robust else 0, np.nan, np.float32)
    for clip in clips:
        try:
            pictures = list(read_frames(clip.path, options.frames))
        except DtdaError as error:
            unreadable.append(str(error))
            pictures = []
        for index, bgr in pictures:
            points, reason = _face(clip, index, bgr, detect, options)
            path.append(str(clip.path) if index == 0 else f"{clip.path}#{index}")
            reasons.append(reason)
            found = [np.array([np.nan, *nothing], np.float32)] * len(contenders)
            if points is not None:
                found = _views(bgr, points, contenders, options.robust, path[-1])
            scores.append([float(values[0]) for values in found])
            moved.append([values[1:] for values in found])
        if not pictures:
            path.append(str(clip.path))
            reasons.append("unreadable")
            scores.append([float("nan")] * len(contenders))
            moved.append([nothing] * len(contenders))
        owner += [clip] * max(1, len(pictures))
        progress(1)
    return Findings(
        tuple(path),
        tuple(owner),
        tuple(reasons),
        np.array(scores, np.float64).T,
        np.array(moved, np.float32).swapaxes(0, 1),
        tuple(unreadable),
    )


def _face(clip: Clip, index: int, bgr: Image, detect: Detect, options: Options) -> tuple[Floats | None, str]:
    """The five points of the face to judge, or the reason why there is none."""
    points, box = clip.points, None
    if points is None or options.afresh:
        face = main_face(detect(bgr), clip, index, bgr)
        if face is None:
            return None, "no face found"
        points, box = face.points, face.box
    try:
        similarity(points)
    except ValueError as error:
        return None, str(error)
    if options.gated:
        seen = Face(upright_box(points).astype(np.float32) if box is None else box, points, 1.0)
        quality = QualityGate().measure(bgr, seen)
        if not quality.ok:
            return None, ", ".join(reason.value for reason in quality.reasons)
    return points, ""


def _views(bgr: Image, points: Floats, contenders: Sequence[Contender], robust: bool, name: str) -> list[Floats]:
    """P(live) of each student: of the picture, then under each of ALTERS when `robust`."""
    views = [(bgr, points)]
    if robust:
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8], "big"))
        views += altered(bgr, points, rng)
    wanted = {rule for each in contenders for rule in rules(each.info)}
    chips = {rule: np.stack([crop(picture, at, rule) for picture, at in views]) for rule in wanted}
    return [each.infer(*(chips[rule] for rule in rules(each.info))) for each in contenders]


def conclude(
    data: Data, contenders: Sequence[Contender], findings: Findings, level: str, units: str, draws: int
) -> Benchmark:
    """The figures. level, units and draws: as for `evaluate`. Raises DtdaError when no face was found at all."""
    scored = ~np.isnan(findings.scores).all(0)
    if not scored.any():
        raise DtdaError(f"{data.title}: no face was found in {len(findings.path)} pictures.")
    groups = _groups(data, findings)
    everything = {"all": np.ones(len(scored), bool)}
    scores = {each.name: findings.scores[number] for number, each in enumerate(contenders)}
    thresholds = {each.name: each.thresholds["default"].value for each in contenders}
    tables, reports, notes = _reports(data, contenders, findings, level, units, draws)
    moved = dict(zip(scores, findings.moved, strict=True)) if findings.moved.shape[2] else {}
    return Benchmark(
        data=data,
        contenders=tuple(contenders),
        findings=findings,
        reports=reports,
        tables=tables,
        agreements=tuple(agreements(scores, thresholds, (everything | groups) if len(groups) > 1 else groups)),
        spreads=tuple(spreads(scores, thresholds, groups)),
        drifts={name: drifts(scores[name], after, groups, thresholds[name]) for name, after in moved.items()},
        lost=1 - float(scored.mean()),
        notes=(*data.notes, *notes, *_still(scores, moved)),
    )


def _still(scores: Mapping[str, npt.NDArray[np.float64]], moved: Mapping[str, npt.NDArray[np.float32]]) -> list[str]:
    """Where a small drift by scale is no merit."""
    shares = {name: unmoved(scores[name], after) for name, after in moved.items()}
    return [
        f"{name}: for {100 * share:.0f} % of the faces the crop fills the picture already, and a larger box changes nothing."
        for name, share in shares.items()
        if share >= 0.1
    ]


def _groups(data: Data, findings: Findings) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks [N]: live and attack, those that there are; all where nothing is labelled."""
    labels = np.array([clip.label.value for clip in findings.clip])
    if not data.labelled:
        return {"all": np.ones(len(labels), bool)}
    found = {name: labels == label.value for name, label in (("live", Label.LIVE), ("attack", Label.SPOOF))}
    return {name: mask for name, mask in found.items() if mask.any()}


def _reports(
    data: Data, contenders: Sequence[Contender], findings: Findings, level: str, units: str, draws: int
) -> tuple[dict[str, ScoreTable], dict[str, dict[str, Report]], list[str]]:
    """Score tables, reports by unit, and notes; no tables without labels, no reports without both classes."""
    if not data.labelled:
        return {}, {}, ["Nothing says what is live here: students are only compared with each other."]
    rows = [
        (path, clip.part_of or clip.video, clip.domain, clip.subject, clip.label.value, clip.attack_type, "test")
        for path, clip in zip(findings.path, findings.clip, strict=True)
    ]
    tables = {
        each.name: make_table(
            rows,
            findings.scores[number],
            About(name=each.name, protocol=data.title, thresholds=dict(each.thresholds)),
        )
        for number, each in enumerate(contenders)
    }
    first = next(iter(tables.values()))
    answered = first.where(~np.isnan(first.p_live))
    if answered.live.all() or not answered.live.any():
        only = "live" if answered.live.all() else "attack"
        return tables, {}, [f"There are only {only} pictures: no error rates, but the share accepted is below."]
    reports: dict[str, dict[str, Report]] = {}
    notes: list[str] = []
    backwards: list[str] = []
    for name, table in tables.items():
        rated = table.per_video() if level == "video" else table
        unit, units_of, said = choose_unit(rated, level, units)
        other = "subject" if unit != "subject" else level
        also = [other] if units == "auto" and _can(rated, level, other, len(set(units_of))) else []
        reports[name] = {each: evaluate(table, level, each, draws) for each in (unit, *also)}
        notes = said  # the same for all, as are the clips
        if reports[name][unit].rows[0].figures["auc"].value < 0.5:
            backwards.append(f"{name}: {BACKWARDS}")
    return tables, reports, [*notes, *backwards]


def _can(table: ScoreTable, level: str, unit: str, chosen: int) -> bool:
    """Whether resampling this unit, too, says something else."""
    if unit == "subject" and not all(table.subject.tolist()):
        return False
    return len(set(choose_unit(table, level, unit)[1])) not in (chosen, 1)
