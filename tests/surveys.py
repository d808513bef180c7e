"""Machines and engines for tests of the window: what a survey could find. Files need not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtda.app.inventory import Row, Survey, engine_row
from dtda.engines.parity import Parity
from dtda.engines.plan import Header
from dtda.engines.probe import Probe
from dtda.engines.store import Entry

FOLDER = Path("/engines")
CARD = "NVIDIA GeForce RTX 4070"
NO_GPU = Probe("no_driver", "There is no NVIDIA driver here.", can_build=True, build_package="tensorrt_rtx")
NO_TENSORRT = Probe(
    "no_tensorrt", "TensorRT is not installed.", 'pip install "tensorrt>=10.13,<12"', CARD, compute_capability="8.9"
)
READY = Probe(
    state="ready",
    text="",
    gpu=CARD,
    compute_capability="8.9",
    driver="580.65.06",
    package="tensorrt",
    version="11.4.0.106",
    device_library="pycuda",
    can_build=True,
    build_package="tensorrt",
)
PARITY = Parity(frames=96, max_dp=0.0012, mean_dp=0.0002, flips=0, limit=0.02, passed=True, reference="onnxruntime")


def header(onnx: Path | str = "/students/tiny.onnx", **changes: Any) -> Header:
    fields: dict[str, Any] = {
        "name": "tiny",
        "package": "tensorrt",
        "version": "11.4.0.106",
        "platform": "linux-x86_64",
        "gpu": CARD,
        "compute_capabilities": ["8.9"],
        "precision": "fp16",
        "onnx_sha256": "a" * 64,
        "onnx_path": str(onnx),
        "built": "2026-11-22T18:20:00+00:00",
        "seconds": 48.0,
        "parity": PARITY,
        "latency_ms": 0.31,
    }
    return Header(**fields | changes)


def student(path: Path, provider: str = "cpu", reason: str = "") -> Row:
    return Row(
        spec=str(path),
        provider=provider,
        path=path,
        student=path.stem,
        backend="onnxruntime 1.2.3",
        precision="fp32",
        batch=None,
        device="CPU" if provider == "cpu" else "CUDA",
        bytes=3_400_000,
        built="",
        state="elsewhere" if reason else "ready",
        reason=reason,
    )


def engine(file: str = "tiny.fp16.engine", reason: str = "", ours: bool = True, **changes: Any) -> Row:
    made = header(**changes)
    return engine_row(Entry(FOLDER / file, made, 5_400_000, ours, reason.replace("REBUILD", made.rebuild)))


def damaged(name: str = "broken.engine") -> Row:
    return engine_row(Entry(FOLDER / name, None, 12, False, f"{FOLDER / name} is cut short."))


def survey(probe: Probe = READY, *rows: Row) -> Survey:
    """With a student on the CPU, and the engines named."""
    return Survey(probe, (student(Path("/students/tiny.onnx")), *rows))
