"""What can run here: every student with everything that could run it, for the menu and the manager of engines. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo

if TYPE_CHECKING:
    from dtda.engines.parity import Parity
    from dtda.engines.plan import Header
    from dtda.engines.probe import Probe
    from dtda.engines.store import Entry

State = Literal["ready", "elsewhere", "stale"]
NO_CUDA = (
    "this onnxruntime has no CUDA; install its GPU build in its place: "
    'pip uninstall onnxruntime; pip install "onnxruntime-gpu[cuda,cudnn]"'
)


@dataclass(frozen=True, slots=True)
class Row:
    """A student and what runs it.

    spec, provider: as for `open_engine`. precision: "" where it is not known. batch: largest, None for any. bytes: of
    the file or files. built: ISO, UTC, "" for students. latency_ms: of one face. state: ready, cannot run here, or
    stale: cannot run before it is built again. reason: why it is not ready. header: of an engine that can be read.
    """

    spec: str
    provider: str
    path: Path
    student: str
    backend: str
    precision: str
    batch: int | None
    device: str
    bytes: int
    built: str
    state: State
    reason: str
    parity: Parity | None = None
    latency_ms: float | None = None
    header: Header | None = None

    @property
    def is_engine(self) -> bool:
        """Built by this program, as against a student that onnxruntime runs."""
        return self.provider == "auto"

    @property
    def is_student(self) -> bool:
        """As against a face detector's engine."""
        return self.header is None or self.header.kind == "student"

    @property
    def title(self) -> str:
        """For menus."""
        return " · ".join(filter(None, (self.student, self.backend, self.precision.upper(), self.device)))

    def runs(self, info: EngineInfo | None) -> bool:
        """Whether it is the one described."""
        if info is None or Path(info.path) != self.path:
            return False
        return self.is_engine or info.provider.lower().startswith(self.provider)


@dataclass(frozen=True, slots=True)
class Survey:
    """The machine and what can run on it, as found at one moment."""

    probe: Probe
    rows: tuple[Row, ...]

    def row(self, path: str) -> Row | None:
        """The engine or student of this path, whatever its provider."""
        return next((row for row in self.rows if str(row.path) == path), None)


def survey(paths: Iterable[str] = (), refresh: bool = False) -> Survey:
    """Look at the machine, the students that are shipped, and all engines with the students they were built from.

    paths: of students and engines to look at besides; "" is none. refresh: ask again what the machine can do. Takes
    seconds the first time. Raises DtdaError when the ledger of the engines is damaged.
    """
    from dtda.engines import store
    from dtda.engines.probe import probe
    from dtda.engines.registry import SHIPPED, student_path

    machine = probe(refresh)
    named = [Path(path) for path in paths if path]
    found = {entry.path: entry for entry in store.entries(machine)}
    found |= {path: store.entry(path, machine) for path in named if path.suffix == ".engine" and path not in found}
    shipped = {student_path(spec): spec for spec in ("auto", *SHIPPED[1:])}
    parents = [Path(entry.header.onnx_path) for entry in found.values() if entry.header and entry.header.sidecar]
    students = [path for path in dict.fromkeys([*shipped, *named, *parents]) if path.suffix in (".onnx", ".json")]
    rows = [row for path in students for row in student_rows(path, machine, shipped.get(path, str(path)))]
    return Survey(machine, (*rows, *map(engine_row, found.values())))


def student_rows(path: Path, probe: Probe, spec: str) -> Iterator[Row]:
    """A student, or networks from elsewhere, on onnxruntime's CPU and CUDA; nothing for a file that is none (any more).
    spec: what opens it."""
    import onnxruntime

    from dtda.core.foreign import read_foreign
    from dtda.core.sidecar import read_sidecar

    try:
        if path.suffix == ".json":
            foreign = read_foreign(path)
            name, precision, files = foreign.name, "", [part.file for part in foreign.networks]
        else:
            sidecar = read_sidecar(path)
            name, precision, files = sidecar.name, sidecar.precision, [path]
    except DtdaError:
        return
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    missing = NO_CUDA if not cuda else "" if probe.gpu else probe.text
    for provider, device, reason in (("cpu", "CPU", ""), ("cuda", probe.gpu or "CUDA", missing)):
        yield Row(
            spec=spec,
            provider=provider,
            path=path,
            student=name,
            backend=f"onnxruntime {onnxruntime.__version__}",
            precision=precision,
            batch=None,
            device=device,
            bytes=sum(file.stat().st_size for file in files),
            built="",
            state="elsewhere" if reason else "ready",
            reason=reason,
        )


def engine_row(entry: Entry) -> Row:
    header = entry.header
    if header is None:
        return Row(str(entry.path), "auto", entry.path, entry.path.stem, "TensorRT", "", None, "", entry.bytes, "", "stale",
                   entry.reason)  # fmt: skip
    stale = not entry.ours or header.rebuild in entry.reason  # what building it again would cure
    return Row(
        spec=str(entry.path),
        provider="auto",
        path=entry.path,
        student=header.name,
        backend=header.runtime,
        precision=header.precision,
        batch=header.batch.max,
        device=header.gpu or f"compute capability {', '.join(header.compute_capabilities)}",
        bytes=entry.bytes,
        built=header.built,
        state="ready" if not entry.reason else "stale" if stale else "elsewhere",
        reason=entry.reason,
        parity=header.parity,
        latency_ms=header.latency_ms,
        header=header,
    )
