"""Opens a student with the backend its suffix names; the backend's library is imported only then."""

from __future__ import annotations

import importlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dtda.core.errors import DtdaError
from dtda.engines.base import Engine

if TYPE_CHECKING:
    from dtda.core.sidecar import Threshold

SHIPPED = ("student-mobile", "student-r18")  # in dtda.assets, the default first
# Each module has open_engine(path, provider) -> Engine.
_BACKENDS = {
    ".onnx": "dtda.engines.ort",
    ".engine": "dtda.engines.tensorrt",
    ".json": "dtda.engines.foreign",
}


def open_engine(path: Path | str, provider: str = "auto") -> Engine:
    """Load a student. path: an ONNX file beside its sidecar, a TensorRT engine, the description of networks from
    elsewhere (core/foreign.py), or as of `student_path`.

    provider: of ONNX files; "auto" and "cpu" run on the CPU, "cuda" on an NVIDIA GPU or not at all. Engines run on
    the GPU. Raises DtdaError.
    """
    model = student_path(path)
    backend = _BACKENDS.get(model.suffix.lower())
    if backend is None:
        raise DtdaError(
            f"{model}: {model.suffix or 'a file without a suffix'} is not a kind of engine that is known; "
            f"{', '.join(_BACKENDS)} are, so name the ONNX student it was made from."
        )
    return cast(Engine, importlib.import_module(backend).open_engine(model, provider))


def working_points(path: Path) -> dict[str, Threshold]:
    """The thresholds that come with what `open_engine` has opened, `default` first. Raises DtdaError."""
    from dtda.core.sidecar import Threshold, read_sidecar

    if path.suffix.lower() == ".json":
        from dtda.core.foreign import read_foreign

        foreign = read_foreign(path)
        return {"default": Threshold(value=foreign.threshold, rule=foreign.threshold_rule, split="see its source")}
    if path.suffix.lower() == ".engine":
        from dtda.engines.plan import read_header

        header = read_header(path)
        return dict(header.sidecar.thresholds) if header.sidecar else {}
    found = read_sidecar(path).thresholds
    return {"default": found["default"], **found}


def student_path(spec: Path | str) -> Path:
    """The file that is meant: a path, "auto" for the default student, or the name of one that is shipped. Raises DtdaError
    when the installation lacks that."""
    name = SHIPPED[0] if str(spec) == "auto" else str(spec)
    if name not in SHIPPED:
        return Path(spec).expanduser()
    path = Path(str(resources.files("dtda.assets").joinpath(f"{name}.onnx")))
    if not path.is_file():
        raise DtdaError(
            f"{path}: a student that is shipped is missing; install the package again or name another file."
        )
    return path


def default_student() -> Path:
    """Path of the student that runs unless another is named. Raises DtdaError when the installation lacks it."""
    return student_path("auto")
