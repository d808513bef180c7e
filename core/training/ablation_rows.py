"""The rows of an ablation table as data: what each changes in the configuration, and which of its terms it keeps.

[[row]]
name = "no lattice"
change = ['data.manifests=["data/no-lattice/manifest.csv"]', "optim.lr=1e-3"]
terms = ["daa", "perceptual"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.errors import DtdaError
from dtda.core.settings import read_toml, wrong_field
from dtda.core.training.config import TrainConfig, changed

ADVERSARIES = ("dat", "daa")
WARM = "warm-up"  # the run that the rows of its fold and seed start from
BASE = "ERM"


class Row(BaseModel):
    """One row. change: overrides `section.key=value`, as on the command line. terms: the adversary (dat, daa) and the names
    of the teachers that are on; the configuration says how strong each is, and without terms it says which, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[^|\r\n]*[^\W_][^|\r\n]*$")]
    change: tuple[str, ...] = ()
    terms: tuple[str, ...] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    row: Annotated[list[Row], Field(min_length=1)]


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row(name=BASE, terms=()),
        Row(name="DAT", terms=("dat",)),
        Row(name="DAA", terms=("daa",)),
        Row(name="DAA + perceptual", terms=("daa", "perceptual")),
        Row(name="DAA + generative", terms=("daa", "generative")),
        Row(name="DTDA", terms=("daa", "perceptual", "generative")),
    )
}


def slug(name: str) -> str:
    """The name of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name).lower()


def read_rows(path: Path) -> dict[str, Row]:
    """Rows of a TOML file by name. Raises DtdaError naming the first wrong field, and for names that share a folder."""
    try:
        rows = _File.model_validate(read_toml(path, "no such file of rows")).row
    except ValidationError as error:
        raise wrong_field(path, error, "docs/training.md shows a file of rows") from error
    taken = {slug(WARM): WARM}
    for row in rows:
        folder = slug(row.name)
        if folder in taken:
            raise DtdaError(
                f"{path}: the rows {taken[folder]} and {row.name} would share the folder {folder}; rename one."
            )
        taken[folder] = row.name
    return {row.name: row for row in rows}


def picked(names: Sequence[str], rows: Mapping[str, Row] = ROWS) -> list[Row]:
    """The rows named, in that order. Raises DtdaError for one that is not there."""
    for name in names:
        if name not in rows:
            raise DtdaError(f"{name}: no such row; there are {', '.join(rows)}.")
    return [rows[name] for name in dict.fromkeys(names)]


def row_config(config: TrainConfig, row: Row) -> TrainConfig:
    """The configuration of one row.

    Raises DtdaError for a change that does not fit or that is not a row's to make, and for a term that there is not.
    """
    made = changed(config, row.change, f"the row {row.name}") if row.change else config
    for key in ("name", "seed", "data.protocol", "data.fold"):
        if _value(made, key) != _value(config, key):
            raise DtdaError(f"the row {row.name} changes {key}, which is the same for all rows; leave it out.")
    return made if row.terms is None else _with_terms(made, row)


def _with_terms(config: TrainConfig, row: Row) -> TrainConfig:
    terms = row.terms or ()
    adversaries = [name for name in terms if name in ADVERSARIES]
    if len(adversaries) > 1:
        raise DtdaError(f"the row {row.name} has two adversaries, {' and '.join(adversaries)}; keep one.")
    names = [name for name in terms if name not in ADVERSARIES]
    missing = [name for name in names if name not in config.teachers]
    if missing:
        raise DtdaError(
            f"the row {row.name} needs teachers.{missing[0]} in the configuration; add it or leave the row out."
        )
    domain = config.domain.model_copy(update={"adversary": adversaries[0] if adversaries else "none"})
    return config.model_copy(update={"domain": domain, "teachers": {name: config.teachers[name] for name in names}})


def check_warm(config: TrainConfig, rows: Sequence[Row]) -> None:
    """Raises DtdaError for a row that cannot start from the student that is warmed up for all rows."""
    for row in rows:
        made = row_config(config, row)
        if made.optim.keep or made.optim.begun != 1:
            raise DtdaError(
                f"the row {row.name} has optim.keep or optim.begun, which with --warm would be about the student that is "
                "trained for all rows, not about its published weights; leave --warm out."
            )
        for key in (
            "student",
            "weights",
            "texture",
            "cue_map",
            "data.manifests",
            "data.size",
            "data.margin",
            "data.crop",
        ):
            if _value(made, key) != _value(config, key):
                raise DtdaError(f"the row {row.name} changes {key}, but the student that --warm trains for all rows has "
                                "the configuration's; leave --warm out.")  # fmt: skip


def _value(config: TrainConfig, key: str) -> object:
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)
