"""`student.onnx.json`: all that is needed to use a student rightly, beside its ONNX file.

Training writes it (export.py), engines read it; the two meet only here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.errors import DtdaError
from dtda.core.preprocess import Crop, CropRule

Probability = Annotated[float, Field(ge=0, le=1)]


class Threshold(BaseModel):
    """A working point. value: P(live) at or above it is LIVE. rule: how it was found. split: on which data."""

    model_config = ConfigDict(extra="forbid")
    value: Probability
    rule: str
    split: str


class Sidecar(BaseModel):
    """Contents of the JSON file. `size` in pixels, `margin` and `crop` as in `CropRule`, `sha256` of the ONNX file."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=16, le=1024)]
    margin: Annotated[float, Field(ge=1, le=8)]
    crop: Crop = "aligned"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    thresholds: dict[str, Threshold]
    metrics: dict[str, dict[str, float]] = {}
    training_data: str
    licence: str
    git_revision: str
    notes: list[str] = []

    @property
    def rule(self) -> CropRule:
        return CropRule(self.size, self.margin, self.crop)

    @property
    def threshold(self) -> float:
        """The working point used unless the user names another."""
        return self.thresholds["default"].value


def sidecar_path(model: Path) -> Path:
    return model.with_name(model.name + ".json")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sidecar(model: Path) -> Sidecar:
    """The checked sidecar of an ONNX file. Raises DtdaError when it is missing, malformed or of another file."""
    path = sidecar_path(model)
    if not model.is_file():
        raise DtdaError(f"{model}: no such model file; name an ONNX student or use --engine auto.")
    if not path.is_file():
        raise DtdaError(
            f"{model}: its sidecar {path.name} is missing; export the student again with `dtda export`, or describe a "
            "network from elsewhere as docs/third-party.md says and name that file."
        )
    try:
        sidecar = Sidecar.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "not text"}
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DtdaError(
            f"{path}: not a valid sidecar ({where}: {first['msg']}); export the student again with `dtda export`."
        ) from error
    if "default" not in sidecar.thresholds:
        raise DtdaError(f"{path}: it names no default threshold; export the student again with `dtda export`.")
    if sha256(model) != sidecar.sha256:
        raise DtdaError(
            f"{path.name} belongs to another file than {model} (sha256 differs); export the student again with "
            "`dtda export` or restore the matching pair."
        )
    return sidecar


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside and rename, so that a crash or a full disk leaves the old file whole.

    Raises DtdaError when the path names a folder, OSError naming the path when it cannot be written.
    """
    if path.name in ("", "..") or path.is_dir():
        raise DtdaError(f"{path} is a folder; name a file in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            temporary.write_bytes(data)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from within names this path, if no other: that of a full disk does not say whose."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_sidecar(model: Path, sidecar: Sidecar) -> None:
    write_atomic(sidecar_path(model), (sidecar.model_dump_json(indent=2) + "\n").encode())
