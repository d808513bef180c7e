"""Taking one physical cause out of the simulator: what goes, and that nothing else does."""

import json
from dataclasses import fields, is_dataclass, replace

import cv2
import numpy as np
import pytest

from dtda.app.cli import main
from dtda.core.errors import DtdaError
from dtda.core.simulate import sources as first
from dtda.core.simulate.camera import LUMA, MIDDLE_GREY, metered
from dtda.core.simulate.capture import attack, attack_radiance, bona_fide, draw_setting, live_radiance
from dtda.core.simulate.config import Ingredient, SimulateConfig, read_config
from dtda.core.simulate.domains import DOMAINS
from dtda.core.simulate.ingredients import ABSENCES, reduced
from dtda.core.simulate.presentation import draw_presentation
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.scene import View, whole
from dtda.core.simulate.sources import Source, draw_sources

FACE = (0.15, 0.18)
# (domain, instrument or None for live): mosaics and binning, JPEG and H.264, paper, screens and cut photos.
SHOTS = [(0, None), (3, None), (0, 0), (0, 3), (5, 1), (3, 2), (1, 2)]
# Of each shot before causes could be taken out: the random number that would come next, lux, the face's x1, y1 and width,
# the mean step from pixel to pixel, and mean and standard deviation of the face's blue, green and red codes.
BEFORE = [
    [0.33871, 354.57, 169.53, 155.55, 78.001, 4.67, 60.61, 75.78, 86.84, 29.69, 29.56, 30.15],
    [0.27386, 186.75, 121.45, 66.73, 55.982, 8.41, 159.04, 179.17, 175.15, 58.02, 53.50, 49.31],
    [0.10629, 141.64, 163.01, 150.82, 72.555, 4.05, 76.20, 100.95, 102.23, 23.48, 24.33, 22.17],
    [0.35529, 228.64, 176.61, 162.8, 81.531, 4.90, 89.56, 105.29, 134.10, 36.44, 34.80, 38.72],
    [0.18845, 355.96, 198.76, 183.82, 91.851, 5.10, 102.37, 134.81, 179.52, 41.80, 41.75, 47.43],
    [0.12992, 186.26, 79.928, 66.971, 53.147, 9.88, 135.77, 150.38, 189.50, 47.03, 42.36, 45.87],
    [0.35221, 63.287, 169.21, 157.06, 79.153, 3.88, 80.17, 97.69, 134.01, 39.73, 36.90, 43.29],
]


@pytest.fixture(scope="module")
def person():
    return astronaut()


def _picture(person):
    centre = (person.box[:2] + person.box[2:]) / 2
    return Source(person.bgr, np.eye(2, 3), (float(centre[0]), float(centre[1]), person.face_width))


def _drawn(person, number, *without, seed=0, rooms=None):
    """Setting, presentation and the stream of one of SHOTS. rooms: what differs in them."""
    domain, instrument = SHOTS[number]
    domains = reduced(SimulateConfig(without=without)).domains
    domains = [each.model_copy(update={"room": each.room.model_copy(update=rooms)}) for each in domains]
    rng = np.random.default_rng((seed, number))
    setting = draw_setting(person, domains[domain], FACE, rng)
    if instrument is None:
        return setting, None, rng
    held = domains[domain].instruments[instrument]
    return setting, draw_presentation(person, [_picture(person)], held, setting.light, rng), rng


def _taken(person, setting, shown, rng):
    return bona_fide(person, setting, rng) if shown is None else attack(person, shown, setting, rng)


def _numbers(part):
    """All numbers in dataclasses and tuples, to five digits; pictures by their shape."""
    if is_dataclass(part):
        return [_numbers(getattr(part, one.name)) for one in fields(part)]
    if isinstance(part, tuple):
        return [_numbers(one) for one in part]
    if isinstance(part, np.ndarray) and part.size > 100:
        return part.shape
    if isinstance(part, np.ndarray):
        return [_numbers(float(one)) for one in part.ravel()]
    return f"{part:.5g}" if isinstance(part, float) else str(part)


