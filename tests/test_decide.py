from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda.core.decide import Decider, Rules
from dtda.core.types import AlignedFace, Face, Label, Quality, Reason, Verdict

FACE = Face(np.float32([0, 0, 100, 100]), np.zeros((5, 2), np.float32), 0.9, track=0)
GOOD = Quality(100, 0.6, 120, 0)
BLURRED = Quality(100, 0.1, 120, 0, (Reason.BLURRED,))
NAN = float("nan")

scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def feed(decider: Decider, values: list[float], fps: float = 30, start: float = 0) -> list[Verdict]:
    """One verdict per score; NaN is a frame the gate refused as blurred."""
    verdicts = []
    for i, value in enumerate(values):
        quality = BLURRED if math.isnan(value) else GOOD
        verdicts += decider.update(start + i / fps, [AlignedFace(FACE, None, quality)], [value])
    return verdicts


def test_warms_up_then_decides() -> None:
    verdicts = feed(Decider(0.5), [0.9] * 4)
    assert [verdict.label for verdict in verdicts] == [Label.CANNOT_TELL] * 2 + [Label.LIVE] * 2
    assert verdicts[0].reasons == (Reason.WARMING_UP,)
    assert verdicts[-1].reasons == ()
    assert verdicts[0].p_live == pytest.approx(0.9)


def test_a_single_picture_is_judged_on_its_one_frame() -> None:
    assert feed(Decider(0.5, min_frames=1), [0.2])[0].label is Label.SPOOF


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    after = {}
    for fps in (5, 15, 30, 60):
        verdicts = feed(Decider(0.5), [0.0] * (4 * fps) + [1.0] * fps, fps)
        after[fps] = verdicts[-1].p_live
    expected = 1 - math.exp(-1 / Rules().time_constant)
    assert all(value == pytest.approx(expected, abs=0.02) for value in after.values()), after


def test_the_first_frame_has_no_more_weight_than_its_share() -> None:
    assert feed(Decider(0.5), [0.0, 1.0, 1.0, 1.0])[-1].p_live > 0.7


def test_hysteresis_holds_a_verdict_around_the_threshold() -> None:
    decider = Decider(0.5, rules=Rules(time_constant=1e-3, hysteresis=0.1))
    labels = [verdict.label for verdict in feed(decider, [0.7] * 3 + [0.45, 0.55, 0.41, 0.39, 0.55, 0.59, 0.61])]
    assert labels[2:] == [Label.LIVE] * 4 + [Label.SPOOF] * 3 + [Label.LIVE]


def test_scores_on_both_sides_are_unstable() -> None:
    verdict = feed(Decider(0.5), [0.05, 0.95] * 20)[-1]
    assert (verdict.label, verdict.reasons) == (Label.CANNOT_TELL, (Reason.UNSTABLE,))


def test_a_single_outlier_and_a_clean_change_are_not_unstable_for_long() -> None:
    assert all(verdict.label is Label.LIVE for verdict in feed(Decider(0.5), [0.95] * 20 + [0.05] + [0.95] * 9)[2:])
    assert feed(Decider(0.5), [0.95] * 60 + [0.05] * 60)[-1].label is Label.SPOOF


def test_a_gap_holds_the_verdict_and_then_gives_the_reason() -> None:
    verdicts = feed(Decider(0.5), [0.9] * 10 + [NAN] * 60)
    labels = [verdict.label for verdict in verdicts]
    assert labels[10:39] == [Label.LIVE] * 29
    assert labels[42:] == [Label.CANNOT_TELL] * 28
    assert verdicts[-1].reasons == (Reason.BLURRED,)
    assert math.isnan(verdicts[-1].p_live)
    assert not verdicts[-1].scored


def test_what_was_seen_before_a_long_gap_does_not_vouch() -> None:
    verdicts = feed(Decider(0.5), [1.0] * 60 + [NAN] * 60 + [0.1] * 3)
    assert verdicts[-3].reasons == (Reason.WARMING_UP,)
    assert verdicts[-1].label is Label.SPOOF


def test_never_scored() -> None:
    verdict = feed(Decider(0.5), [NAN] * 50)[-1]
    assert (verdict.label, verdict.reasons) == (Label.CANNOT_TELL, (Reason.BLURRED,))
    assert math.isnan(verdict.p_live)


def test_a_new_threshold_counts_at_once() -> None:
    decider = Decider(0.5, rules=Rules(hysteresis=0.1))
    assert feed(decider, [0.65] * 10)[-1].label is Label.LIVE
    decider.threshold = 0.7
    verdict = feed(decider, [0.65], start=0.4)[-1]
    assert (verdict.label, verdict.threshold) == (Label.SPOOF, 0.7)
    with pytest.raises(ValueError, match="threshold"):
        decider.threshold = 1.5


def test_tracks_are_apart_and_forgotten() -> None:
    decider = Decider(0.5, min_frames=1)
    other = Face(FACE.box, FACE.points, 0.9, track=1)
    pair = [AlignedFace(FACE, None, GOOD), AlignedFace(other, None, GOOD)]
    assert [v.label for v in decider.update(0, pair, [0.9, 0.1])] == [Label.LIVE, Label.SPOOF]
    decider.update(1000, pair[:1], [0.9])
    assert set(decider._states) == {0}
    decider.reset()
    assert decider._states == {}


@given(scores, st.floats(0, 1), st.integers(1, 5))
def test_p_live_is_a_mean_of_the_scores(values: list[float], threshold: float, min_frames: int) -> None:
    for verdict in feed(Decider(threshold, min_frames), values):
        assert min(values) - 1e-9 <= verdict.p_live <= max(values) + 1e-9


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_steady_score_is_decided_by_the_threshold_alone(score: float, threshold: float) -> None:
    expected = Label.LIVE if score >= threshold - 1e-12 else Label.SPOOF
    last = feed(Decider(threshold), [score] * 5)[-1]
    if abs(score - threshold) > 1e-9:
        assert last.label is expected


@given(st.floats(0, 0.999))
def test_every_threshold_can_be_reached_again(threshold: float) -> None:
    labels = [verdict.label for verdict in feed(Decider(threshold), [0.0] * 200 + [1.0] * 300)]
    assert labels[-1] is Label.LIVE


@given(scores, st.floats(0.1, 0.9))
def test_a_verdict_turns_only_beyond_the_hysteresis(values: list[float], threshold: float) -> None:
    rules = Rules(scatter=2)  # never unstable
    verdicts = feed(Decider(threshold, 1, rules), values)
    for before, after in pairwise(verdicts):
        if before.label is not after.label:
            assert abs(after.p_live - threshold) >= min(rules.hysteresis, threshold / 2, (1 - threshold) / 2) - 1e-9


@given(st.lists(st.one_of(st.just(NAN), st.floats(0, 1)), min_size=1, max_size=80))
def test_doubt_always_has_a_reason_and_certainty_none(values: list[float]) -> None:
    for verdict in feed(Decider(0.5), values):
        assert bool(verdict.reasons) == (verdict.label is Label.CANNOT_TELL)
