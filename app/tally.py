"""Counts what the window has seen: the content of `--summary`, and the rates of the status line. No Qt."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field

from dtda.core.types import EngineInfo, Label, Observation

RECENT = 30  # observations behind the figures of the status line
KEPT = 20_000  # observations behind the medians of the summary


@dataclass(slots=True)
class ClipTally:
    """One clip. A frame with several faces counts once in frames and once per face in the rest."""

    frames: int = 0
    scored: int = 0
    p_sum: float = 0.0
    labels: Counter[Label] = field(default_factory=Counter)

    def summary(self) -> dict[str, object]:
        """label: the majority of the decided frames, CANNOT_TELL when there is none, None when no face was seen."""
        decided = Counter({label: n for label, n in self.labels.items() if label is not Label.CANNOT_TELL})
        label = decided.most_common(1)[0][0].value if decided else Label.CANNOT_TELL.value if self.labels else None
        return {
            "label": label,
            "p_live": round(self.p_sum / self.scored, 4) if self.scored else None,
            "scored": self.scored,
            "frames": self.frames,
            **{each.value: self.labels[each] for each in Label},
        }


class Tally:
    """Filled by the processing thread with every observation; read by any thread."""

    def __init__(self) -> None:
        self.frames = 0
        self.scored = 0
        self.dropped = 0
        self.engine: EngineInfo | None = None
        self._clips: dict[str, ClipTally] = {}
        self._times: deque[float] = deque(maxlen=RECENT)
        self._stages: deque[dict[str, float]] = deque(maxlen=KEPT)
        self._recent: deque[dict[str, float]] = deque(maxlen=RECENT)
        self._span = (0.0, 0.0)

    def add(self, observation: Observation) -> None:
        now = time.perf_counter()
        self._times.append(now)
        self._span = (self._span[0] or now, now)
        self._stages.append(dict(observation.stage_ms))
        self._recent.append(self._stages[-1])
        clip = self._clips.setdefault(observation.frame.clip, ClipTally())
        scores = [verdict.p_frame for verdict in observation.verdicts if verdict.scored]
        self.frames += 1
        self.scored += bool(scores)
        self.dropped = observation.dropped
        clip.frames += 1
        clip.scored += len(scores)
        clip.p_sum += math.fsum(scores)
        clip.labels.update(verdict.label for verdict in observation.verdicts)

    def rest(self) -> None:
        """Playback paused or jumped: the gap says nothing about the frame rate."""
        self._times.clear()

    @property
    def fps(self) -> float:
        """Frames per second lately, 0 when it is not known."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per frame and stage lately; the cost of a stage that runs now and then is spread evenly."""
        recent = list(self._recent)
        names = dict.fromkeys(name for each in recent for name in each)
        return {name: sum(each.get(name, 0.0) for each in recent) / len(recent) for name in names}

    def summary(self) -> dict[str, object]:
        """What `--summary` writes: JSON-ready."""
        seconds = self._span[1] - self._span[0]
        return {
            "frames": self.frames,
            "scored": self.scored,
            "fps": round((self.frames - 1) / seconds, 2) if seconds > 0 else 0.0,
            "stage_ms": {stage: round(ms, 3) for stage, ms in _medians(list(self._stages)).items()},
            "dropped": self.dropped,
            "engine": asdict(self.engine) if self.engine else None,
            "verdicts": {name: clip.summary() for name, clip in list(self._clips.items())},
        }


def _medians(stages: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in stages for name in each)
    return {name: statistics.median(each[name] for each in stages if name in each) for name in names}
