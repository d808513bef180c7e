from dataclasses import replace

import cv2
import numpy as np
import pytest

from dtda.core.preprocess import CropRule, crop, crop_matrix
from dtda.core.simulate.camera import draw_shot
from dtda.core.simulate.capture import (
    attack,
    attack_radiance,
    bona_fide,
    draw_setting,
    files,
    live_radiance,
    window,
)
from dtda.core.simulate.config import SimulateConfig
from dtda.core.simulate.domains import CUT, DOMAINS, INKJET, LAPTOP, LASER, MONITOR, PHONE
from dtda.core.simulate.plane import Plane
from dtda.core.simulate.portrait import to_linear
from dtda.core.simulate.presentation import draw_presentation
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.scene import Pose, View, light_colour, similarity_to_frame, whole
from dtda.core.simulate.sources import Source, draw_sources
from dtda.engines.detect import open_detector

FACE = (0.2, 0.3)


@pytest.fixture(scope="module")
def person():
    return astronaut()


@pytest.fixture(scope="module")
def sources(person):
    return draw_sources([person], SimulateConfig(sources=2), [np.random.default_rng(0)])[0]


@pytest.fixture(scope="module")
def detector():
    found = open_detector("centerface")
    yield found
    found.close()


def _taken(person, sources, instrument, seed, domain=DOMAINS[0]):
    rng = np.random.default_rng(seed)
    setting = draw_setting(person, domain, FACE, rng)
    if instrument is None:
        return bona_fide(person, setting, rng)
    return attack(person, draw_presentation(person, sources, instrument, setting.light, rng), setting, rng)


@pytest.mark.parametrize("instrument", [None, LASER, INKJET, PHONE, LAPTOP], ids=lambda i: getattr(i, "name", "live"))
def test_landmarks_are_where_a_detector_finds_them(person, sources, detector, instrument):
    found = 0
    for seed in range(6):
        taken = _taken(person, sources, instrument, seed)
        eyes = np.linalg.norm(taken.points[1] - taken.points[0])
        for face in detector.detect(taken.frame):
            error = np.linalg.norm(face.points - taken.points, axis=1).mean() / eyes
            found += error < 0.2
    assert found >= 4  # a dark or blurred shot may hide a face; wrong geometry would hide all


def test_same_seed_same_file_other_seed_other_file(person, sources):
    first, again, other = files([_taken(person, sources, LASER, seed) for seed in (5, 5, 6)])
    assert first == again != other


def test_a_picture_holds_the_context_of_its_face_or_reaches_the_frames_border(person, sources):
    for seed in range(8):
        taken = _taken(person, sources, PHONE if seed % 2 else None, seed, _photographed(0.0))
        x1, y1, x2, y2 = taken.box
        height, width = taken.frame.shape[:2]
        side = 4.0 * max(x2 - x1, y2 - y1)
        assert width == 640 or width > 0.75 * side
        assert height == 480 or height > 0.75 * side
        assert width <= side + 4


def _photographed(share, domain=DOMAINS[0]):
    return domain.model_copy(update={"room": domain.room.model_copy(update={"as_photographed": share})})


def test_live_people_as_photographed_have_their_background_and_pictures_end_with_it(person, sources):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        setting = draw_setting(person, _photographed(1.0), FACE, rng)
        left, top, right, bottom = setting.photo
        shown = draw_presentation(person, sources, PHONE, setting.light, rng)
        for marks in (
            cv2.transform(person.landmarks[None], similarity_to_frame(person, setting.pose))[0],
            shown.plane(setting.pose, setting.focal).to_frame(shown.landmarks),
        ):
            view = window(marks, setting)
            assert view.x >= left
            assert view.y >= top
            assert view.x + view.output[0] <= right + 1e-6
            assert view.y + view.output[1] <= bottom + 1e-6
        # What is beside the head reflects what it did in the photo, in the room's light.
        view = View(0, 0, setting.shot.output)
        seen = live_radiance(person, setting, setting.pose, view, None)
        lit = setting.light.shading(view, (setting.pose.x, setting.pose.y), setting.pose.width)
        for place in ((60, 40), (400, 60), (440, 250)):  # curtain, flag and wall of the photo
            x, y = np.round(similarity_to_frame(person, setting.pose) @ (*place, 1)).astype(int)
            if not (0 <= x < view.size[0] and 0 <= y < view.size[1]):
                continue
            patch = to_linear(person.bgr[place[1] - 6 : place[1] + 7, place[0] - 6 : place[0] + 7]).reshape(-1, 3)
            wanted = patch * (setting.light.white() * lit[y, x])
            assert (seen[y, x] > 0.8 * wanted.min(0)).all()
            assert (seen[y, x] < 1.25 * wanted.max(0)).all()


