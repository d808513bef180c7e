"""Protocols as data: which pictures train, which set the threshold, which test. The table is protocols.toml beside this.

A filter is a table of column -> allowed values, over `domain`, `split`, `attack_type`, `subject` and any tag; it selects
the pictures that match all of it, a list of filters those that match any. `attack_type` and `instrument` restrict
attacks only: a bona fide picture has neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.data.manifest import Record
from dtda.core.errors import DtdaError
from dtda.core.settings import read_toml, wrong_field
from dtda.core.types import Label

BUILT_IN = Path(__file__).with_name("protocols.toml")
CARVED = 6  # one subject in so many moves from train to dev where a set has no dev part

Filter = dict[str, list[str]]
Filters = Annotated[list[Filter], Field(min_length=1)]


class FoldRule(BaseModel):
    """carve: domains of the training part that have no dev part of their own; every sixth subject goes there."""

    model_config = ConfigDict(extra="forbid")
    name: str
    train: Filters
    dev: list[Filter] = []
    test: Filters
    carve: list[str] = []


class Protocol(BaseModel):
    """Folds written out, or made by leaving out each value of the column `leave_out` that `test` contains in turn.

    shared_subjects: the official lists have the same people in training and test.
    """

    model_config = ConfigDict(extra="forbid")
    about: str
    shared_subjects: bool = False
    leave_out: str = ""
    fold: Annotated[list[FoldRule], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Fold:
    """Indices of records. dev is of the source domains: thresholds come from there, never from the target.
    sources, targets: domains of the training and of the test part."""

    name: str
    train: tuple[int, ...]
    dev: tuple[int, ...]
    test: tuple[int, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]


def read_protocols(path: Path = BUILT_IN) -> dict[str, Protocol]:
    """All protocols of a TOML file. Raises DtdaError naming the first wrong field."""
    tables = read_toml(path, "no such file of protocols")
    try:
        return {name: Protocol.model_validate(table) for name, table in tables.items()}
    except ValidationError as error:
        raise wrong_field(path, error) from error


def resolve(name: str, records: Sequence[Record], fold: str | None = None) -> list[Fold]:
    """The folds of a protocol over these records, or the one named.

    name: of a built-in protocol, or FILE.toml:NAME. Raises DtdaError for an unknown protocol or fold, a domain that is not
    in the data, a part without live or attack pictures, and people who stand on both sides.
    """
    file, _, key = name.rpartition(":")
    protocols = read_protocols(Path(file)) if file else read_protocols()
    if key not in protocols:
        raise DtdaError(f"{key}: no such protocol; there are {', '.join(protocols)}.")
    protocol = protocols[key]
    rules = [made for rule in protocol.fold for made in _expanded(rule, protocol.leave_out, records)]
    if not rules:
        raise DtdaError(f"protocol {key}: no picture has a {protocol.leave_out} to leave out.")
    chosen = [rule for rule in rules if fold in (None, rule.name)]
    if not chosen:
        raise DtdaError(f"protocol {key} has no fold {fold}; there are {', '.join(rule.name for rule in rules)}.")
    return [_fold(key, rule, protocol.shared_subjects, records) for rule in chosen]


def _expanded(rule: FoldRule, column: str, records: Sequence[Record]) -> list[FoldRule]:
    if not column:
        return [rule]
    tested = {_value(record, column) for record in records if _selected(record, rule.test)} - {""}
    present = {_value(record, column) for record in records if _selected(record, [*rule.train, *rule.test])} - {""}
    folds = []
    for left in sorted(tested):
        rest = sorted(present - {left})
        folds.append(
            FoldRule(
                name=rule.name.replace("{}", left),
                train=[part | {column: rest} for part in rule.train],
                dev=[part | {column: rest} for part in rule.dev],
                test=[part | {column: [left]} for part in rule.test],
                carve=rule.carve,
            )
        )
    return folds


def _fold(protocol: str, rule: FoldRule, shared_subjects: bool, records: Sequence[Record]) -> Fold:
    title = f"protocol {protocol}, fold {rule.name}"
    present = {record.domain for record in records}
    for part in (*rule.train, *rule.dev, *rule.test):
        for domain in part.get("domain", []):
            if domain not in present:
                raise DtdaError(f"{title}: needs {domain}, which is not in the data; there are "
                                f"{', '.join(sorted(present))}.")  # fmt: skip
    train, dev, test = ([i for i, record in enumerate(records) if _selected(record, filters)]
                        for filters in (rule.train, rule.dev, rule.test))  # fmt: skip
    moved = {
        subject
        for domain in rule.carve
        for subject in sorted({records[i].subject for i in train if records[i].domain == domain})[::CARVED]
    }
    dev += [i for i in train if records[i].subject in moved]
    train = [i for i in train if records[i].subject not in moved]
    for name, numbers in (("train", train), ("dev", dev), ("test", test)):
        labels = {records[i].label for i in numbers}
        if len(labels) < 2:
            raise DtdaError(f"{title}: its {name} part needs live and spoof pictures; it has "
                            f"{'only ' + labels.pop().value if labels else 'none'}.")  # fmt: skip
    for domain in sorted({records[i].domain for i in train}):
        labels = {records[i].label for i in train if records[i].domain == domain}
        if len(labels) < 2:  # the domain would tell the label
            raise DtdaError(f"{title}: source {domain} has only {labels.pop().value} training pictures; add the others or "
                            "leave it out.")  # fmt: skip
    if not shared_subjects:
        _check_apart(title, records, {"train": train, "dev": dev, "test": test})
    sources, targets = (tuple(sorted({records[i].domain for i in part})) for part in (train, test))
    return Fold(rule.name, tuple(train), tuple(dev), tuple(test), sources, targets)


def _check_apart(title: str, records: Sequence[Record], parts: dict[str, list[int]]) -> None:
    """An identity in two parts would be training on test people."""
    seen: dict[str, str] = {}
    for name, numbers in parts.items():
        for number in numbers:
            subject = records[number].subject
            other = seen.setdefault(subject, name)
            if other != name:
                raise DtdaError(f"{title}: subject {subject} is in its {other} and its {name} part; separate them.")


def _selected(record: Record, filters: Sequence[Filter]) -> bool:
    return any(all(_matches(record, key, values) for key, values in part.items()) for part in filters)


def _matches(record: Record, key: str, values: Sequence[str]) -> bool:
    if key in ("attack_type", "instrument") and record.label is Label.LIVE:
        return True
    return _value(record, key) in values


def _value(record: Record, key: str) -> str:
    if key in ("domain", "split", "attack_type", "subject"):
        return str(getattr(record, key))
    return record.tags.get(key, "")
