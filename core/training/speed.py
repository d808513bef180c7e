"""What a step of each row of the ablation costs, and whether the loader keeps up. Steps of all rows take turns, so that a
busy machine slows all of them alike."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from dtda.core.simulate.portrait import Detect
from dtda.core.training.ablation_rows import picked, row_config
from dtda.core.training.config import TrainConfig
from dtda.core.training.loop import Run
from dtda.core.training.material import Material, load
from dtda.core.training.method import Batch
from dtda.core.training.optim import make_schedule
from dtda.core.training.parallel import open_fabric
from dtda.core.training.samples import EpochBatches, Samples, loader, ready

PARTS = ("attack", "teachers", "losses", "gradients", "update")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one row. step: median seconds of a step, loading not included. parts: share of it, by `PARTS`. peak: bytes, of a
    process that does nothing else (on a GPU: allocated there)."""

    row: str
    step: float
    parts: dict[str, float]
    peak: int


@dataclass(frozen=True, slots=True)
class Speed:
    """costs: of all rows. loader: median seconds of a batch from the loader alone. batch: pictures in it."""

    costs: tuple[Cost, ...]
    loader: float
    batch: int


def measure(config: TrainConfig, rows: Sequence[str], steps: int, make_detector: Callable[[], Detect]) -> Speed:
    """Train each row for `steps` steps on one batch. Raises DtdaError as training would."""
    if config.threads:
        torch.set_num_threads(config.threads)
    material = load(config.data, make_detector)
    batch, loading = _loaded(config, material, steps)
    configs = {row.name: row_config(config, row) for row in picked(rows)}
    runs = {row: _run(changed, material) for row, changed in configs.items()}
    for run in runs.values():
        _timed(run, batch)
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(steps):
        for row, run in runs.items():
            seconds[row].append(_timed(run, batch))
    shares = {row: _shares(run, batch) for row, run in runs.items()}
    peaks = {row: _peak(changed, make_detector) for row, changed in configs.items()}
    costs = tuple(Cost(row, statistics.median(seconds[row]), shares[row], peaks[row]) for row in rows)
    return Speed(costs, loading, config.optim.batch)


def _loaded(config: TrainConfig, material: Material, steps: int) -> tuple[Batch, float]:
    """A batch, and the median time the loader takes for one when nothing else runs."""
    samples = Samples(material, config)
    data = iter(loader(samples, EpochBatches(samples, config), config.workers))
    batch, seconds = next(data), []
    for _ in range(min(4 * steps, len(samples) // config.optim.batch - 1)):
        start = time.perf_counter()
        next(data)
        seconds.append(time.perf_counter() - start)
    # With loader processes batches come in bursts: the mean is the throughput.
    return batch, statistics.fmean(seconds) if seconds else float("nan")


def _run(config: TrainConfig, material: Material) -> Run:
    run = Run(config, open_fabric(config), material)
    run.schedule = make_schedule(run.optimizer, config.optim, 1000, None)
    return run


def _timed(run: Run, batch: Batch) -> float:
    on_gpu = run.fabric.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run.step(ready(batch, run.fabric.device), 0.5)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _shares(run: Run, batch: Batch) -> dict[str, float]:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports every start, and a missing GPU as an error
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run.step(ready(batch, run.fabric.device), 0.5)
    found = {event.key: event.cpu_time_total for event in recorded.key_averages() if event.key in PARTS}
    return {name: found.get(name, 0.0) / sum(found.values()) for name in PARTS}


def _peak(config: TrainConfig, make_detector: Callable[[], Detect]) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (config, make_detector))


def _peak_here(config: TrainConfig, make_detector: Callable[[], Detect]) -> int:
    if config.threads:
        torch.set_num_threads(config.threads)
    material = load(config.data, make_detector)
    samples = Samples(material, config)
    run = _run(config, material)
    batch = next(iter(loader(samples, EpochBatches(samples, config), 0)))
    for _ in range(3):
        run.step(ready(batch, run.fabric.device), 0.5)
    if run.fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():  # Linux hands a parent's ru_maxrss on to its children
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def markdown(speed: Speed) -> str:
    """Times as ratios to the first row."""
    base = speed.costs[0]
    lines = [
        f"| row | pictures/s | time, {base.row} = 1 | {' % | '.join(PARTS)} % | peak MB |",
        "|---|---|---|" + "---|" * (len(PARTS) + 1),
    ]
    for cost in speed.costs:
        shares = [f"{100 * cost.parts[name]:.0f}" for name in PARTS]
        cells = [cost.row, f"{speed.batch / cost.step:.0f}", f"{cost.step / base.step:.2f}", *shares]
        lines.append(f"| {' | '.join(cells)} | {cost.peak / 1e6:.0f} |")
    lines.append("")
    lines.append(f"loader alone: {speed.batch / speed.loader:.0f} pictures/s, {base.step / speed.loader:.1f} times as fast "
                 f"as a step of {base.row}")  # fmt: skip
    return "\n".join(lines)
