"""The onnxruntime backend: students on the CPU or, when asked for, on CUDA."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, read_sidecar
from dtda.core.types import EngineInfo, Floats, Image
from dtda.engines.base import check_chips

_PROVIDERS = {"auto": "CPUExecutionProvider", "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def open_engine(path: Path, provider: str = "auto") -> OrtEngine:
    """Load an ONNX student and its sidecar. Raises DtdaError when they do not fit or the provider is not there."""
    sidecar = read_sidecar(path)
    return OrtEngine(path, sidecar, open_session(path, provider, threads=student_threads()))


def student_threads() -> int:
    """Half of the cores, at most four: a student is too small to gain from more, waking them costs more than they save."""
    return min(4, max(1, (os.cpu_count() or 1) // 2))


def open_session(model: Path | bytes, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """A session on exactly the provider asked for. model: an ONNX file, or its bytes. Raises DtdaError."""
    if provider not in _PROVIDERS:
        raise DtdaError(f"{provider} is not a provider; {', '.join(_PROVIDERS)} are.")
    wanted = _PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if provider == "cuda" and wanted in available and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    label = "the model" if isinstance(model, bytes) else str(model)
    session = None
    if wanted in available:
        try:
            source = model if isinstance(model, bytes) else str(model)
            session = onnxruntime.InferenceSession(source, session_options(threads), providers=[wanted])
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            first = str(error).strip().splitlines()[0]
            raise DtdaError(f"{label} is not a usable ONNX file ({first}); export or download it again.") from error
    # onnxruntime falls back to the CPU without an exception when CUDA or cuDNN do not load.
    if session is None or session.get_providers()[0] != wanted:
        raise DtdaError(
            "onnxruntime cannot use CUDA here; use --provider cpu, or install its GPU build and its CUDA libraries: "
            'pip uninstall onnxruntime; pip install "onnxruntime-gpu[cuda,cudnn]".'
        )
    return session


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """At most four threads, which sleep between frames: spinning ones take the cores that capture and window need."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = min(4, threads)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OrtEngine:
    """A student in an onnxruntime session; see `base.Engine`."""

    def __init__(self, path: Path, sidecar: Sidecar, session: onnxruntime.InferenceSession) -> None:
        _check_graph(path, session, sidecar.size)
        self._session: onnxruntime.InferenceSession | None = session
        self.info = EngineInfo(
            name=sidecar.name,
            path=str(path),
            backend=f"onnxruntime {onnxruntime.__version__}",
            provider=session.get_providers()[0],
            precision=sidecar.precision,
            size=sidecar.size,
            margin=sidecar.margin,
            threshold=sidecar.threshold,
            sha256=sidecar.sha256,
            notes=tuple(sidecar.notes),
            crop=sidecar.crop,
        )
        self.infer(np.zeros((1, sidecar.size, sidecar.size, 3), np.uint8))  # a broken graph fails now, not later

    def infer(self, chips: Image) -> Floats:
        check_chips(chips, self.info.size)
        if self._session is None:
            raise ValueError("the engine is closed")
        if len(chips) == 0:
            return np.empty(0, np.float32)
        batch = np.ascontiguousarray(chips.transpose(0, 3, 1, 2))
        try:
            p_live = np.asarray(self._session.run(["p_live"], {"image": batch})[0])
        except Exception as error:  # as above
            raise self._failure(str(error).strip().splitlines()[0]) from error
        if p_live.shape != (len(chips),):
            raise self._failure(f"it returned shape {list(p_live.shape)} for {len(chips)} faces")
        if not np.all((p_live >= 0) & (p_live <= 1)):
            raise self._failure("it returned values outside [0, 1], as without its sigmoid")
        return p_live

    def _failure(self, what: str) -> DtdaError:
        return DtdaError(f"{self.info.path} does not work as a student ({what}); export it again with `dtda export`.")

    def close(self) -> None:
        self._session = None


def _check_graph(path: Path, session: onnxruntime.InferenceSession, size: int) -> None:
    """Raises DtdaError unless the graph is `image` uint8 [N, 3, size, size] -> `p_live` float32 [N].

    A student trained with a cue map also gives `cue_map`, which is not asked for.
    """
    outputs = [node for node in session.get_outputs() if node.name != "cue_map"]
    problem = _mismatch("input", session.get_inputs(), "image", "tensor(uint8)", [3, size, size])
    problem = problem or _mismatch("output", outputs, "p_live", "tensor(float)", [])
    if problem:
        raise DtdaError(f"{path} is not a student of this program: {problem}; export it with `dtda export`.")


def _mismatch(kind: str, nodes: list[Any], name: str, dtype: str, shape: list[int]) -> str:
    """What is wrong with the inputs or outputs, empty when nothing is."""
    if len(nodes) != 1 or nodes[0].name != name:
        return f"its {kind} is {', '.join(node.name for node in nodes)}, not {name}"
    node = nodes[0]
    if node.type != dtype:
        return f"its {kind} is {node.type}, not {dtype}"
    if not node.shape or list(node.shape[1:]) != shape or isinstance(node.shape[0], int):
        return f"its {kind} has the shape {node.shape}, not {['N', *shape]}"
    return ""