def test_rooms_without_photographed_people_are_drawn_as_ever(person):
    """Their sets can be gone on with: the share has a stream of its own."""
    plain, some = (draw_setting(person, _photographed(share), FACE, np.random.default_rng(4)) for share in (0.0, 1.0))
    assert plain.photo is None
    assert some.photo is not None
    assert some.pose == replace(plain.pose, roll=0.3 * plain.pose.roll)
    assert (plain.light.lux, plain.shot.jpeg) == (some.light.lux, some.shot.jpeg)
    np.testing.assert_array_equal(plain.room.picture, some.room.picture)
    framed = replace(person, framed=False)  # a person cut to a circle has no background to show
    assert draw_setting(framed, _photographed(1.0), FACE, np.random.default_rng(4)).photo is None


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_place_and_size_of_the_face_say_nothing_of_the_class(person, domain, monkeypatch):
    """Geometry is no recapture: where the face lies in the picture and in the chip must not separate the classes."""
    middle, side = (person.box[:2] + person.box[2:]) / 2, 0.35
    shift = np.array([60.0, 61.0]) - side * middle
    matrix = np.array([[side, 0, shift[0]], [0, side, shift[1]]])
    source = Source(np.zeros((160, 120, 3), np.uint8), matrix, (60.0, 61.0, side * person.face_width))
    monkeypatch.setattr("dtda.core.simulate.capture.draw_surroundings", lambda *_: None)  # no room is looked at
    rule, apart = CropRule(128, 2.5), []
    for seed in range(100):
        rng = np.random.default_rng((seed, 1))
        setting = draw_setting(person, domain, (0.15, 0.45), rng)
        shown = draw_presentation(
            person, [source], domain.instruments[seed % len(domain.instruments)], setting.light, rng
        )
        live = cv2.transform(person.landmarks[None], similarity_to_frame(person, setting.pose))[0]
        attacked = shown.plane(setting.pose, setting.focal).to_frame(shown.landmarks)
        pair = []
        for marks in (live, attacked):
            view = window(marks, setting)
            points = (marks[:5] - (view.x, view.y)).astype(np.float32)
            chip = cv2.transform(points[None], crop_matrix(points, view.output[::-1], rule))[0]
            size = [np.linalg.norm(part[1] - part[0]) for part in (points, chip)]
            pair.append([*points.mean(0), size[0], *chip.mean(0), size[1], *view.output])
        apart.append(np.subtract(*pair) / setting.pose.width)
    # The same draw, so no sampling error: a tilt moves points by a little, to either side.
    assert np.abs(np.median(apart, axis=0)).max() < 0.03
    assert np.abs(np.mean(apart, axis=0)).max() < 0.05


def test_shots_differ_within_their_ranges():
    rng = np.random.default_rng(0)
    shots = [draw_shot(DOMAINS[0].camera, rng) for _ in range(50)]
    low, high = DOMAINS[0].camera.jpeg
    assert {shot.jpeg for shot in shots} <= set(range(low, high + 1))
    assert len({shot.jpeg for shot in shots}) > 8


def test_a_print_held_close_shows_its_screen_and_far_does_not(person, sources):
    """Dots of 0.3 mm alias when one falls on a pixel and vanish when a pixel covers many."""
    seen = []
    for width in (60.0, 900.0):
        update = {"width_mm": (width, width), "height_mm": (width, width), "screen": (85.0, 85.0), "full": 1.0}
        paper = LASER.model_copy(update=update)
        rng = np.random.default_rng(7)
        setting = draw_setting(person, DOMAINS[0], FACE, rng)
        shot = replace(setting.shot, blur=0.2, aperture=0.4, focus_m=None, motion=(0.0, 0.0))
        setting = replace(setting, shot=shot)
        shown = draw_presentation(person, sources, paper, setting.light, rng)
        _, cells = _radiance(person, shown, setting)
        seen.append(0.0 if cells is None else float(np.abs(cells - 1).mean()))
    assert seen[0] > 0.01
    assert seen[1] < 1e-4


def _radiance(person, shown, setting):
    from dtda.core.simulate.camera import metered

    frame, _ = attack_radiance(person, shown, setting, whole(setting.shot.output), None)
    metering = metered(frame, setting.shot)
    return attack_radiance(person, shown, setting, View(0, 0, setting.shot.output), metering)


