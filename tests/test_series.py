"""The scores behind the timeline: gaps, replays, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dtda.app.series import COLUMNS, LIVE_POINTS, MAX_TRACKS, WINDOW_S, ScoreSeries
from dtda.core.types import Face, Frame, Label, Observation, Verdict

PIXEL = np.zeros((1, 1, 3), np.uint8)


def seen(index: int, scores: dict[int, float], fps: float = 10.0) -> Observation:
    verdicts = []
    for track, p in scores.items():
        face = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9, track)
        verdicts.append(Verdict(face, Label.LIVE, 0.5 if math.isnan(p) else p, p, 0.5))
    return Observation(Frame(index, index / fps, PIXEL), tuple(verdicts), {})


def test_a_clip_has_a_place_for_each_frame_and_gaps_where_nothing_was_scored() -> None:
    series = ScoreSeries(length=4, fps=10)
    series.add(seen(0, {1: 0.2}))
    series.add(seen(1, {1: math.nan}))
    series.add(seen(3, {1: 0.4, 2: 0.9}))
    x, y = series.curves()[1]
    np.testing.assert_allclose(x, [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(y, [0.2, np.nan, np.nan, 0.4])
    np.testing.assert_allclose(series.curves()[2][1], [np.nan, np.nan, np.nan, 0.9])
    assert series.span == (0, pytest.approx(0.3))
    assert series.now == pytest.approx(0.3)
    assert series.latest == {1: 0.4, 2: 0.9}


def test_a_replay_takes_the_place_of_what_was_there() -> None:
    series = ScoreSeries(length=3, fps=10)
    for index in range(3):
        series.add(seen(index, {1: 0.2}))
    series.add(seen(1, {2: 0.8}))
    np.testing.assert_allclose(series.curves()[1][1], [0.2, np.nan, 0.2])


def test_a_long_clip_is_bounded() -> None:
    series = ScoreSeries(length=100_000, fps=25)
    series.add(seen(99_999, {1: 0.5}))
    x, y = series.curves()[1]
    assert len(x) == len(y) == COLUMNS
    assert y[-1] == 0.5
    assert x[-1] == pytest.approx(4000, rel=0.01)


def test_a_live_source_scrolls_and_forgets() -> None:
    series = ScoreSeries()
    for index in range(1000):
        series.add(seen(index, {1: 0.5} if index < 100 else {2: 0.6}))
    assert list(series.curves()) == [2]
    x, _ = series.curves()[2]
    assert x[0] >= series.now - WINDOW_S
    assert series.span == (pytest.approx(99.9 - WINDOW_S), pytest.approx(99.9))


def test_a_face_that_left_is_a_gap_not_a_line() -> None:
    series = ScoreSeries()
    for index, scores in enumerate(({1: 0.5}, {}, {1: 0.7})):
        series.add(seen(index, scores))
    np.testing.assert_allclose(series.curves()[1][1], [0.5, np.nan, 0.7])


@pytest.mark.parametrize("length", [None, 3000])
def test_memory_is_bounded_over_many_frames_and_faces(length: int | None) -> None:
    series = ScoreSeries(length, fps=1000)
    for index in range(3000):
        series.add(seen(index, {index // 10: 0.5}, fps=1000))
    curves = series.curves()
    assert len(curves) <= MAX_TRACKS + 1
    assert max(len(y) for _, y in curves.values()) <= max(LIVE_POINTS, 3000)
    assert 299 in curves  # the newest is never the one forgotten