def _face(taken):
    x1, y1, x2, y2 = (int(value) for value in taken.box)
    return taken.frame[y1:y2, x1:x2]


def _radiance(person, setting, shown, view=None):
    metering = None if view is None else metered(_radiance(person, setting, shown)[0], setting.shot, setting.face)
    view = view or whole(setting.shot.output)
    if shown is None:
        return live_radiance(person, setting, replace(setting.pose, yaw=0.0, pitch=0.0), view, metering), None
    return attack_radiance(person, shown, setting, view, metering)


def _summary(person, number):
    setting, shown, rng = _drawn(person, number, rooms={"as_photographed": 0.0})  # which came later
    taken = _taken(person, setting, shown, rng)
    x1, y1, x2, _ = (float(value) for value in taken.box)
    face = _face(taken).astype(float)
    step = np.abs(np.diff(face, axis=1)).mean()
    return [float(rng.random()), setting.light.lux, x1, y1, x2 - x1, step, *face.mean((0, 1)), *face.std((0, 1))]


@pytest.mark.parametrize("number", range(len(SHOTS)))
def test_nothing_changes_where_nothing_is_taken_out(person, number):
    """Codes to half a step, since libraries and processors differ in rounding."""
    found, known = _summary(person, number), BEFORE[number]
    np.testing.assert_allclose(found[:5], known[:5], rtol=1e-3)
    np.testing.assert_allclose(found[5], known[5], rtol=0.02)
    np.testing.assert_allclose(found[6:], known[6:], rtol=0, atol=0.5)


@pytest.mark.parametrize("name", list(ABSENCES))
def test_pictures_pair_with_those_of_the_full_set(person, name):
    """The same places, people, rooms and instruments; other pixels somewhere."""
    changed = False
    for number in range(len(SHOTS)):
        full, less = _drawn(person, number), _drawn(person, number, name)
        one, other = _taken(person, *full), _taken(person, *less)
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.box, other.box)
        assert one.frame.shape == other.frame.shape
        assert (one.kind, one.instrument) == (other.kind, other.instrument)
        assert _numbers(full[0].light) == _numbers(less[0].light)
        np.testing.assert_array_equal(full[0].room.picture, less[0].room.picture)
        assert full[2].random() == less[2].random()  # noise included, as many numbers were drawn
        changed |= not np.array_equal(one.frame, other.frame) or (one.jpeg, one.qp) != (other.jpeg, other.qp)
    assert changed


