"""A checkpoint against a protocol or a manifest: picks the pictures, scores them, and maps their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dtda.core.data.chips import Chips
from dtda.core.data.manifest import Record, read_manifest
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.models.student import Student
from dtda.core.scores import About, ScoreTable
from dtda.core.simulate.portrait import Detect
from dtda.core.training.checkpoint import Trained, load_student
from dtda.core.training.material import load_chips
from dtda.core.training.scoring import features, score_table
from dtda.core.types import Label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 10  # pictures that make a map
Parts = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Task:
    """What to score. protocol: a name, or a manifest.csv of which one split is scored; default the checkpoint's own, as
    are fold and manifests. domains: test on these only."""

    protocol: str | None = None
    fold: str | None = None
    manifests: Sequence[Path] = ()
    split: str | None = None
    domains: Sequence[str] = ()

    @property
    def of_manifest(self) -> bool:
        return self.protocol is not None and self.protocol.endswith(".csv")


@dataclass(frozen=True)
class Judged:
    """A student, its scores, and the chips behind them by part; title: for people and as a folder's name."""

    title: str
    student: Student
    chips: Chips
    parts: Parts
    table: ScoreTable

    def feature_map(self) -> Figure | None:
        """t-SNE of the features of source dev and test pictures; None for too few of them."""
        from dtda.core.plots import chosen_for_map, feature_map

        numbers = [number for part in self.parts.values() for number in part]
        if len(numbers) < FEWEST:
            return None
        keys = [(self.chips.records[number].domain, self.chips.records[number].label.value) for number in numbers]
        chosen = [numbers[index] for index in chosen_for_map(keys)]
        records = [self.chips.records[number] for number in chosen]
        live = np.array([record.label is Label.LIVE for record in records])
        vectors = features(self.student, self.chips, chosen)
        return feature_map(vectors, [r.domain for r in records], live, self.table.about.targets, self.title)


def judge(path: Path, task: Task, make_detector: Callable[[], Detect]) -> Judged:
    """Score what the task names with the checkpoint at `path`, on a GPU where there is one.

    make_detector: called if a picture has no facial points. Raises DtdaError for a checkpoint, protocol, fold, domain or
    manifest that does not fit, and for dev or test pictures of people that were trained on.
    """
    trained = load_student(path)
    if "trained_on" not in trained.state:
        raise DtdaError(f"{path}: an earlier version wrote it and did not say whom it was trained on; train it again.")
    if task.of_manifest and (task.fold or task.manifests):
        raise DtdaError(f"{task.protocol}: is a manifest; --fold and --manifest go with the name of a protocol.")
    if task.split and not task.of_manifest:
        raise DtdaError("--split goes with a manifest.csv; a protocol says itself what is dev and what is test.")
    manifests = (
        [Path(task.protocol)] if task.of_manifest and task.protocol else task.manifests or trained.config.data.manifests
    )
    for manifest in manifests:
        if not manifest.is_file():
            raise DtdaError(f"{manifest}: no such manifest; name the data with --manifest FILE.")
    data = trained.config.data.model_copy(update={"manifests": manifests})
    chips = load_chips(data, make_detector)
    everything = [record for manifest in manifests for record in read_manifest(manifest)]
    plan = _of_manifest(path, trained, task) if task.of_manifest else _of_protocol(trained, task, chips)

    parts = _on_domains(plan.choose(chips.records), chips.records, task.domains)
    seen = frozenset(trained.state["trained_on"])
    _check_unseen(parts, chips.records, seen - plan.shared, task)
    kept = {record.path for record in chips.records}
    wanted = _on_domains(plan.choose(everything), everything, task.domains)
    lost = [
        (part, everything[i]) for part, numbers in wanted.items() for i in numbers if everything[i].path not in kept
    ]
    about, title = plan.about, plan.title
    if not about.targets or task.domains:
        targets = sorted({chips.records[number].domain for number in parts["test"]})
        about = about.model_copy(update={"targets": targets, "history": []})
        title = "-".join([title, *task.domains])
    people = {chips.records[number].subject for numbers in parts.values() for number in numbers}
    about = about.model_copy(update={"notes": [*about.notes, *_notes(people, seen)]})
    student = trained.student.to("cuda" if torch.cuda.is_available() else "cpu")
    return Judged(title, student, chips, parts, score_table(student, chips, parts, lost, about))


