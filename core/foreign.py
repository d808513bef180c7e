"""`network.json`: how to use an ONNX liveness network that was trained elsewhere, as an engine or as a teacher.

The user writes it beside the file or files it names; docs/third-party.md has an example. A network that comes as several
on different crops, as Silent-Face-Anti-Spoofing does, is several `networks` whose probabilities are averaged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dtda.core.errors import DtdaError
from dtda.core.preprocess import Crop, CropRule

Positive = Annotated[float, Field(gt=0)]
Numbers = Annotated[list[float], Field(min_length=3, max_length=3)]
Positives = Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Network(BaseModel):
    """One ONNX file. crop, margin, size: its `CropRule`. order: of the colours. mean, std: in code values 0 to 255, one
    number or one per colour in that order: the network is fed (value - mean) / std. output: name, where there are
    several."""

    model_config = ConfigDict(extra="forbid")
    file: Path
    crop: Crop = "upright"
    margin: Annotated[float, Field(ge=1, le=8)]
    size: Annotated[int, Field(ge=16, le=1024)]
    order: Literal["rgb", "bgr"] = "rgb"
    mean: float | Numbers = 0.0
    std: Positive | Positives = 255.0
    output: str = ""

    @property
    def rule(self) -> CropRule:
        return CropRule(self.size, self.margin, self.crop)


class Foreign(BaseModel):
    """classes: width of the output. live: index of the live class; with one class, 0 or, where the output is the
    probability of an attack, -1. activation: what makes the output probabilities; "none" where it holds them already.
    threshold: P(live) from which a face is LIVE, with its rule."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    name: str
    networks: Annotated[list[Network], Field(min_length=1)]
    classes: Annotated[int, Field(ge=1, le=100)] = 2
    live: Annotated[int, Field(ge=-1)] = 1
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    threshold_rule: str = "as published"
    licence: str = "unknown"
    source: str = ""
    notes: list[str] = []

    @model_validator(mode="after")
    def _fits(self) -> Foreign:
        if self.classes == 1:
            if self.activation == "softmax":
                raise ValueError("one output has no softmax; activation is sigmoid or none")
            if self.live not in (0, -1):
                raise ValueError("of one output live is 0, or -1 where it is the probability of an attack")
        elif not 0 <= self.live < self.classes:
            raise ValueError(f"live is the index of one of {self.classes} classes")
        elif self.activation == "sigmoid":
            raise ValueError("several classes are made probabilities by softmax, or are so already (none)")
        return self


def read_foreign(path: Path) -> Foreign:
    """The checked description, the paths of its files made absolute. Raises DtdaError."""
    if not path.is_file():
        raise DtdaError(f"{path}: no such description of a network; docs/third-party.md says how to write one.")
    try:
        foreign = Foreign.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        # Of a value that may be of two kinds, the deepest complaint is about the kind it is.
        found = error.errors() if isinstance(error, ValidationError) else [{"loc": (), "msg": "not text"}]
        first = max(found, key=lambda each: len(each["loc"]))
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DtdaError(
            f"{path}: not a description of a network ({where}: {first['msg']}); docs/third-party.md says how to write one."
        ) from error
    for network in foreign.networks:
        network.file = (path.parent / network.file).absolute()
        if not network.file.is_file():
            raise DtdaError(f"{path}: names {network.file}, which is not there; put it there or correct `file`.")
    return foreign