def test_a_display_emits_and_a_print_reflects(person, sources):
    """In a dark room the screen stays bright, the paper goes dark with the room."""
    means = {}
    for instrument in (LASER, MONITOR.model_copy(update={"follow": (0.0, 0.0)})):
        for lux in (400.0, 4.0):
            rng = np.random.default_rng(3)
            setting = draw_setting(person, DOMAINS[0], FACE, rng)
            setting = replace(setting, light=replace(setting.light, lux=lux))
            shown = draw_presentation(person, sources, instrument, setting.light, rng)
            radiance, _ = _radiance(person, shown, setting)
            x, y = int(setting.pose.x), int(setting.pose.y)
            means[instrument.kind, lux] = radiance[y - 20 : y + 20, x - 20 : x + 20].mean()
    assert means["print", 4.0] < 0.02 * means["print", 400.0]
    assert means["display", 4.0] > 0.5 * means["display", 400.0]


def test_cut_eyes_show_the_person_behind(person, sources):
    rng = np.random.default_rng(3)
    setting = draw_setting(person, DOMAINS[0], FACE, rng)
    shown = draw_presentation(person, sources, CUT, setting.light, rng)
    assert len(shown.holes) >= 2
    assert shown.behind is not None
    plane = shown.plane(setting.pose, setting.focal)
    mask = plane.mask(View(0, 0, setting.shot.output), shown.medium, shown.holes)
    eye = np.round(plane.to_frame(shown.landmarks[:1])[0]).astype(int)
    nose = np.round(plane.to_frame(shown.landmarks[2:3])[0]).astype(int)
    assert mask[eye[1], eye[0]] < 0.5 < mask[nose[1], nose[0]]


def test_plane_puts_the_face_on_the_pose():
    pose = Pose(x=300, y=200, width=120, roll=5, yaw=12, pitch=-8)
    plane = Plane(700.0, pose, (310, 350), 240, 60, (0, 0, 600, 800))
    centre = cv2.perspectiveTransform(np.array([[[310.0, 350.0]]]), plane.homography)[0, 0]
    np.testing.assert_allclose(centre, (300, 200), atol=1e-6)
    assert plane.mm_per_pixel == pytest.approx(0.5)
    assert plane.distance_m == pytest.approx(0.35)
    view = View(0, 0, (640, 480))
    across, down = plane.coordinates(view)
    assert across[200, 300] == pytest.approx(310, abs=0.1)
    assert down[200, 300] == pytest.approx(350, abs=0.1)
    mask = plane.mask(view, plane.medium)
    assert mask[200, 300] == 1
    assert plane.mask(view, (-60, -60, 660, 860)).sum() > mask.sum()
    here = plane.on_medium(view, 0.0, 1.0)
    assert here[0][200, 300] == pytest.approx(0, abs=0.2)
    assert here[0][200, 301] - here[0][200, 300] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("bend", [0.0, 0.08])
def test_points_and_pictures_on_a_sheet_land_together(bend):
    texture = np.zeros((400, 300, 3), np.uint8)
    texture[98:103, 197:202] = 255
    plane = Plane(700.0, Pose(300, 200, 120, 4, 10, -6), (150, 180), 130, 60, (0, 0, 300, 400), bend)
    for view in (View(0, 0, (640, 480)), View(210, 90, (260, 230), 1.3)):
        seen = plane.warp(view, texture, (0.0, 0.0), (0, 0, 0))
        bright = np.argwhere(seen[..., 0] > 100).mean(0)[::-1]
        marked = cv2.perspectiveTransform(plane.to_frame(np.array([[199.0, 100.0]]))[None], view.matrix)[0, 0]
        np.testing.assert_allclose(bright, marked, atol=0.8)


def test_a_part_of_the_frame_is_that_part():
    whole_view, part = View(0, 0, (640, 480)), View(100, 60, (300, 200))
    plane = Plane(700.0, Pose(300, 200, 120, 4, 10, -6), (150, 180), 130, 60, (0, 0, 300, 400))
    texture = np.random.default_rng(0).integers(0, 255, (400, 300, 3)).astype(np.uint8)
    full, piece = (plane.warp(view, texture, (0.0, 0.0), (0, 0, 0)).astype(int) for view in (whole_view, part))
    assert np.abs(full[60:260, 100:400] - piece).mean() < 1
    field = part.fine(np.add.outer(*[places[::-1] for places in part.coarse().places()][::-1])[::-1, ::-1])
    columns, rows = part.places()
    np.testing.assert_allclose(field[50, 60], rows[50] + columns[60], atol=0.1)


def test_warm_light_is_red_and_cold_light_blue():
    warm, cold = light_colour(2700), light_colour(9000)
    assert warm[2] > warm[1] > warm[0]
    assert cold[0] > cold[1] > cold[2]
    np.testing.assert_allclose(light_colour(6500), 1)


def test_chips_of_all_kinds_are_usable(person, sources):
    for instrument in (None, LASER, LAPTOP):
        taken = _taken(person, sources, instrument, 1)
        chip = crop(taken.frame, taken.points, CropRule(128, 2.5))
        assert chip.std() > 5
