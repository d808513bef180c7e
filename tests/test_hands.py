import numpy as np

from dtda.core.simulate.hands import SKIN, Grip, add_hand, draw_grips
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.scene import Light, Pose, View

LIGHT = Light(300.0, np.ones(3, np.float32), 0.0, 0.0)
VIEW = View(0, 0, (640, 480))
EDGE = (100.0, 100.0, 300.0, 400.0)


def _plane(face_mm=60.0):
    return Plane(700.0, Pose(320, 240, 120), (200, 250), 120, face_mm, EDGE)


def _grip(right):
    return Grip(right, False, 0.5, ((0.5, 0.0),), SKIN[0].astype(np.float32), False)


def test_fingers_lie_over_the_edge_they_come_from():
    dark = np.zeros((480, 640, 3), np.float32)
    edges = _plane().to_frame(np.array([[EDGE[0], 250.0], [EDGE[2], 250.0]]))
    for right in (False, True):
        radiance, hand = add_hand(dark, VIEW, _plane(), EDGE, _grip(right), LIGHT)
        x, y = np.round(edges[int(right)]).astype(int)
        assert hand[y, x] > 0.9
        assert hand[y, np.round(edges[int(not right)]).astype(int)[0]] == 0
        assert radiance[y, x, 2] > radiance[y, x, 0] > 0  # skin reflects most red
    assert not dark.any()


def test_a_finger_is_as_broad_as_a_finger():
    """17 mm: on a small picture of a face it covers much, on a poster little."""
    covered = []
    for face_mm in (40.0, 160.0):
        _, hand = add_hand(np.zeros((480, 640, 3), np.float32), VIEW, _plane(face_mm), EDGE, _grip(True), LIGHT)
        x = int(_plane(face_mm).to_frame(np.array([[EDGE[2], 250.0]]))[0, 0])
        covered.append((hand[:, x] > 0.5).sum())
    assert abs(covered[0] - 17 / 40 * 120) < 8
    assert abs(covered[1] - 17 / 160 * 120) < 5


def test_hands_out_of_view_change_nothing():
    radiance = np.ones((60, 60, 3), np.float32)
    same, hand = add_hand(radiance, View(0, 0, (60, 60)), _plane(), EDGE, _grip(True), LIGHT)
    assert hand is None
    np.testing.assert_array_equal(same, radiance)


def test_one_hand_or_two_of_one_person():
    rng = np.random.default_rng(0)
    grips = [draw_grips(rng) for _ in range(40)]
    assert {len(hands) for hands in grips} == {1, 2}
    for hands in grips:
        assert all(np.array_equal(hand.skin, hands[0].skin) for hand in hands)
        assert len({hand.right for hand in hands}) == len(hands)
