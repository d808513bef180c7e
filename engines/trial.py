"""An engine tried where it can run: it scores the same faces as its student, is timed, and the outcome goes into its header.

After a build on the GPU this is part of the build; an engine that was built elsewhere is tried by `dtda engine check`.
One that fails stays on disk with its verdict, if it was there before, but is never opened again (`plan.check`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, write_atomic
from dtda.core.types import Floats, Image
from dtda.engines import heatmaps, ort, parity, plan, store
from dtda.engines.parity import Parity
from dtda.engines.plan import Header

RUNS = 50  # timed, of batch 1, after as many that are not
Step = Callable[[float], None]
Pictures = Any  # chips, uint8 [N, S, S, 3] RGB, for a student; network inputs, float32 [N, 3, H, W], for a detector


def pictures(
    name: str, sidecar: Sidecar | None, shape: Sequence[int], extra: Sequence[Path] = (), step: Step = lambda _: None
) -> Pictures:
    """What a student, or without a sidecar a detector, is compared on: see `parity.chips` and `heatmaps.inputs`.

    name: of the detector. shape: of its input.
    """
    if sidecar is not None:
        return parity.chips(sidecar.rule, extra, step)
    return heatmaps.inputs(name, shape, extra, step)


def tried(path: Path, header: Header, shown: Pictures, step: Step = lambda _: None) -> Header:
    """The header with parity and latency filled in. path: of the engine, which is in the ledger.

    shown: from `pictures`. step: called with the part done; it may raise to stop. Raises DtdaError when engine or student
    does not run.
    """
    try_it = _try_student if header.sidecar is not None else _try_detector
    verdict, latency = try_it(path, header, shown, step)
    return header.model_copy(update={"parity": verdict, "latency_ms": latency})


def _try_student(path: Path, header: Header, chips: Image, step: Step) -> tuple[Parity, float]:
    from dtda.engines import tensorrt

    student = Path(header.onnx_path)
    if not student.is_file():
        raise DtdaError(
            f"{path}: {student}, which it was built from, is gone, so they cannot be compared; put it back."
        )
    assert header.sidecar is not None
    both = np.concatenate([chips, parity.varied(chips)])
    reference = ort.open_engine(student, "cpu")
    try:
        engine = tensorrt.open_engine(path, "auto")
        try:
            step(0.2)
            limit = parity.LIMITS[header.precision]
            verdict = parity.compare(engine, reference, both, header.sidecar.threshold, limit)
            step(0.8)
            return verdict, _median_ms(lambda: engine.infer(chips[:1]))
        finally:
            engine.close()
    finally:
        reference.close()


def _try_detector(path: Path, header: Header, frames: Floats, step: Step) -> tuple[Parity, float]:
    from dtda.engines import tensorrt
    from dtda.engines.detect import detector_graph

    reference = ort.open_session(detector_graph(header.spec), "cpu", threads=2)
    session = tensorrt.open_session(path, "detector")
    try:
        step(0.2)
        engine = heatmaps.session_run(session)
        title = f"onnxruntime {onnxruntime.__version__}"
        verdict = heatmaps.compare(engine, heatmaps.session_run(reference), frames, header.precision, title)
        step(0.8)
        return verdict, _median_ms(lambda: engine(frames[:1]))
    finally:
        session.close()


def _median_ms(call: Callable[[], object]) -> float:
    times = []
    for number in range(2 * RUNS):
        start = time.perf_counter()
        call()
        if number >= RUNS:
            times.append((time.perf_counter() - start) * 1e3)
    return round(float(np.median(times)), 4)


def report(header: Header, verdict: Parity) -> Path:
    """Keep the outcome of a comparison, as JSON and as text beside it, also of an engine that is not kept. Its path."""
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{header.name}.{header.precision}.{header.built.replace(':', '')}")
    path = store.folder() / "reports" / f"{name}.json"
    about = header.model_dump(mode="json", exclude={"sidecar", "seal"}) | {"parity": verdict.model_dump()}
    write_atomic(path, (json.dumps(about, indent=2) + "\n").encode())
    where = header.gpu or "no GPU"
    text = (
        f"{header.name} in {header.precision.upper()} on {header.runtime}, {where}: {verdict.sentence()}.\n"
        f"Student: {header.onnx_path}, sha256 {header.onnx_sha256}\n"
    )
    write_atomic(path.with_suffix(".txt"), text.encode())
    return path


def check(path: Path, extra: Sequence[Path] = (), step: Step = lambda _: None) -> Header:
    """Try an engine that has not been tried, and record the outcome in it. Returns its header. Raises DtdaError."""
    header, data = plan.read_plan(path)
    if not store.is_ours(header):
        raise DtdaError(store.foreign(path, header))
    shown = pictures(header.name, header.sidecar, header.tensors[0].shape, extra, step)
    outcome = tried(path, header, shown, step)
    assert outcome.parity is not None
    if plan.read_header(path).seal != header.seal:
        raise DtdaError(f"{path} was changed while it was compared; check it again.")
    report(outcome, outcome.parity)
    after = plan.sealed(outcome, data)
    store.record(after, path, before=header)  # first, so that one that failed is refused whatever happens next
    try:
        return plan.write(path, after, data)
    except BaseException:
        if outcome.parity.passed:
            store.record(header, path, before=after)
        raise
