from dataclasses import replace

import numpy as np
import pytest

from dtda.core.simulate.motion import animated, draw_sway, turned
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.scene import Pose


@pytest.fixture(scope="module")
def person():
    return astronaut()


POSE = Pose(320, 240, 100)


def test_a_turned_head_shows_parallax_and_a_still_one_is_the_photo(person):
    layers, marks = turned(person, POSE)
    np.testing.assert_allclose(marks, person.landmarks, atol=1e-6)
    assert np.abs(layers.levels[0][0][:512].astype(int) - person.bgr).mean() < 0.5
    _, marks = turned(person, replace(POSE, turn=8))
    moves = (marks - person.landmarks)[:5]
    assert (moves[:, 0] > 0).all()
    assert moves[2, 0] > 1.15 * moves[[0, 1, 3, 4], 0].mean()  # the nose stands out
    _, marks = turned(person, replace(POSE, nod=5))
    assert (marks - person.landmarks)[2, 1] < 0


def test_the_picture_moves_with_its_landmarks(person):
    """The bright spots of the turned picture lie where its landmarks say."""
    dotted = person.bgr.copy()
    dotted[:] = 0
    x, y = np.round(person.points[2]).astype(int)
    dotted[y - 2 : y + 3, x - 2 : x + 3] = 255
    layers, marks = turned(replace(person, bgr=dotted), replace(POSE, turn=-7, nod=4))
    bright = np.argwhere(layers.levels[0][0][..., 0] > 128).mean(0)
    np.testing.assert_allclose(bright[::-1], marks[2], atol=1.5)


def test_a_video_on_a_screen_moves_and_a_body_stays(person):
    still = animated(person.bgr, (0.0, 0.0), person.landmarks, 0, 0)
    moved = animated(person.bgr, (0.0, 0.0), person.landmarks, 8, 0)
    change = np.abs(still.astype(int) - moved).mean(2)
    x1, y1, x2, y2 = person.box.astype(int)
    assert change[y1:y2, x1:x2].mean() > 5
    assert change[420:].mean() < 0.1


def test_hands_tremble_stands_do_not_and_only_heads_turn():
    sway = draw_sway(np.random.default_rng(0))
    times = np.arange(30) / 15
    held = [sway.at(POSE, t, held=True, living=False) for t in times]
    stood = [sway.at(POSE, t, held=False, living=False) for t in times]
    alive = [sway.at(POSE, t, held=False, living=True) for t in times]
    assert {(pose.x, pose.y, pose.turn) for pose in stood} == {(320, 240, 0.0)}
    assert all(pose.turn == 0 for pose in held)
    assert np.ptp([pose.turn for pose in alive]) > 1
    jerk = [np.abs(np.diff([pose.x for pose in poses], 3)).mean() for poses in (held, alive)]
    assert jerk[0] > 2 * jerk[1]