@pytest.mark.parametrize("name", ["camera", "codec", "motion"])
def test_the_pictures_that_are_shown_pair_too(person, name, monkeypatch):
    monkeypatch.setattr(first.codec, "as_video_frames", lambda pictures, qps: [p // 2 for p in pictures])
    found = [
        draw_sources([person], reduced(SimulateConfig(without=without)), [np.random.default_rng(2)])[0]
        for without in ((), (name,))
    ]
    assert len(found[0]) == 3
    same = []
    for one, other in zip(*found, strict=True):
        assert one.face == other.face
        np.testing.assert_array_equal(one.to_picture, other.to_picture)
        assert one.picture.shape == other.picture.shape
        same.append(np.array_equal(one.picture, other.picture))
    if name != "motion":  # it is less than a pixel in most of them
        assert not all(same)


def test_without_lattice_no_instrument_has_cells(person):
    full, less = [], []
    for domain in DOMAINS:
        for names, found in (((), full), (("lattice",), less)):
            rng = np.random.default_rng(5)
            changed = next(d for d in reduced(SimulateConfig(without=names)).domains if d.name == domain.name)
            setting = draw_setting(person, changed, FACE, rng)
            sharp = replace(
                setting, shot=replace(setting.shot, blur=0.1, focus_m=None, aperture=0.1, motion=(0.0, 0.0))
            )
            for instrument in changed.instruments:
                shown = draw_presentation(person, [_picture(person)], instrument, setting.light, rng)
                found.append(_radiance(person, sharp, shown, View(200, 100, (64, 64)))[1])
    assert sum(cells is not None for cells in full) > 5
    assert all(cells is None for cells in less)


def test_without_exposure_every_face_is_as_bright(person):
    levels: dict[tuple, list[float]] = {(): [], ("exposure",): []}
    for names, found in levels.items():
        for number in range(len(SHOTS)):
            setting, shown, _ = _drawn(person, number, *names)
            small = _radiance(person, setting, shown)[0]
            metering = metered(small, setting.shot, setting.face)
            x, y, width = (value * small.shape[1] for value in setting.face)
            half = max(1, width / 4)
            face = small[round(y - half) : round(y + half), round(x - half) : round(x + half)].reshape(-1, 3).mean(0)
            found.append(float((face + metering.veil) * metering.gains @ LUMA) * metering.exposure / MIDDLE_GREY)
            dim = metered(small / 16, setting.shot, setting.face)
            assert names == () or dim.electrons == metering.electrons
    apart = {names: np.ptp(np.log2(found)) for names, found in levels.items()}
    assert apart["exposure",] < 0.5 < 1.0 < apart[()]


def test_without_context_the_instrument_is_all_there_is(person):
    for number in (2, 3, 5):
        setting, shown, _ = _drawn(person, number, "context")
        assert shown.edge is None
        assert shown.outer is None
        view = View(0, 0, setting.shot.output)
        other = replace(setting.room, picture=setting.room.picture * 50)
        metering = metered(_radiance(person, setting, shown)[0], setting.shot, setting.face)
        seen = [
            attack_radiance(person, shown, replace(setting, room=room), view, metering)[0]
            for room in (setting.room, other)
        ]
        np.testing.assert_array_equal(*seen)
        full = _drawn(person, number)[1]
        assert full.outer is not None
        assert (full.face_mm, full.medium) == (shown.face_mm, shown.medium)


def test_without_context_cut_eyes_stay_cut(person):
    setting, shown, _ = _drawn(person, 4, "context")
    plane = shown.plane(setting.pose, setting.focal)
    mask = plane.mask(View(0, 0, setting.shot.output), shown.edge, shown.holes)
    x, y = np.round(plane.to_frame(shown.landmarks[:1])[0]).astype(int)
    assert mask[y, x] < 0.5
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].min() == 1


def test_without_glare_nothing_is_mirrored(person):
    for number in (3, 5):
        seen = {}
        for names in ((), ("glare",)):
            setting, shown, _ = _drawn(person, number, *names)
            view = whole(setting.shot.output)
            lamps = replace(setting.room, mirrored=setting.room.mirrored * 1000)
            shown = replace(shown, grips=(), instrument=shown.instrument.model_copy(update={"borderless": True}))
            seen[names] = [
                attack_radiance(person, shown, replace(setting, room=room), view, None)[0]
                for room in (setting.room, lamps)
            ]
        assert seen[()][1].mean() > 2 * seen[()][0].mean()
        np.testing.assert_array_equal(*seen["glare",])


def test_a_clean_camera_adds_nothing(person):
    for number in (0, 1):
        setting, shown, _ = _drawn(person, number, "camera")
        one, other = (_taken(person, setting, shown, np.random.default_rng(seed)) for seed in (1, 2))
        np.testing.assert_array_equal(one.frame, other.frame)  # no noise
        noisy = _drawn(person, number)[0]
        one, other = (_taken(person, noisy, shown, np.random.default_rng(seed)) for seed in (1, 2))
        assert np.abs(one.frame.astype(int) - other.frame).mean() > 0.3
        assert setting.shot.shutter_s == noisy.shot.shutter_s
        assert setting.shot.motion == noisy.shot.motion


def test_without_codec_nothing_is_compressed(person, monkeypatch):
    monkeypatch.setattr(first.codec, "as_video_frames", None)  # would raise
    config = reduced(SimulateConfig(without=("codec",)))
    draw_sources([person], config, [np.random.default_rng(0)])
    for number in range(len(SHOTS)):
        shot = _drawn(person, number, "codec")[0].shot
        assert (shot.jpeg, shot.qp) == (98, None)


def test_without_motion_nothing_moves(person):
    assert _drawn(person, 0)[0].shot.motion != (0.0, 0.0)
    assert all(_drawn(person, n, "motion")[0].shot.motion == (0.0, 0.0) for n in range(len(SHOTS)))


def test_causes_can_be_taken_out_together_and_reducing_twice_is_reducing_once():
    every = reduced(SimulateConfig(without=tuple(ABSENCES)))
    assert reduced(every) == every
    camera, display = every.domains[0].camera, every.domains[0].instruments[3]
    assert (camera.metering, camera.codec, camera.motion, camera.ideal) == ("face", "none", 0.0, True)
    assert (display.gloss, display.borderless, display.pitch_mm) == ((0, 0), True, (1e-4, 1e-4))
    plain = SimulateConfig()
    assert reduced(plain) is plain
    assert set(ABSENCES) == set(Ingredient.__args__)


def test_the_record_names_what_is_missing_and_is_the_old_one_otherwise(tmp_path):
    plain = SimulateConfig().model_dump(mode="json")
    assert not {"without", "video_codec"} & set(plain)
    assert not {"metering", "ideal"} & set(plain["domains"][0]["camera"])
    assert not any("borderless" in instrument for instrument in plain["domains"][0]["instruments"])
    named = SimulateConfig(without=("motion", "codec", "motion"))
    assert named.model_dump(mode="json") == plain | {"without": ["codec", "motion"]}
    assert SimulateConfig.model_validate(named.model_dump()) == named
    (tmp_path / "c.toml").write_text('without = ["glare"]')
    assert read_config(tmp_path / "c.toml").without == ("glare",)
    (tmp_path / "c.toml").write_text('without = ["colour"]')
    with pytest.raises(DtdaError, match="without"):
        read_config(tmp_path / "c.toml")


def test_the_command_takes_causes_out_and_records_them(tmp_path, capsys):
    faces = tmp_path / "faces"
    faces.mkdir()
    person = astronaut()
    cv2.imwrite(str(faces / "a.png"), person.bgr)
    names = ["file", "identity", "box_x1", "box_y1", "box_x2", "box_y2"]
    names += [f"{point}_{axis}" for point in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy"]
    values = [*person.box, *person.points.ravel()]
    (faces / "faces.csv").write_text(",".join(names) + "\na.png,x," + ",".join(str(float(v)) for v in values) + "\n")
    (tmp_path / "c.toml").write_text("""
face = [0.15, 0.18]
sources = 1
live = 1
attack = 1
[[domains]]
name = "only"
camera = {}
room = {}
instruments = [{ kind = "display" }]
""")
    common = ["simulate", "--faces", str(faces), "--config", str(tmp_path / "c.toml"), "--workers", "0"]
    assert main([*common, "--out", str(tmp_path / "full")]) == 0
    less = [*common, "--out", str(tmp_path / "less"), "--without", "codec", "--without", "camera"]
    assert main(less) == 0
    assert main(less) == 0  # goes on with its own
    assert main([*common, "--out", str(tmp_path / "less")]) == 2
    assert "another configuration" in capsys.readouterr().err
    stamps = [json.loads((tmp_path / name / "simulate.json").read_text())["config"] for name in ("full", "less")]
    assert stamps[0] | {"without": ["camera", "codec"]} == stamps[1]
    lists = [(tmp_path / name / "manifest.csv").read_text() for name in ("full", "less")]
    assert lists[0] == lists[1]
    pictures = [sorted((tmp_path / name).rglob("*.jpg")) for name in ("full", "less")]
    assert len(pictures[0]) == 2
    for one, other in zip(*pictures, strict=True):
        assert one.read_bytes() != other.read_bytes()


def test_help_says_what_each_cause_is(capsys):
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    told = capsys.readouterr().out
    for name, absence in ABSENCES.items():
        assert f"  {name:<10}{absence.says}" in told
    with pytest.raises(SystemExit):
        main(["simulate", "--out", "x", "--without", "colour"])
