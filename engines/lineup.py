"""All that can run a student here, and all that cannot and why: the rows of `dtda engine bench` but for those of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.preprocess import CropRule
from dtda.core.sidecar import read_sidecar, sha256
from dtda.engines import plan, store
from dtda.engines.base import Engine
from dtda.engines.latency import Row, Runner
from dtda.engines.ort import student_threads
from dtda.engines.parents import ONNXRUNTIME_ONLY
from dtda.engines.probe import Probe
from dtda.engines.registry import open_engine, student_path

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Student:
    """One student in all its precisions. files: by precision, FP32 first where there is one. engines: built from them."""

    name: str
    rule: CropRule
    files: dict[str, Path]
    engines: tuple[store.Entry, ...] = ()


def students(paths: Sequence[Path | str], probe: Probe) -> list[Student]:
    """The students that these files are or were made from, each with its files in other precisions that lie beside it
    (`student.fp16.onnx`) and its engines. paths: ONNX students and engines, or names of shipped ones; none for the default.

    Raises DtdaError for other files, and for an engine whose student is gone.
    """
    found: dict[tuple[str, CropRule], Student] = {}
    named: list[store.Entry] = []
    for spec in paths or ["auto"]:
        path = student_path(spec)
        if path.suffix.lower() == plan.SUFFIX:
            named.append(store.entry(path, probe))
            path = parent(named[-1])
        if path.suffix.lower() == ".json":
            raise DtdaError(f"{path}: {ONNXRUNTIME_ONLY} Time it with `dtda bench --engine {path}`.")
        sidecar = read_sidecar(path)
        student = found.setdefault((sidecar.name, sidecar.rule), Student(sidecar.name, sidecar.rule, {}))
        if student.files.setdefault(sidecar.precision, path) != path:
            raise DtdaError(
                f"{path} and {student.files[sidecar.precision]} are both {sidecar.name} in {sidecar.precision}; "
                "compare one at a time."
            )
    engines = [*named, *(one for one in store.entries(probe) if one.path not in {each.path for each in named})]
    return [_complete(student, engines) for student in found.values()]


def parent(entry: store.Entry) -> Path:
    """The ONNX student an engine was built from, when it is still where it was. Raises DtdaError."""
    if entry.header is None:
        raise DtdaError(entry.reason)
    path = Path(entry.header.onnx_path)
    if entry.header.kind != "student":
        raise DtdaError(f"{entry.path} runs a detector; only students are compared here.")
    if not path.is_file():
        raise DtdaError(f"{entry.path}: its student {path} is gone, so there is nothing to compare with; restore it.")
    return path


def _complete(student: Student, engines: Sequence[store.Entry]) -> Student:
    files = dict(student.files)
    for path in student.files.values():
        for precision in PRECISIONS:
            beside = path.with_name(f"{path.stem}.{precision}.onnx")
            if precision not in files and beside.is_file():
                files[precision] = beside
    files = {precision: files[precision] for precision in PRECISIONS if precision in files}
    hashes = {sha256(path) for path in files.values()}
    places = {str(path.absolute()) for path in files.values()}
    own = [
        one for one in engines if one.header and (one.header.onnx_sha256 in hashes or one.header.onnx_path in places)
    ]
    return replace(student, files=files, engines=tuple(own))


def rows(student: Student, probe: Probe) -> list[Row]:
    """onnxruntime on the CPU first, the reference; then on CUDA; then every engine of TensorRT, or why there is none."""
    gpu = probe.gpu or "GPU"
    found = []
    for provider, device in (("cpu", "CPU"), ("cuda", gpu)):
        for precision, path in student.files.items():
            threads = student_threads() if provider == "cpu" else 0
            found.append(Row(student.name, f"onnxruntime {onnxruntime.__version__}", precision, device, threads, path,
                             partial(open_engine, path, provider)))  # fmt: skip
    for entry in student.engines:
        assert entry.header is not None
        found.append(Row(student.name, entry.header.runtime, entry.header.precision, gpu, 0, entry.path,
                         partial(_open, entry)))  # fmt: skip
    if not student.engines:
        first = next(iter(student.files.values()))
        why = f"{first.name} has no engine yet; build one with `dtda engine build {first}`."
        if probe.state != "ready":
            why = probe.text
        found.append(Row(student.name, "TensorRT", "fp32", gpu, 0, first, _never(why)))
    return found


def _open(entry: store.Entry) -> Engine:
    if entry.reason:
        raise DtdaError(entry.reason)
    return open_engine(entry.path)


def _never(why: str) -> Callable[[], Runner]:
    def refuse() -> Runner:
        raise DtdaError(why)

    return refuse
