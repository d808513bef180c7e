"""Checkpoints: written whole or not at all; they rebuild their own model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from dtda.core.errors import DtdaError
from dtda.core.models.student import Student, build_student
from dtda.core.training.config import TrainConfig

FORMAT = 2


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside and rename: a kill or a full disk leaves the last checkpoint whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"format": FORMAT, **state}, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise DtdaError(
            f"{path}: the checkpoint could not be written ({error}); free some space and resume."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, on the CPU. Only tensors and plain data are read, never code. Raises DtdaError."""
    if not path.is_file():
        raise DtdaError(f"{path}: no such checkpoint; train one with `dtda train`.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is raised for foreign bytes differs by their first ones
        raise DtdaError(f"{path}: not a readable checkpoint of this program.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not {"config", "student", "ema"} <= set(state):
        raise DtdaError(f"{path}: not a checkpoint of this program (format {FORMAT}).")
    return state


def configuration(path: Path, state: dict[str, Any]) -> TrainConfig:
    """The configuration a checkpoint was trained with. Raises DtdaError when this version does not know it."""
    try:
        return TrainConfig.model_validate(state["config"])
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise DtdaError(
            f"{path}: was trained by another version of this program (its {where}); train it again."
        ) from error


@dataclass(frozen=True)
class Trained:
    """A student as it is evaluated and exported: averaged weights, in eval mode."""

    student: Student
    config: TrainConfig
    state: dict[str, Any]


def load_student(path: Path) -> Trained:
    """Rebuild the student of a checkpoint. Raises DtdaError when its weights do not fit its architecture."""
    state = load(path)
    config = configuration(path, state)
    student = build_student(config.student, config.dropout, cue_map=config.cue_map > 0)
    try:
        student.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise DtdaError(f"{path}: its weights are not those of a {config.student} student.") from error
    return Trained(student.eval(), config, state)


def people_of(config: TrainConfig) -> set[str]:
    """Who trained the students a run starts from; nobody where it starts from random, ImageNet's or foreign weights.

    Raises DtdaError for a checkpoint of this program that does not say.
    """
    people: set[str] = set()
    for path in (Path(config.weights), Path(config.texture)):
        if not path.is_file() or path.suffix == ".json":
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "student" in state and "trained_on" not in state:
            raise DtdaError(f"{path}: does not say whom it was trained on, so no test of its successor could be trusted; "
                            "train it again.")  # fmt: skip
        people.update(state["trained_on"] if "student" in state else ())
    return people
