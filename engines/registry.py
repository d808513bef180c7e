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

DEFAULT_STUDENT = "student-mobile.onnx"
# Each module has open_engine(path, provider) -> Engine.
_BACKENDS = {
    ".onnx": "dtda.engines.ort",
    ".engine": "dtda.engines.tensorrt",
    ".json": "dtda.engines.foreign",
}


def open_engine(path: Path | str, provider: str = "auto") -> Engine:
    """Load a student. path: an ONNX file beside its sidecar, a TensorRT engine, the description of networks from
    elsewhere (core/foreign.py), or "auto" for the ONNX that is shipped.

    provider: of ONNX files; "auto" and "cpu" run on the CPU, "cuda" on an NVIDIA GPU or not at all. Engines run on
    the GPU. Raises DtdaError.
    """
    model = default_student() if str(path) == "auto" else Path(path).expanduser()
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


def default_student() -> Path:
    """Path of the student in dtda.assets. Raises DtdaError when the installation lacks it."""
    path = Path(str(resources.files("dtda.assets").joinpath(DEFAULT_STUDENT)))
    if not path.is_file():
        raise DtdaError(f"{path}: the default student is missing; install the package again or name one by --engine.")
    return path
