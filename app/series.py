"""The scores behind the timeline: bounded, with gaps (NaN) where a face was not scored. No Qt."""

from __future__ import annotations

import math
from collections import deque
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dtda.core.types import Observation

WINDOW_S = 20.0  # what is kept, and shown, of a live source
LIVE_POINTS = 1500  # per face, 20 s at 75 fps
COLUMNS = 4000  # per face, for a whole clip
MAX_TRACKS = 12

T = TypeVar("T")
Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class ScoreSeries:
    """P(live) over time for each track of one clip, or of the last WINDOW_S seconds where the end is not known.

    length: frames of the clip, None if unknown or live. fps: frames per second of the clip, > 0.
    """

    def __init__(self, length: int | None = None, fps: float = 15.0) -> None:
        self.length, self.fps = length, fps
        self.now = 0.0
        self.latest: dict[int, float] = {}  # track -> P(live) of the faces scored in the newest frame
        columns = min(length or 0, COLUMNS)
        self._x: npt.NDArray[np.float64] = (
            np.arange(columns, dtype=np.float64) * ((length or 0) / max(columns, 1)) / fps
        )
        self._columns: dict[int, npt.NDArray[np.float64]] = {}
        self._points: dict[int, deque[tuple[float, float]]] = {}

    @property
    def span(self) -> tuple[float, float]:
        """Seconds at the left and right end of the axis."""
        if self.length is not None:
            return 0.0, max((self.length - 1) / self.fps, 1 / self.fps)
        return max(0.0, self.now - WINDOW_S), max(self.now, WINDOW_S)

    def add(self, observation: Observation) -> None:
        frame = observation.frame
        scores = {v.track: v.p_live if v.scored else math.nan for v in observation.verdicts}
        self.latest = {track: p for track, p in scores.items() if not math.isnan(p)}
        if self.length is not None:
            self.now = frame.index / self.fps
            column = min(frame.index * len(self._x) // max(self.length, 1), len(self._x) - 1)
            for track in scores:
                self._columns.setdefault(track, np.full(len(self._x), math.nan))
            for track, values in self._columns.items():
                values[column] = scores.get(track, math.nan)
            self._forget(self._columns, scores)
        else:
            self.now = frame.t
            for track in scores:
                self._points.setdefault(track, deque(maxlen=LIVE_POINTS))
            for track, points in self._points.items():
                points.append((frame.t, scores.get(track, math.nan)))
            for track in [track for track, points in self._points.items() if not self._visible(points)]:
                if track not in scores:
                    del self._points[track]
            self._forget(self._points, scores)

    def curves(self) -> dict[int, Curve]:
        """track -> (seconds, P(live)), both float64 [n]."""
        if self.length is not None:
            return {track: (self._x, values) for track, values in self._columns.items()}
        out = {}
        for track, points in self._points.items():
            array = np.array(points, dtype=np.float64).reshape(-1, 2)
            out[track] = (array[:, 0], array[:, 1])
        return out

    def _visible(self, points: deque[tuple[float, float]]) -> bool:
        while points and points[0][0] < self.now - WINDOW_S:
            points.popleft()
        return any(p == p for _, p in points)

    @staticmethod
    def _forget(tracks: dict[int, T], present: dict[int, float]) -> None:
        for track in [track for track in tracks if track not in present][: max(0, len(tracks) - MAX_TRACKS)]:
            del tracks[track]
