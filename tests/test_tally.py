"""What is counted, and what the summary says of it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dtda.app.tally import Tally
from dtda.core.types import Face, Frame, Label, Observation, Verdict

FACE = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9, 1)
NAN = math.nan


def seen(clip: str, *scores: tuple[Label, float], ms: float = 1.0, dropped: int = 0) -> Observation:
    verdicts = tuple(Verdict(FACE, label, p, p, 0.5) for label, p in scores)
    return Observation(Frame(0, 0.0, np.zeros((1, 1, 3), np.uint8), clip=clip), verdicts, {"infer": ms}, dropped)


def test_the_summary_has_a_verdict_per_clip() -> None:
    tally = Tally()
    for observation in (
        seen("a", (Label.CANNOT_TELL, 0.9)),
        seen("a", (Label.LIVE, 0.8), ms=3.0),
        seen("a", (Label.LIVE, 0.7), ms=2.0),
        seen("b", (Label.SPOOF, 0.1)),
        seen("b", (Label.CANNOT_TELL, NAN)),
        seen("c", dropped=4),
    ):
        tally.add(observation)
    summary = json.loads(json.dumps(tally.summary()))
    assert (summary["frames"], summary["scored"], summary["dropped"]) == (6, 4, 4)
    assert summary["verdicts"]["a"] == {
        "label": "live", "p_live": 0.8, "scored": 3, "frames": 3, "live": 2, "spoof": 0, "cannot_tell": 1,
    }  # fmt: skip
    assert summary["verdicts"]["b"]["label"] == "spoof"
    assert summary["verdicts"]["c"] == {
        "label": None, "p_live": None, "scored": 0, "frames": 1, "live": 0, "spoof": 0, "cannot_tell": 0,
    }  # fmt: skip
    assert summary["stage_ms"] == {"infer": 1.0}


def test_a_clip_in_which_nothing_could_be_judged_is_cannot_tell() -> None:
    tally = Tally()
    tally.add(seen("a", (Label.CANNOT_TELL, NAN)))
    assert tally.summary()["verdicts"]["a"]["label"] == "cannot_tell"  # type: ignore[index]


def test_stages_that_run_now_and_then_are_spread_over_the_frames() -> None:
    tally = Tally()
    for index in range(10):
        observation = seen("a", ms=2.0)
        tally.add(Observation(observation.frame, (), {"infer": 2.0, **({"detect": 50.0} if index % 5 == 0 else {})}))
    assert tally.stage_ms() == pytest.approx({"infer": 2.0, "detect": 10.0})


def test_the_rate_is_unknown_before_two_frames_and_after_a_rest() -> None:
    tally = Tally()
    tally.add(seen("a"))
    assert tally.fps == 0
    tally.add(seen("a"))
    assert tally.fps > 0
    tally.rest()
    assert tally.fps == 0
