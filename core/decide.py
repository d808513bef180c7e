"""From the scores of single frames to a verdict that a person can read: smoothed, steady, and honest about doubt."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dtda.core.types import AlignedFace, Label, Reason, Verdict

NOMINAL_STEP = 1 / 30  # seconds between scores where a source gives both the same time


@dataclass(frozen=True, slots=True)
class Rules:
    """time_constant: seconds after which an old score weighs 1/e. hysteresis: how far beyond the threshold the smoothed
    score must go to turn a verdict. hold: seconds a verdict outlives the last score; a longer gap starts afresh.
    window: seconds of scores looked at for `unstable`, which needs `scatter` (standard deviation) and at least
    `minority` of them on the other side of the threshold.
    """

    time_constant: float = 0.5
    hysteresis: float = 0.05
    hold: float = 1.0
    window: float = 1.5
    scatter: float = 0.2
    minority: float = 1 / 3


@dataclass(slots=True)
class _State:
    """What is remembered of one track. total / weight is the smoothed score; recent: (t, score) of the window."""

    t: float = -math.inf
    total: float = 0.0
    weight: float = 0.0
    count: int = 0
    label: Label | None = None
    recent: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def p_live(self) -> float:
        return self.total / self.weight if self.count else math.nan


class Decider:
    """The verdicts of all tracks of one clip. `threshold` may be set at any time; verdicts are then taken afresh."""

    def __init__(self, threshold: float, min_frames: int = 3, rules: Rules | None = None) -> None:
        """threshold: P(live) in [0, 1] from which a face is LIVE. min_frames: scored frames before the first verdict; 1
        for a single picture. Raises ValueError.
        """
        self._rules = rules or Rules()
        self._states: dict[int, _State] = {}
        self.min_frames = min_frames
        self.threshold = threshold

    @property
    def threshold(self) -> float:
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"a threshold must be in [0, 1], not {value}")
        self._threshold = value
        for state in self._states.values():
            state.label = None

    def reset(self) -> None:
        """Forget all tracks: another clip, or a seek."""
        self._states.clear()

    def update(self, t: float, faces: Sequence[AlignedFace], scores: Sequence[float]) -> tuple[Verdict, ...]:
        """The verdict on each face of one frame.

        t: seconds of media time. scores: P(live) of each face in this frame, NaN where it was not scored.
        """
        verdicts = tuple(self._verdict(t, face, float(score)) for face, score in zip(faces, scores, strict=True))
        for track in [track for track, state in self._states.items() if t - state.t > 10 * self._rules.hold]:
            del self._states[track]
        return verdicts

    def _verdict(self, t: float, face: AlignedFace, score: float) -> Verdict:
        track = face.face.track
        state = self._states.get(track)
        if state is None or t - state.t > self._rules.hold:
            # After a gap anybody may stand there: what was seen before must not vouch for them.
            state = _State(t)
            self._states[track] = state
        scored = not math.isnan(score)
        if scored:
            self._add(state, t, score)
        label, reasons = self._label(state, scored, face.quality.reasons)
        return Verdict(face.face, label, state.p_live, score, self._threshold, reasons)

    def _add(self, state: _State, t: float, score: float) -> None:
        step = t - state.t if t > state.t else NOMINAL_STEP
        # The weights sum up from zero, so that the first frame does not count for more than its share.
        keep = math.exp(-step / self._rules.time_constant)
        state.total = state.total * keep + score
        state.weight = state.weight * keep + 1
        state.count += 1
        state.t = t
        state.recent.append((t, score))
        while t - state.recent[0][0] > self._rules.window:
            state.recent.popleft()

    def _label(self, state: _State, scored: bool, refusals: tuple[Reason, ...]) -> tuple[Label, tuple[Reason, ...]]:
        if state.count == 0:
            return Label.CANNOT_TELL, refusals
        if state.count < self.min_frames:
            return Label.CANNOT_TELL, (Reason.WARMING_UP, *(() if scored else refusals))
        if self._unstable(state):
            return Label.CANNOT_TELL, (Reason.UNSTABLE,)
        state.label = self._turned(state.label, state.p_live)
        return state.label, ()

    def _turned(self, label: Label | None, p_live: float) -> Label:
        """The label after this smoothed score, given the one before."""
        # Near 0 and 1 there is less room beyond the threshold than the hysteresis asks for.
        margin = min(self._rules.hysteresis, self._threshold / 2, (1 - self._threshold) / 2)
        bar = {None: 0.0, Label.LIVE: -margin, Label.SPOOF: margin}[label] + self._threshold
        return Label.LIVE if p_live >= bar else Label.SPOOF

    def _unstable(self, state: _State) -> bool:
        scores = np.array([score for _, score in state.recent])
        if len(scores) < 2 * self.min_frames or float(scores.std()) < self._rules.scatter:
            return False
        above = float(np.mean(scores >= self._threshold))
        return min(above, 1 - above) >= self._rules.minority
