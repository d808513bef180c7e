"""Training configuration: TOML, overridable as `section.key=value` from the command line, saved with the checkpoint."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dtda.core.errors import DtdaError
from dtda.core.preprocess import Crop
from dtda.core.settings import read_toml, wrong_field

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Strength = Annotated[float, Field(ge=0, le=0.95)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataPart(Part):
    """manifests: CSV files of pictures. protocol, fold: who trains and who tests (core/data/protocols.toml). size,
    margin, crop: the crop rule. crops: cuts of each training picture. balance_cues: weigh samples so that brightness and the
    like carry no label (balance.py). cache: folder of the chips, default `chips` beside the first manifest."""

    manifests: Annotated[list[Path], Field(min_length=1)]
    size: Annotated[int, Field(ge=32, le=512)] = 128
    margin: Annotated[float, Field(ge=1.2, le=6)] = 2.5
    crop: Crop = "aligned"
    crops: Positive = 3
    protocol: str = "splits"
    fold: str | None = None
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
    """Linear warm-up, then cosine decay, or steps: a tenth after each share of the run in `milestones`. batch: pictures
    per step, over all processes. begun: factor on the rate of weights that did not start at random. ema: decay of the
    averaged weights. keep: share of what those started from in the student at the end. clip: largest gradient
    norm. smoothing: of labels."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    epochs: Positive = 20
    batch: Positive = 60
    lr: Rate = 2e-3
    begun: Rate = 1.0
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.03
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: list[Share] = [0.6, 0.85]
    warmup: Share = 0.05
    clip: Annotated[float, Field(gt=0)] = 5.0
    ema: Share = 0.998
    keep: Share = 0.0
    smoothing: Share = 0.02


class AttackPart(Part):
    """Domain adversarial attack; all of it is our reconstruction. eps: largest change of a value in [0, 1]. steps: T.
    alpha: length of a step, default eps for one step and 2 eps / T for more. weight: of the loss on attacked pictures.
    share: part of every batch that is attacked; less than all is cheaper, and teachers then see the rest as it is."""

    objective: Literal["confuse", "untargeted"] = "confuse"
    eps: Annotated[float, Field(gt=0, le=0.5)] = 2 / 255
    alpha: Rate | None = None
    steps: Positive = 1
    start: Literal["zero", "noise"] = "zero"
    weight: Weight = 1.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0


class DomainPart(Part):
    """adversary: none (ERM), dat (gradient reversal into the student), daa (attack on the pictures). hidden, lr: of the
    discriminator, lr as a factor on the student's. reversal: lambda of DAT, reached along Ganin's ramp."""

    adversary: Literal["none", "dat", "daa"] = "none"
    hidden: Positive = 256
    lr: Rate = 1.0
    reversal: Weight = 0.3
    attack: AttackPart = AttackPart()


class TeacherPart(Part):
    """A frozen face network the student imitates on the (attacked) pictures. options: of models.teachers.open_teacher.
    weight: of its loss. share: part of every batch it sees; the rest costs nothing. Of a face network features are
    imitated, minus their running mean with `centre`, by `distance`; of an anti-spoofing network its classes, softened by
    `temperature`."""

    kind: Literal["arcface", "stargan", "onnx", "antispoof"]
    file: Path
    weight: Weight = 0.5
    distance: Literal["cosine", "mse"] = "cosine"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    centre: bool = True
    temperature: Annotated[float, Field(ge=1, le=20)] = 2.0
    options: dict[str, bool | int | float | str] = {}


class TrainConfig(Part):
    """student: a name of `models.student.STUDENTS`. weights: of its trunk to start from: random, imagenet, or a file.
    texture: of the EfficientNet-Lite0 of pair-lite and resnet18-lite: random, or a file, ImageNet's or a checkpoint.
    frozen: so many of its 11 (9) blocks are not trained: what sees pixels stays as photographs made it.
    cue_map: weight of the loss on the map of live logits, 0 for no map. alone: weight of the loss of each branch of a
    student by itself (without it the one that learns fastest leaves the others nothing to learn), which are then calibrated
    each by itself. precision: Lightning Fabric's, 32-true, bf16-mixed or 16-mixed. threads: of torch, 0 = its default.
    workers: loader processes. checkpoint_minutes: a killed run loses at most so much. track_target: score the test part
    after every epoch too, for the field's convention; nothing is chosen by it."""

    name: str = "student"
    student: str = "mobile"
    weights: str = "random"
    texture: str = "random"
    frozen: Annotated[int, Field(ge=0, le=9)] = 0
    dropout: Share = 0.2
    cue_map: Weight = 0.0
    alone: Weight = 0.0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    track_target: bool = True
    seed: Natural = 0
    device: str = "auto"
    threads: Natural = 0
    workers: Natural = 1
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 2.0
    data: DataPart
    augment: AugmentPart = AugmentPart()
    optim: OptimPart = OptimPart()
    domain: DomainPart = DomainPart()
    teachers: dict[str, TeacherPart] = {}

    @model_validator(mode="after")
    def _something_to_keep(self) -> TrainConfig:
        if self.optim.keep and self.weights == "random":
            raise ValueError("optim.keep needs weights to start from, which are random here")
        if self.optim.begun != 1 and self.weights == "random":
            raise ValueError("optim.begun is about weights to start from, which are random here")
        if self.frozen and "random" == self.weights == self.texture:
            raise ValueError("frozen is about weights to start from, which are random here")
        return self


def same_run(before: TrainConfig, after: TrainConfig) -> bool:
    """Whether both compute the same: how a run is executed may differ."""
    running = {"workers", "threads", "device", "checkpoint_minutes"}
    return before.model_dump(exclude=running) == after.model_dump(exclude=running)


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A TOML file with `section.key=value` overrides; values are TOML, bare words are text.

    Relative paths in the file are relative to the current folder. Raises DtdaError naming the first wrong field.
    """
    return _overridden(read_toml(path, "no such configuration file"), overrides, str(path))


def changed(config: TrainConfig, overrides: Sequence[str], where: str) -> TrainConfig:
    """A copy with `section.key=value` overrides as of `read_config`. where: what they are of, for the error. Raises
    DtdaError naming the first wrong field."""
    return _overridden(config.model_dump(), overrides, where)


def _overridden(values: dict[str, Any], overrides: Sequence[str], where: str) -> TrainConfig:
    for override in overrides:
        _apply(values, override)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise wrong_field(where, error) from error


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
