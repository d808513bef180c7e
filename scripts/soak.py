"""Runs the live pipeline for minutes, changing the engine all the while, and writes down memory and scores.

python scripts/soak.py ENGINE ENGINE... [--minutes 10] [--switch 10]. Engines are files as --engine takes them.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtda.app.mailbox import Mailbox
from dtda.app.pipeline import Pipeline
from dtda.app.records import Shot
from dtda.app.workers import Choice, Parts, Processor
from dtda.core.errors import DtdaError
from dtda.core.types import Frame, Image, Observation
from dtda.engines.detect import open_detector
from dtda.engines.parity import LIMITS
from dtda.engines.registry import open_engine

MB = 1 << 20
SETTLED = 0.25  # of the time, after which memory should not grow any more
HOST_MB, GPU_MB = 64, 64  # by how much it may
LEAST_SWITCHES = 2  # there and back
OPEN_S = 120.0  # TensorRT-RTX compiles when an engine is first used


@dataclass
class Soak:
    """What was seen. engines: what should run in turns, as --engine takes it. ran: which of them did. switches: from one to
    another. gpu: one of them runs on the GPU. memory: seconds, host MB, GPU MB in use (-1 where that cannot be read)."""

    engines: tuple[str, ...] = ()
    ran: set[str] = field(default_factory=set)
    gpu: bool = False
    frames: int = 0
    judged: int = 0
    switches: int = 0
    seconds: float = 0.0
    memory: list[tuple[float, float, float]] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def growth(self, column: int) -> float:
        """MB between the smallest after settling and the end (the mean of the last tenth)."""
        late = [row[column] for row in self.memory if row[0] >= SETTLED * self.seconds]
        tail = late[-max(1, len(late) // 10) :]
        return sum(tail) / len(tail) - min(late) if late else 0.0

    def problems(self) -> list[str]:
        found = list(self.errors)
        if not self.judged or self.judged < 0.9 * self.frames:
            found.append(f"only {self.judged} of {self.frames} frames were judged")
        found += [f"{Path(engine).name} never ran" for engine in self.engines if engine not in self.ran]
        if self.switches < LEAST_SWITCHES and len(self.engines) > 1:
            found.append(f"the engine was changed {self.switches} times only (at least {LEAST_SWITCHES})")
        if not self.memory:
            found.append("the memory was never read")
        elif self.gpu and min(row[2] for row in self.memory) < 0:
            found.append("the GPU's memory could not be read")
        for column, name, most in ((1, "host", HOST_MB), (2, "GPU", GPU_MB)):
            if self.growth(column) > most:
                found.append(f"{name} memory grew by {self.growth(column):.0f} MB (at most {most})")
        means = [sum(scores) / len(scores) for scores in self.scores.values()]
        if means and max(means) - min(means) > LIMITS["int8"]:
            found.append(f"the engines disagree on the same frame: P(live) {min(means):.3f} to {max(means):.3f}")
        return found


def soak(engines: Sequence[str], clip: Sequence[Image], minutes: float, switch_s: float = 10.0, detector: str = "centerface",
         write: Callable[[str], object] = lambda _: None) -> Soak:  # fmt: skip
    """clip: uint8 [H, W, 3] BGR frames, shown over and over. switch_s: between two changes of the engine."""
    result = Soak(tuple(engines))
    inbox: Mailbox[Shot] = Mailbox()
    outbox: Mailbox[Observation] = Mailbox()
    parts = Parts(open_detector, open_engine, lambda d, e, threshold: Pipeline(d, e, threshold=threshold))
    processor = Processor(inbox, outbox, Choice(engine=engines[0], detector=detector), find_parts=lambda: parts)
    processor.start()
    began = last = sampled = time.monotonic()
    current, wanted, asked = "", 0, began
    try:
        while (now := time.monotonic()) - began < minutes * 60 and not result.errors:
            index = result.frames
            frame = Frame(index, index / 30, clip[index % len(clip)])
            inbox.put_wait(Shot(frame, 1, False, length=None, shown=True))
            seen = outbox.get(OPEN_S)
            result.frames += 1
            result.judged += bool(seen.verdicts)
            result.errors += [notice.text for notice in processor.notices() if notice.level != "info"]
            path = processor.info.path if processor.info else ""
            if path != current:
                result.switches += bool(current and path)
                current, last = path, now
                if processor.info is not None:
                    result.ran.add(processor.choice.engine)  # set before the info
                    result.gpu |= processor.info.backend.startswith("TensorRT")
                write(f"{now - began:7.1f} s  {Path(path).name}")
            if current and index % len(clip) == 0 and seen.verdicts and seen.verdicts[0].scored:
                result.scores.setdefault(Path(current).name, []).append(seen.verdicts[0].p_frame)
            if now - last >= switch_s and now - asked >= switch_s and len(engines) > 1:
                wanted, asked = (wanted + 1) % len(engines), now
                processor.use_engine(engines[wanted])
            if now - sampled >= min(5.0, minutes * 60 / 60):
                sampled = now
                result.memory.append((now - began, host_mb(), gpu_mb()))
    finally:
        processor.stop()
        processor.join(OPEN_S)
    if processor.is_alive():
        result.errors.append("the processing thread did not end")
    result.seconds = time.monotonic() - began
    return result


def host_mb() -> float:
    """Resident memory of this process; 0 where /proc does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MB
    except OSError:
        return 0.0


def gpu_mb() -> float:
    """GPU memory in use by all processes, by NVIDIA's management library; -1 where there is none."""

    class Memory(ctypes.Structure):
        _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))

    from dtda.engines.driver import MANAGEMENT

    try:
        nvml = ctypes.CDLL(MANAGEMENT[sys.platform])
    except (KeyError, OSError):
        return -1.0
    handle, memory = ctypes.c_void_p(), Memory()
    nvml.nvmlInit_v2()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(handle)):
        return -1.0
    return memory.used / MB if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0 else -1.0


def sample(count: int = 60) -> list[Image]:
    """Frames of the generated sample."""
    from dtda.app.sources import open_source

    source = open_source("sample")
    try:
        frames = []
        while len(frames) < count and (frame := source.read()) is not None:
            frames.append(frame.bgr)
        return frames
    finally:
        source.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the live pipeline for minutes, changing the engine.")
    parser.add_argument("engines", nargs="+")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--switch", type=float, default=10.0, metavar="S")
    parser.add_argument("--detector", default="centerface")
    args = parser.parse_args()
    try:
        result = soak(args.engines, sample(), args.minutes, args.switch, args.detector, print)
    except DtdaError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    print(f"{result.frames} frames, {result.judged} judged, {result.switches} switches in {result.seconds:.0f} s")
    print(f"growth: host {result.growth(1):.1f} MB, GPU {result.growth(2):.1f} MB")
    for problem in result.problems():
        print(f"soak: {problem}", file=sys.stderr)
    return 1 if result.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
