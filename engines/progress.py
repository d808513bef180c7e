"""How far a build is: one figure that never goes back, and the name of what is being done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from dtda.engines.events import Phase

INTERVAL_S = 0.05  # between two events


class Stopped(Exception):
    """The build was told to end. reason: why, for the user; "" when the user said so."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Stop:
    """Set once, by whoever has a reason; asked between the steps of the build. From any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def set(self, reason: str = "") -> None:
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises Stopped when set."""
        if self._event.is_set():
            raise Stopped(self.reason)


@dataclass(slots=True)
class _Open:
    """A phase of TensorRT's that has begun."""

    name: str
    steps: int
    done: int = 0


class Progress:
    """Parts of a build in the order of `weights`, and TensorRT's nested phases within the one that is entered."""

    def __init__(self, emit: Callable[[Phase], None], weights: Mapping[str, float]) -> None:
        """weights: name of each part -> about how long it takes, in any unit. emit: called from several threads."""
        total = sum(weights.values())
        self._spans: dict[str, tuple[float, float]] = {}
        start = 0.0
        for name, weight in weights.items():
            self._spans[name] = (start, start + weight / total)
            start += weight / total
        self._emit = emit
        self._lock = threading.RLock()
        self._begun = time.perf_counter()
        self._sent = 0.0
        self._part = ""
        self._span = (0.0, 0.0)
        self._value = 0.0
        self._stack: list[_Open] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begun

    def enter(self, part: str) -> None:
        """Begin a part; all before it is done."""
        with self._lock:
            self._part, self._span = part, self._spans[part]
            self._stack.clear()
            self._advance(0.0, at_once=True)

    def step(self, fraction: float) -> None:
        """How much of the part is done, in [0, 1]."""
        with self._lock:
            self._advance(fraction)

    def finish(self) -> None:
        """Everything is done."""
        with self._lock:
            self._span = (1.0, 1.0)
            self._advance(1.0, at_once=True)

    # -- what TensorRT tells: phases nest, names repeat, and a phase may finish before all of its steps -------------

    def phase_start(self, name: str, steps: int) -> None:
        with self._lock:
            self._stack.append(_Open(name, max(1, steps)))
            self._advance(self._nested())

    def step_complete(self, name: str, step: int) -> None:
        with self._lock:
            phase = self._innermost(name)
            if phase is not None:
                phase.done = max(phase.done, step + 1)
            self._advance(self._nested())

    def phase_finish(self, name: str) -> None:
        with self._lock:
            phase = self._innermost(name)
            if phase is not None:
                self._stack.remove(phase)

    def _innermost(self, name: str) -> _Open | None:
        return next((phase for phase in reversed(self._stack) if phase.name == name), None)

    def _nested(self) -> float:
        fraction = 0.0
        for phase in reversed(self._stack):
            fraction = min(1.0, (phase.done + fraction) / phase.steps)
        return fraction

    def _advance(self, fraction: float, at_once: bool = False) -> None:
        low, high = self._span
        self._value = max(self._value, low + (high - low) * min(1.0, max(0.0, fraction)))
        now = time.perf_counter()
        if at_once or now - self._sent >= INTERVAL_S:
            self._sent = now
            name = self._stack[-1].name if self._stack else self._part
            self._emit(Phase(name=name, progress=round(min(1.0, self._value), 4), elapsed=round(self.elapsed, 2)))


def monitor(trt: ModuleType, progress: Progress, stop: Stop) -> Any:
    """An IProgressMonitor that feeds `progress` and ends the build when `stop` is set. Keep it as long as the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.phase_start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step_complete(phase_name, step)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_finish(phase_name)

    return Monitor()