@dataclass(frozen=True)
class _Plan:
    """choose: parts of some records. shared: people whom the run's own protocol has in training and test."""

    choose: Callable[[Sequence[Record]], Parts]
    about: About
    title: str
    shared: frozenset[str] = frozenset()


def _of_manifest(path: Path, trained: Trained, task: Task) -> _Plan:
    """One split of a manifest; thresholds are the checkpoint's."""
    if "thresholds" not in trained.state:
        raise DtdaError(f"{path}: its training has not finished, so it has no threshold; go on with --resume.")
    split = task.split or "test"
    manifest = Path(task.protocol or "")

    def choose(records: Sequence[Record]) -> Parts:
        numbers = tuple(number for number, record in enumerate(records) if record.split == split)
        if not numbers:
            raise DtdaError(f"{manifest}: has no {split} pictures.")
        return {"test": numbers}

    about = About(
        name=trained.config.name,
        protocol=f"the {split} split of {manifest}",
        sources=trained.state["sources"],
        thresholds=trained.state["thresholds"],
        notes=["If the checkpoint's thresholds were fixed on these dev people, errors at them flatter."]
        if split == "dev"
        else [],
    )
    return _Plan(choose, about, f"{manifest.absolute().parent.name}-{split}")


def _of_protocol(trained: Trained, task: Task, chips: Chips) -> _Plan:
    """Source dev and target test of a fold."""
    own, own_fold = trained.config.data.protocol, trained.state["fold"]
    protocol = task.protocol or own
    wanted = task.fold or (own_fold if protocol == own else None)
    folds = resolve(protocol, chips.records, wanted)
    if len(folds) > 1:
        names = ", ".join(fold.name for fold in folds)
        raise DtdaError(f"protocol {protocol} has the folds {names}; name one with --fold.")
    fold = folds[0]
    is_own = (protocol, fold.name) == (own, own_fold)
    # After a blend the epochs are another student's, the one before it.
    told = is_own and not task.manifests and not trained.config.optim.keep
    about = About(
        name=trained.config.name,
        protocol=protocol,
        fold=fold.name,
        sources=trained.state["sources"],
        targets=list(fold.targets),
        history=trained.state["history"] if told else [],
    )

    def choose(records: Sequence[Record]) -> Parts:
        found = resolve(protocol, records, fold.name)[0]
        return {"dev": found.dev, "test": found.test}

    # Where official lists share no people, `resolve` has made sure that none of these are in dev or test.
    shared = frozenset(chips.records[number].subject for number in fold.train) if is_own else frozenset()
    return _Plan(choose, about, f"{protocol}-{fold.name}" if fold.name != protocol else protocol, shared)


def _check_unseen(parts: Parts, records: Sequence[Record], seen: frozenset[str], task: Task) -> None:
    """No dev or test picture shows a person trained on. A name is one person in all domains: simulated domains show the
    same people, and readers of public sets put the set's name before theirs."""
    for part, numbers in parts.items():
        known = [number for number in numbers if records[number].subject in seen]
        if not known:
            continue
        people = {records[number].subject for number in numbers}
        ways = ["another --split" if task.of_manifest else "another fold or protocol"]
        clean = {records[number].domain for number in numbers} - {records[number].domain for number in known}
        if part == "dev":
            ways.append("a manifest.csv, to be scored at the checkpoint's own threshold")
        elif clean:
            ways.append(" ".join(f"--domain {name}" for name in sorted(clean)))
        raise DtdaError(
            f"{len(known)} of the {len(numbers)} {part} pictures show people that the checkpoint was trained on "
            f"({len(people & seen)} of {len(people)} people); name {' or '.join(ways)}. If they only have the same names, "
            "give them others in the column subject."
        )


def _notes(people: set[str], seen: frozenset[str]) -> list[str]:
    """What the check for people that were trained on let pass."""
    notes = []
    if people & seen:
        notes.append("Some of these people were trained on in other pictures, as the protocol's lists want it: the figures "
                     "are not about new people.")  # fmt: skip
    if "" in people | seen:
        notes.append("Pictures without a subject cannot be told from those of people that were trained on.")
    return notes


def _on_domains(parts: Parts, records: Sequence[Record], domains: Sequence[str]) -> Parts:
    """Parts whose test is on the domains named only; all where none is."""
    present = sorted({records[number].domain for number in parts["test"]})
    for name in domains:
        if name not in present:
            raise DtdaError(f"the test part has no domain {name}; there are {', '.join(present)}.")
    test = tuple(number for number in parts["test"] if not domains or records[number].domain in domains)
    return {**parts, "test": test}
