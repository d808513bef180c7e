"""An engine tried where it can run: it scores the same faces as its student, is timed, and the outcome goes into its header.

After a build on the GPU this is part of the build; an engine that was built elsewhere is tried by `dtda engine check`.
One that fails stays on disk with its verdict, if it was there before, but is never opened again (`plan.check`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.sidecar import write_atomic
from dtda.core.types import Image
from dtda.engines import ort, parity, plan, store
from dtda.engines.parity import Parity
from dtda.engines.plan import Header

RUNS = 50  # timed, of batch 1, after as many that are not
Step = Callable[[float], None]


def tried(path: Path, header: Header, chips: Image, step: Step = lambda _: None) -> Header:
    """The header with parity and latency filled in. path: of the engine, which is in the ledger.

    chips: uint8 [N, S, S, 3] RGB; varied copies are added. step: called with the part done; it may raise to stop.
    Raises DtdaError when engine or student does not run.
    """
    from dtda.engines import tensorrt

    sidecar = header.sidecar
    if sidecar is None:
        raise ValueError("a detector has no P(live)")
    student = Path(header.onnx_path)
    if not student.is_file():
        raise DtdaError(
            f"{path}: {student}, which it was built from, is gone, so they cannot be compared; put it back."
        )
    both = np.concatenate([chips, parity.varied(chips)])
    reference = ort.open_engine(student, "cpu")
    try:
        engine = tensorrt.open_engine(path, "auto")
        try:
            step(0.2)
            verdict = parity.compare(engine, reference, both, sidecar.threshold, parity.LIMITS[header.precision])
            step(0.8)
            times = []
            for number in range(2 * RUNS):
                start = time.perf_counter()
                engine.infer(chips[:1])
                if number >= RUNS:
                    times.append((time.perf_counter() - start) * 1e3)
        finally:
            engine.close()
    finally:
        reference.close()
    return header.model_copy(update={"parity": verdict, "latency_ms": round(float(np.median(times)), 4)})


def report(header: Header, verdict: Parity) -> Path:
    """Keep the outcome of a comparison, as JSON and as text beside it, also of an engine that is not kept. Its path."""
    name = f"{header.name}.{header.precision}.{header.built.replace(':', '')}"
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
    assert header.sidecar is not None
    outcome = tried(path, header, parity.chips(header.sidecar.rule, extra, step), step)
    assert outcome.parity is not None
    report(outcome, outcome.parity)
    return plan.write(path, outcome, data)
