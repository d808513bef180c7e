"""Training configuration: TOML, overridable as `section.key=value` from the command line, saved with the checkpoint."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.errors import DtdaError

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Strength = Annotated[float, Field(ge=0, le=0.95)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataPart(Part):
    """manifests: CSV files of pictures. size, margin: the crop rule. crops: cuts of each training picture. held_out:
    domains never trained on. balance_cues: weigh samples so that brightness and the like carry no label (balance.py)."""

    manifests: Annotated[list[Path], Field(min_length=1)]
    size: Annotated[int, Field(ge=32, le=512)] = 128
    margin: Annotated[float, Field(ge=1.2, le=6)] = 2.5
    crops: Positive = 3
    held_out: list[str] = []
    balance_cues: bool = True
    cache: Path | None = None


class AugmentPart(Part):
    """Chances and strengths of what is done to a chip, the same for both classes."""

    flip: Share = 0.5
    colour: Share = 0.8
    brightness: Strength = 0.35
    contrast: Strength = 0.35
    saturation: Strength = 0.35
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    grey: Share = 0.05
    blur: Share = 0.25
    noise: Share = 0.25
    jpeg: Share = 0.3
    erase: Share = 0.2


class OptimPart(Part):
    """AdamW with linear warm-up and cosine decay. batch: pictures per step. ema: decay of the averaged weights."""

    epochs: Positive = 20
    batch: Positive = 60
    lr: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.03
    warmup: Share = 0.05
    clip: Annotated[float, Field(gt=0)] = 5.0
    ema: Share = 0.998
    smoothing: Share = 0.02


class TrainConfig(Part):
    """student: a name of `models.student.STUDENTS`. threads: of torch, 0 = its default. workers: loader processes.
    checkpoint_minutes: a killed run loses at most so much."""

    name: str = "student"
    student: str = "mobile"
    dropout: Share = 0.2
    seed: Natural = 0
    device: str = "auto"
    threads: Natural = 0
    workers: Natural = 1
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 2.0
    data: DataPart
    augment: AugmentPart = AugmentPart()
    optim: OptimPart = OptimPart()


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A TOML file with `section.key=value` overrides; values are TOML, bare words are text.

    Relative paths in the file are relative to the current folder. Raises DtdaError naming the first wrong field.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DtdaError(f"{path}: no such configuration file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DtdaError(f"{path}: not valid TOML ({error}).") from error
    for override in overrides:
        _apply(values, override)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DtdaError(f"{path}: {where}: {first['msg']}.") from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise DtdaError(f"{override}: an override is written section.key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise DtdaError(f"{override}: {section} is not a section.")
    values[name] = value
