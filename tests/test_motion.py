from dataclasses import replace

import numpy as np
import pytest

from dtda.core.simulate.capture import draw_setting, live_radiance
from dtda.core.simulate.clip import draw_clip
from dtda.core.simulate.domains import DOMAINS
from dtda.core.simulate.motion import animated, draw_sway, turned
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.scene import Pose, View, similarity_to_frame


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


def test_a_photographed_person_moves_before_a_place_that_stands_still(person):
    domain = DOMAINS[0]
    domain = domain.model_copy(update={"room": domain.room.model_copy(update={"as_photographed": 1.0})})
    rng = np.random.default_rng(0)
    setting = draw_setting(person, domain, (0.2, 0.3), rng)
    filmed = draw_clip(person, setting, None, rng)
    assert filmed.setting.photo == setting.photo is not None
    view = View(0, 0, setting.shot.output)
    base = replace(setting.pose, yaw=0.0, pitch=0.0)

    def seen(pose):
        return live_radiance(person, filmed.setting, pose, view, None, turned(person, pose)[0])

    still = live_radiance(person, setting, base, view, None)
    aside = replace(base, x=base.x + 0.3 * base.width, turn=6.0)
    before, after = seen(base), seen(aside)
    # With the person in the photo's own place all is the photo, but for a seam where the matte is soft.
    assert np.median(np.abs(before - still)) < 0.01 * still.mean()
    to_frame = similarity_to_frame(person, base)

    def around(place):
        x, y = np.round(to_frame @ (*place, 1)).astype(int)
        assert 3 <= x < view.size[0] - 3
        assert 3 <= y < view.size[1] - 3
        return np.s_[y - 3 : y + 4, x - 3 : x + 4]

    for place in ((440, 250), (400, 60), (60, 150)):  # pad, rocket and flag, far from the person
        np.testing.assert_array_equal(after[around(place)], before[around(place)])
    assert np.abs(after - before)[around(person.points[0])].mean() > 0.05 * before.mean()
    hair = around((165, 80))  # where the pale wall comes out, which the photo does not have there
    assert after[hair].mean() > 1.3 * before[hair].mean()
