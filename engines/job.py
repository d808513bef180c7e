"""One build from beginning to end: the student in its precision, parsed, built, tried, and kept only when it is right."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

from dtda.core.errors import DtdaError
from dtda.core.sidecar import write_atomic
from dtda.engines import builder, events, heatmaps, nvidia, plan, precision, store, trial
from dtda.engines.builder import Built, NoKernel
from dtda.engines.parents import check_out, check_unchanged, no_builder, open_parent, wanted_precision
from dtda.engines.plan import Batch, Header
from dtda.engines.precision import Converted
from dtda.engines.probe import Probe, probe
from dtda.engines.progress import Progress, Stop, monitor
from dtda.engines.request import Request

# GeForce RTX 30, 40 and 50: an engine for all three is no larger than for one, as the kernels are compiled at first use.
TARGETS = ("8.6", "8.9", "12.0")
FACES = "Finding faces"
PARTS = {  # name of each part of a build -> about how many seconds it takes
    FACES: 3.0,
    "Converting to FP16": 1.0,
    "Calibrating INT8": 8.0,
    "Building": 60.0,
    "Building for RTX": 2.0,
    "Comparing with onnxruntime": 3.0,
    "Writing": 0.2,
}
CONVERSIONS = {"fp16": "Converting to FP16", "int8": "Calibrating INT8"}


class Refused(DtdaError):
    """The engine does not say what its student says. report: path of the figures."""

    def __init__(self, text: str, report: Path) -> None:
        super().__init__(text)
        self.report = report


class Job:
    """Used once, by `engines.build`."""

    def __init__(
        self, request: Request, send: Callable[[events.Event], None], stop: Stop, place: Path, leftovers: list[Path]
    ) -> None:
        """place: an own folder for work that is not finished. leftovers: see `build.Watch`."""
        self._request, self._send, self._stop = request, send, stop
        self._place, self._leftovers = place, leftovers
        self._notes: list[str] = []
        self._probe: Probe = probe()
        package = request.package or self._probe.build_package
        if not package or (package == "tensorrt" and self._probe.state != "ready"):
            raise DtdaError(no_builder(self._probe, package))
        self._trt = nvidia.load(package)
        self._rtx = nvidia.is_rtx(self._trt)
        self._parent = open_parent(request.onnx, request.max_batch)
        self._wanted = wanted_precision(self._parent, request.precision)
        self._targets = self._find_targets()
        name = re.sub(r"\.(fp32|fp16|int8)$", "", self._parent.path.stem if self._parent.sidecar else self._parent.name)
        sha = self._parent.sha256 if self._parent.sidecar else ""
        self._out = (request.out or store.default_path(name, self._wanted, self._targets, sha)).absolute()
        check_out(self._out)
        ready = self._probe.state == "ready"
        self._gpu = self._probe.gpu if ready else ""
        loads = plan.version_here(package, self._probe) == str(self._trt.__version__)
        self._runs = ready and loads and self._probe.compute_capability in self._targets
        self._progress = Progress(send, self._parts())

    def run(self) -> events.Done:
        """Raises Stopped, Refused, DtdaError, OSError; then nothing is left behind but the report of a Refused."""
        store.sweep(self._out)
        self._leftovers.append(self._out.with_name(f".{self._out.name}.{os.getpid()}.tmp"))
        self._send(
            events.Start(
                student=self._parent.name,
                precision=self._wanted,
                package=self._trt.__name__,
                version=str(self._trt.__version__),
                target=self._targets,
                gpu=self._gpu,
                out=str(self._out),
            )
        )
        for note in self._notes:
            self._send(events.Note(text=note))
        shown = self._pictures()
        made = self._convert(shown)
        self._progress.enter(self._build_part)
        nvidia.listen(lambda level, text: self._send(events.Log(level=level, text=text)))
        try:
            made, built = self._build(made, shown)
        finally:
            nvidia.listen(None)
        self._check_types(built)
        check_unchanged(self._parent)
        header = self._header(made, built)
        if self._runs:
            header = self._tried(header, built, shown)
        self._progress.enter("Writing")
        self._stop.check()
        check_unchanged(self._parent)
        why = plan.check(header, self._probe)
        if header.parity is None:
            # Not in the header, where it would outlive its comparison.
            self._send(events.Note(text=f"Not compared with its student: {why}"))
        self._keep(header, built.plan)
        self._progress.finish()
        seconds, size = round(self._progress.elapsed, 2), self._out.stat().st_size
        return events.Done(path=str(self._out), seconds=seconds, bytes=size, runs_here=not why, why=why)

    # -- before -----------------------------------------------------------------------------------------------------

    def _find_targets(self) -> list[str]:
        here = self._probe.compute_capability
        if not self._rtx:
            if self._request.targets and list(self._request.targets) != [here]:
                raise DtdaError(f"TensorRT builds for the GPU it runs on, here {here}; leave --target out.")
            return [here]
        known = builder.capabilities(self._trt)
        if self._request.targets:
            return list(self._request.targets)
        if here in known:
            return [here]
        why = f"the GPU here, {self._probe.gpu}, is not one of its" if here else "there is no NVIDIA GPU here"
        cards = f"GeForce RTX 30, 40 and 50 (compute capability {', '.join(TARGETS)})"
        self._notes.append(f"Built for {cards}, as {why}; name others with --target.")
        return list(TARGETS)

    @property
    def _build_part(self) -> str:
        return "Building for RTX" if self._rtx else "Building"

    @property
    def _converts(self) -> bool:
        own = self._parent.sidecar.precision if self._parent.sidecar else "fp32"
        return self._wanted != own

    def _parts(self) -> dict[str, float]:
        names = [self._build_part, "Writing"]
        if self._converts or self._runs:
            names.append(FACES)
        if self._converts:
            names.append(CONVERSIONS[self._wanted])
        if self._runs:
            names.append("Comparing with onnxruntime")
        return {name: seconds for name, seconds in PARTS.items() if name in names}

    # -- the parts --------------------------------------------------------------------------------------------------

    def _pictures(self) -> trial.Pictures | None:
        """What is compared on, where anything is."""
        if not (self._converts or self._runs):
            return None
        self._progress.enter(FACES)
        shape = [dim.dim_value for dim in self._parent.model.graph.input[0].type.tensor_type.shape.dim]
        parent = self._parent
        shown = trial.pictures(parent.name, parent.sidecar, shape, self._request.frames, self._step)
        what = "face crops" if parent.sidecar else "frames"
        self._send(events.Log(level="info", text=f"{len(shown)} {what} to convert and compare with"))
        return shown

    def _convert(self, shown: trial.Pictures, keep: Collection[str] = ()) -> Converted:
        parent, wanted = self._parent, self._wanted
        if not self._converts:
            return Converted(parent.model, wanted, (), None, ())
        if not keep:
            self._progress.enter(CONVERSIONS[wanted])
        if parent.sidecar is None:
            made = heatmaps.half(parent.model, shown, keep)
        else:
            made = precision.convert(parent.path, parent.sidecar, wanted, shown, keep, self._step, parent.model)
        self._stop.check()
        for note in made.notes:
            self._note(note)
        assert made.parity is not None
        self._send(events.Log(level="info", text=f"{wanted.upper()} in onnxruntime: {made.parity.sentence()}"))
        return made

    def _build(self, made: Converted, shown: trial.Pictures) -> tuple[Converted, Built]:
        try:
            return made, self._build_once(made)
        except NoKernel:
            grouped = precision.grouped(self._parent.model)
            if not (self._converts and self._wanted == "fp16" and grouped):
                raise
        self._note(
            f"TensorRT {self._trt.__version__} has no FP16 kernel for grouped convolutions, so these stay in FP32: "
            f"{', '.join(grouped)}."
        )
        made = self._convert(shown, keep=grouped)
        return made, self._build_once(made)

    def _build_once(self, made: Converted) -> Built:
        cache = self._timing_cache()
        built = builder.build(
            self._trt,
            made.model.SerializeToString(),
            self._parent.profile,
            targets=self._targets,
            workspace_mb=self._request.workspace_mb,
            timing_cache=None if cache is None else cache.read_bytes() if cache.is_file() else b"",
            monitor=monitor(self._trt, self._progress, self._stop),
            stop=self._stop,
        )
        if cache is not None and built.timing_cache is not None:
            write_atomic(cache, built.timing_cache)
        return built

    def _timing_cache(self) -> Path | None:
        """Kernels timed before, valid for one version on one GPU. TensorRT-RTX times nothing."""
        if self._rtx:
            return None
        key = f"{self._trt.__version__}-{self._gpu}-{self._targets[0]}"
        return store.folder() / "timing" / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', key)}.cache"

    def _check_types(self, built: Built) -> None:
        """A build that quietly stayed in FP32 is refused: what NVIDIA's parser made of the graph is counted."""
        counted = built.typed.get({"fp16": "HALF", "int8": "INT8"}.get(self._wanted, "FLOAT"), 0)
        if not counted:
            types = ", ".join(f"{count} {name}" for name, count in built.typed.items())
            raise DtdaError(
                f"TensorRT made no {self._wanted.upper()} layer of the graph, only {types}; please report this."
            )

    def _header(self, made: Converted, built: Built) -> Header:
        sidecar = self._parent.sidecar
        options = {
            "tf32": False,
            "optimization_level": built.level,
            "workspace_mb": self._request.workspace_mb,
            "timing_cache": built.timing_cache is not None,
            "layers_by_type": built.typed,
            "conversion": made.parity.model_dump() if made.parity else None,
        }
        return Header(
            kind="student" if sidecar else "detector",
            name=self._parent.name,
            package=self._trt.__name__,  # type: ignore[arg-type]  # validated
            version=str(self._trt.__version__),
            platform=plan.platform_tag(),
            gpu=self._gpu,
            compute_capabilities=self._targets,
            driver=self._probe.driver,
            precision=self._wanted,  # type: ignore[arg-type]  # validated
            fp32_nodes=list(made.kept),
            onnx_sha256=self._parent.sha256,
            onnx_path=str(self._parent.path.absolute()),
            sidecar=sidecar,
            batch=Batch(max=self._request.max_batch if sidecar else 1),
            tensors=built.tensors,
            options=options,
            built=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(self._progress.elapsed, 2),
            notes=list(self._notes),
        )

    def _tried(self, header: Header, built: Built, shown: trial.Pictures) -> Header:
        """The header with what a run on the GPU says. Raises Refused when that is not what the student says."""
        self._progress.enter("Comparing with onnxruntime")
        draft = self._place / "draft.engine"
        try:
            with store.lent(plan.write(draft, header, built.plan)):
                header = trial.tried(draft, header, shown, self._step)
        finally:
            draft.unlink(missing_ok=True)
        verdict = header.parity
        assert verdict is not None
        self._send(events.Compared(**verdict.model_dump()))
        report = trial.report(header, verdict)
        if not verdict.passed:
            raise Refused(
                f"The engine was not kept: it is {verdict.sentence()}; build it in fp32, or with another TensorRT.",
                report,
            )
        return header

    def _keep(self, header: Header, data: bytes) -> None:
        """In the ledger first: an engine without an entry would be taken for a foreign one."""
        header = plan.sealed(header, data)
        store.record(header, self._out)
        try:
            plan.write(self._out, header, data)
        except BaseException:
            with contextlib.suppress(DtdaError):  # the first error is the one to tell
                store.forget(header)
            raise

    # -- telling ----------------------------------------------------------------------------------------------------

    def _step(self, fraction: float) -> None:
        self._stop.check()
        self._progress.step(fraction)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._send(events.Note(text=text))
