from dataclasses import replace

import cv2
import numpy as np
import pytest

from dtda.core.metrics import auc
from dtda.core.preprocess import CropRule, crop, crop_matrix
from dtda.core.simulate.camera import draw_shot
from dtda.core.simulate.capture import attack, bona_fide, draw_presentation, draw_setting
from dtda.core.simulate.config import DOMAINS, INKJET, LAPTOP, LASER, PHONE
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.scene import Pose, light_colour
from dtda.engines.detect import open_detector

FACE = (0.2, 0.3)


@pytest.fixture(scope="module")
def person():
    return astronaut()


@pytest.fixture(scope="module")
def detector():
    found = open_detector("centerface")
    yield found
    found.close()


def _taken(person, instrument, seed):
    rng = np.random.default_rng(seed)
    setting = draw_setting(person, DOMAINS[0], FACE, rng)
    if instrument is None:
        return bona_fide(person, setting, rng)
    return attack(person, draw_presentation(person, instrument, rng), setting, rng)


@pytest.mark.parametrize("instrument", [None, LASER, INKJET, PHONE, LAPTOP], ids=lambda i: getattr(i, "name", "live"))
def test_landmarks_are_where_a_detector_finds_them(person, detector, instrument):
    found = 0
    for seed in range(6):
        taken = _taken(person, instrument, seed)
        eyes = np.linalg.norm(taken.points[1] - taken.points[0])
        for face in detector.detect(taken.frame):
            error = np.linalg.norm(face.points - taken.points, axis=1).mean() / eyes
            found += error < 0.2
    assert found >= 4  # a dark or blurred shot may hide a face; wrong geometry would hide all


def test_same_seed_same_file_other_seed_other_file(person):
    assert _taken(person, LASER, 5).jpeg == _taken(person, LASER, 5).jpeg
    assert _taken(person, LASER, 5).jpeg != _taken(person, LASER, 6).jpeg


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_place_and_size_of_the_face_say_nothing_of_the_class(person, domain):
    """Geometry is no recapture: where the face lies in the frame and in the chip must not separate the classes."""
    small = tuple(side // 4 for side in domain.camera.sensor)
    camera = domain.camera.model_copy(update={"sensor": small, "output": small})
    domain = domain.model_copy(update={"camera": camera})
    rule, seen = CropRule(128, 2.5), {True: [], False: []}
    for seed in range(120):
        rng = np.random.default_rng((seed, 1))
        setting = draw_setting(person, domain, (0.16, 0.42), rng)
        live = seed % 2 == 0
        if live:
            taken = bona_fide(person, setting, rng)
        else:
            shown = draw_presentation(person, domain.instruments[seed // 2 % len(domain.instruments)], rng, side=200)
            taken = attack(person, shown, setting, rng)
        chip = cv2.transform(taken.points[None], crop_matrix(taken.points, taken.frame.shape[:2], rule))[0]
        eyes = np.linalg.norm(taken.points[1] - taken.points[0])
        chip_eyes = np.linalg.norm(chip[1] - chip[0])
        seen[live].append([*taken.points.mean(0), eyes, *chip.mean(0), chip_eyes])
    scores, labels = np.vstack([seen[True], seen[False]]), np.repeat([True, False], 60)
    for name, column in zip(("x", "y", "eyes", "chip x", "chip y", "chip eyes"), scores.T, strict=True):
        assert 0.35 < auc(column, labels) < 0.65, name  # 60 + 60 pictures of no difference: sd 0.053


def test_shots_differ_within_their_ranges():
    rng = np.random.default_rng(0)
    shots = [draw_shot(DOMAINS[0].camera, rng) for _ in range(50)]
    low, high = DOMAINS[0].camera.jpeg
    assert {shot.jpeg for shot in shots} <= set(range(low, high + 1))
    assert len({shot.jpeg for shot in shots}) > 8


def test_a_print_held_close_shows_its_screen_and_far_does_not(person):
    """Dots of 0.3 mm alias when one falls on a pixel and vanish when a pixel covers many."""
    seen = []
    for face_mm in (30.0, 400.0):
        pair = []
        for dots in (0.6, 0.0):
            paper = LASER.model_copy(
                update={
                    "face_mm": (face_mm, face_mm),
                    "screen": (85.0, 85.0),
                    "dots": (dots, dots),
                    "grain": (0.0, 0.0),
                }
            )
            rng = np.random.default_rng(7)
            setting = draw_setting(person, DOMAINS[0], FACE, rng)
            sharp = replace(setting, shot=replace(setting.shot, blur=0.2, aperture=0.4))
            pair.append(attack(person, draw_presentation(person, paper, rng), sharp, rng).frame.astype(np.float32))
        seen.append(float(np.abs(pair[0] - pair[1]).mean()))
    assert seen[0] > 0.3
    assert seen[1] < 0.01


def test_plane_puts_the_face_on_the_pose():
    pose = Pose(x=300, y=200, width=120, roll=5, yaw=12, pitch=-8)
    plane = Plane((600, 800), (640, 480), pose, face=(310, 350), face_pixels=240, face_mm=60)
    centre = cv2.perspectiveTransform(np.array([[[310.0, 350.0]]]), plane.homography)[0, 0]
    np.testing.assert_allclose(centre, (300, 200), atol=1e-6)
    assert plane.mm_per_pixel == pytest.approx(0.5)
    across, down = plane.coordinates()
    assert across[200, 300] == pytest.approx(310 / 600, abs=1e-4)
    assert down[200, 300] == pytest.approx(350 / 800, abs=1e-4)
    assert plane.mask()[200, 300] == 1
    assert plane.mask(0.1).sum() > plane.mask().sum()


def test_warm_light_is_red_and_cold_light_blue():
    warm, cold = light_colour(2700), light_colour(9000)
    assert warm[2] > warm[1] > warm[0]
    assert cold[0] > cold[1] > cold[2]
    np.testing.assert_allclose(light_colour(6500), 1)


def test_chips_of_all_kinds_are_usable(person):
    for instrument in (None, LASER, LAPTOP):
        taken = _taken(person, instrument, 1)
        chip = crop(taken.frame, taken.points, CropRule(128, 2.5))
        assert chip.std() > 5
