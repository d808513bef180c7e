"""How long a student takes with everything that can run it, side by side: p50, p95, p99 of a call, faces per second, and how
far its scores are from those of onnxruntime.

All rows are measured in turns of a tenth of a second, so that the noise of a shared machine hits all of them alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Image

TURN_S = 0.1  # of one row at one batch size
WARM_UP = 3  # calls at each batch size before any turn, the first of them timed on its own
NAN = math.nan


class Runner(Protocol):
    """What is timed: an `engines.base.Engine`, or anything else that scores chips."""

    def infer(self, chips: Image) -> Floats: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run a student. backend: "onnxruntime 1.23.0". device: "CPU" or the GPU's name. threads: on the CPU, 0 where
    it does not work there. file: what is loaded. open: loads it; raises DtdaError with the reason when it cannot run."""

    student: str
    backend: str
    precision: str
    device: str
    threads: int
    file: Path
    open: Callable[[], Runner]

    @property
    def title(self) -> str:
        return f"{self.backend}, {self.device}, {self.precision}"


@dataclass(frozen=True, slots=True)
class Latency:
    """A row at one batch size; batch 0 when it did not run at all. reason: why it did not run, else "".

    open_s: seconds of loading. first_ms: of the first call at this batch size, with what is compiled or captured in it.
    p50_ms to p99_ms: of one call, from uint8 chips in memory to scores in memory. faces_per_s: over all counted calls.
    ratio: how many times as fast as the reference, by p50. max_dp: largest |difference of P(live)| from the reference.
    """

    row: Row
    batch: int
    reason: str = ""
    open_s: float = NAN
    first_ms: float = NAN
    calls: int = 0
    p50_ms: float = NAN
    p95_ms: float = NAN
    p99_ms: float = NAN
    faces_per_s: float = NAN
    ratio: float = NAN
    max_dp: float = NAN


@dataclass(slots=True)
class _Cell:
    """A row that runs, at one batch size."""

    latency: Latency
    runner: Runner
    chips: list[Image]
    scores: Floats | None = None  # of all chips, when it has warmed up
    times: list[float] = field(default_factory=list)
    broken: bool = False  # it failed in a turn

    @property
    def p50(self) -> float:
        """In milliseconds."""
        return float(np.median(self.times)) * 1e3

    def turn(self) -> None:
        """A tenth of a second of calls. The first is not counted: it finds the caches full of another row's data."""
        self.runner.infer(self.chips[0])
        spent, number = 0.0, 0
        while spent < TURN_S or number < 2:
            chips = self.chips[len(self.times) % len(self.chips)]
            start = time.perf_counter()
            self.runner.infer(chips)
            self.times.append(time.perf_counter() - start)
            spent += self.times[-1]
            number += 1


def measure(
    rows: Sequence[Row],
    chips: Image,
    batches: Sequence[int],
    seconds: float,
    step: Callable[[str], None] = lambda _: None,
) -> list[Latency]:
    """Run all rows, in this thread. The first is the reference of the others: onnxruntime in FP32 on the CPU.

    chips: uint8 [N, S, S, 3] RGB, N >= 1, real faces; all are scored in batches, the last filled up with the first ones.
    seconds: of counted calls for each row at each batch size, at least. step: told what is being done. A row that raises
    DtdaError when it is opened or called is in the result with its reason; raises DtdaError only when the reference does
    not run.
    """
    opened: list[Runner] = []
    cells: list[_Cell] = []
    found: list[Latency] = []
    try:
        for row in rows:
            step(f"opening {row.title}")
            start = time.perf_counter()
            try:
                opened.append(row.open())
            except DtdaError as error:
                found.append(Latency(row, 0, str(error)))
            else:
                first = Latency(row, 0, open_s=time.perf_counter() - start)
                new = [_Cell(replace(first, batch=batch), opened[-1], _batches(chips, batch)) for batch in batches]
                found += _warm_up(new, step)
                cells += [cell for cell in new if cell.scores is not None]
            if not cells:
                raise DtdaError(f"there is nothing to compare with: {found[-1].reason}")
        found += _timed(cells, len(chips), seconds, step)
    finally:
        for runner in reversed(opened):  # contexts of a GPU are a stack
            runner.close()
    return sorted(found, key=lambda one: (rows.index(one.row), one.batch))


def _batches(chips: Image, batch: int) -> list[Image]:
    """All chips in full batches."""
    count = -(-len(chips) // batch)
    filled = chips[np.arange(count * batch) % len(chips)]
    return [filled[start : start + batch] for start in range(0, len(filled), batch)]


def _warm_up(cells: Sequence[_Cell], step: Callable[[str], None]) -> list[Latency]:
    """Score all chips at each batch size and time the first call. Returns what failed: a row that does so at its first
    batch size is not tried at the others."""
    failed: list[Latency] = []
    for number, cell in enumerate(cells):
        step(f"first call of {cell.latency.row.title}, batch {cell.latency.batch}")
        start = time.perf_counter()
        try:
            scores = [cell.runner.infer(cell.chips[0])]
            cell.latency = replace(cell.latency, first_ms=(time.perf_counter() - start) * 1e3)
            scores += [cell.runner.infer(chips) for chips in cell.chips[1:]]
            for _ in range(WARM_UP - len(scores)):
                cell.runner.infer(cell.chips[0])
        except DtdaError as error:
            failed.append(Latency(cell.latency.row, cell.latency.batch if number else 0, str(error)))
            if number == 0:
                break
        else:
            cell.scores = np.concatenate(scores)
    return failed


def _timed(cells: list[_Cell], count: int, seconds: float, step: Callable[[str], None]) -> list[Latency]:
    """Turns of all cells, back and forth, until each has had its seconds. count: of the chips."""
    failed: list[Latency] = []
    running = list(cells)
    while running:
        step(f"measuring, {min(sum(cell.times) for cell in running) / seconds:.0%}")
        for cell in running:
            try:
                cell.turn()
            except DtdaError as error:
                failed.append(Latency(cell.latency.row, cell.latency.batch, str(error)))
                cell.broken = True
        running = [cell for cell in reversed(running) if not cell.broken and sum(cell.times) < seconds]
    done = [cell for cell in cells if not cell.broken]
    base = {cell.latency.batch: cell.p50 for cell in done if cell.runner is cells[0].runner}
    return failed + [_figures(cell, cells[0], base, count) for cell in done]


def _figures(cell: _Cell, reference: _Cell, base: dict[int, float], count: int) -> Latency:
    p50, p95, p99 = (float(value) * 1e3 for value in np.percentile(cell.times, (50, 95, 99)))
    assert cell.scores is not None
    assert reference.scores is not None
    return replace(
        cell.latency,
        calls=len(cell.times),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        faces_per_s=cell.latency.batch * len(cell.times) / sum(cell.times),
        ratio=base.get(cell.latency.batch, NAN) / p50,
        max_dp=_distance(cell.scores[:count], reference.scores[:count]),
    )


def _distance(scores: Floats, wanted: Floats) -> float:
    """What is not a number is as wrong as can be."""
    difference = np.abs(scores.astype(np.float64) - wanted)
    return float(np.where(np.isfinite(difference), difference, 1.0).max())
