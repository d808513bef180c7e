import csv

import cv2
import numpy as np
import pytest

from dtda.core.data.manifest import read_manifest
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.simulate import dataset
from dtda.core.simulate.config import SimulateConfig, read_config
from dtda.core.simulate.dataset import bench, simulate, split_of
from dtda.core.simulate.domains import DOMAINS
from dtda.core.simulate.portrait import Entry, list_portraits, load_portrait
from dtda.core.simulate.sample import BOX, POINTS
from dtda.core.types import Face, Label

KIOSK = next(domain for domain in DOMAINS if domain.held_out)
SMALL = SimulateConfig(live=1, attack=1, sources=1, face=(0.15, 0.18), domains=[DOMAINS[0], KIOSK])


def _no_detector():
    raise AssertionError("faces.csv has the boxes")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Twelve "identities": one public-domain portrait under twelve names."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("faces")
    header = ["file", "identity", "box_x1", "box_y1", "box_x2", "box_y2"]
    header += [f"{name}_{axis}" for name in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy"]
    with (folder / "faces.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number in range(12):
            cv2.imwrite(str(folder / f"p{number}.png"), astronaut()[:, :, ::-1])
            writer.writerow([f"p{number}.png", f"person{number}", *BOX, *np.ravel(POINTS)])
    return folder


@pytest.fixture(scope="module")
def data(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("sim") / "set"
    report = simulate(faces, out, SMALL, _no_detector)
    assert not report.skipped
    return out, report


def test_manifest_lists_every_file_with_its_labels(data):
    out, report = data
    records = read_manifest(out / "manifest.csv")
    assert len(records) == report.written == len(list(out.rglob("*.jpg")))
    assert {record.label for record in records} == {Label.LIVE, Label.SPOOF}
    for record in records:
        assert record.path.is_file()
        assert (record.label is Label.LIVE) == (record.attack_type == "")
        assert record.points.shape == (5, 2)


def test_identities_are_disjoint_and_the_held_out_domain_has_test_only(data):
    records = read_manifest(data[0] / "manifest.csv")
    resolve("splits", records)  # refuses people who stand in two parts
    assert {record.split for record in records if record.domain == "kiosk"} <= {"test"}
    assert {record.split for record in records} == {"train", "dev", "test"}


def test_people_of_one_split_alone_are_rendered_as_in_the_whole_set(data, faces, tmp_path):
    report = simulate(faces, tmp_path / "set", SMALL.model_copy(update={"people": ("train",)}), _no_detector)
    found = {path.relative_to(tmp_path / "set"): path.read_bytes() for path in (tmp_path / "set").rglob("*.jpg")}
    assert found == {path.relative_to(data[0]): path.read_bytes() for path in data[0].rglob("train/*.jpg")}
    assert 0 < report.written == len(found) < data[1].written
    nobody = SMALL.model_copy(update={"split": (0.999, 0.0005), "people": ("dev",)})
    with pytest.raises(DtdaError, match="nobody there is of the split dev"):
        simulate(faces, tmp_path / "none", nobody, _no_detector)


def test_a_killed_run_goes_on_and_gives_the_same_set(data, faces, tmp_path, monkeypatch):
    out, _ = data
    again = tmp_path / "again"
    rendered, real = [], dataset.load_portrait

    def killed_at_the_sixth(entry, detect):
        rendered.append(entry.path.name)
        if len(rendered) == 6:
            raise KeyboardInterrupt
        return real(entry, detect)

    monkeypatch.setattr(dataset, "load_portrait", killed_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        simulate(faces, again, SMALL, _no_detector)
    simulate(faces, again, SMALL, _no_detector)
    assert len(rendered) == 6 + 8  # the first chunk of four stays, the second is begun anew
    first = sorted(path.relative_to(out) for path in out.rglob("*.jpg"))
    assert first == sorted(path.relative_to(again) for path in again.rglob("*.jpg"))
    assert all((out / path).read_bytes() == (again / path).read_bytes() for path in first)
    assert (again / "manifest.csv").read_bytes() == (out / "manifest.csv").read_bytes()


def test_photos_of_one_name_in_several_folders_stay_apart(tmp_path):
    from skimage.data import astronaut

    for name in ("a/x/1.png", "b/x/1.png", "b/x/1.bmp"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), astronaut()[:, :, ::-1])
    face = Face(np.array(BOX, np.float32), np.array(POINTS, np.float32), 1.0)
    one = SMALL.model_copy(update={"domains": [DOMAINS[0]]})
    report = simulate(tmp_path / "in", tmp_path / "out", one, lambda: lambda bgr: [face])
    records = read_manifest(tmp_path / "out" / "manifest.csv")
    assert report.written == 6 == len({record.path for record in records})
    (tmp_path / "in" / "b_x_1.bmp").write_bytes((tmp_path / "in" / "b" / "x" / "1.bmp").read_bytes())
    with pytest.raises(DtdaError, match=r"share the name b_x_1\.bmp"):
        simulate(tmp_path / "in", tmp_path / "other", one, lambda: lambda bgr: [face])


def test_frames_of_a_clip_share_their_video_and_their_metering(faces, tmp_path):
    moving = SMALL.model_copy(update={"portraits": 3, "clip": 3, "domains": [DOMAINS[0]]})
    report = simulate(faces, tmp_path / "clips", moving, _no_detector)
    records = read_manifest(tmp_path / "clips" / "manifest.csv")
    assert report.written == len(records) == 3 * 2 * 3
    clips = {record.video for record in records}
    assert len(clips) == 6
    for name in clips:
        frames = [record for record in records if record.video == name]
        pictures = [cv2.imread(str(record.path)) for record in frames]
        assert len({picture.shape for picture in pictures}) == 1
        assert np.ptp([picture.mean() for picture in pictures]) < 4
        if frames[0].label is Label.LIVE:
            assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 0.3


def test_the_speed_is_counted_and_nothing_is_kept(faces):
    speed = bench(faces, SMALL.model_copy(update={"portraits": 3, "domains": [DOMAINS[0]]}), _no_detector, 0)
    assert speed.pictures == 6
    assert speed.processor_ms > 1
    assert speed.rate == pytest.approx(6 / speed.seconds)
    assert 180 < speed.crop < 260


def test_other_photos_do_not_replace_a_set(data, faces, tmp_path):
    few = SMALL.model_copy(update={"portraits": 3})
    simulate(faces, tmp_path / "out", few, _no_detector)
    (tmp_path / "in").mkdir()
    lines = (faces / "faces.csv").read_text().splitlines()
    (tmp_path / "in" / "faces.csv").write_text("\n".join([lines[0], *lines[4:8]]) + "\n")
    with pytest.raises(DtdaError, match="or other photos"):
        simulate(tmp_path / "in", tmp_path / "out", few, _no_detector)


@pytest.mark.slow
def test_processes_do_not_change_the_set(data, faces, tmp_path):
    simulate(faces, tmp_path / "two", SMALL, list, workers=2)  # spawned processes cannot import this file
    assert (tmp_path / "two" / "manifest.csv").read_bytes() == (data[0] / "manifest.csv").read_bytes()
    for path in data[0].rglob("*.jpg"):
        assert (tmp_path / "two" / path.relative_to(data[0])).read_bytes() == path.read_bytes()


def test_a_folder_of_other_things_is_not_written_into(faces, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DtdaError, match="is not empty"):
        simulate(faces, tmp_path, SMALL, _no_detector)
    with pytest.raises(DtdaError, match="another configuration"):
        simulate(faces, data[0], SMALL.model_copy(update={"seed": 9}), _no_detector)


def test_a_circle_cut_from_a_photo_gets_its_corners_back(faces, tmp_path):
    from skimage.data import astronaut

    round_, corner = astronaut()[:, :, ::-1].copy(), (100, 76, 74)
    y, x = np.ogrid[-1:1:512j, -1:1:512j]
    round_[np.hypot(x, y) > 1] = corner
    cv2.imwrite(str(tmp_path / "round.png"), round_)
    entry = Entry(tmp_path / "round.png", "x", np.array(BOX, np.float32), np.array(POINTS, np.float32))
    person = load_portrait(entry, _no_detector)
    assert np.abs(person.bgr[505, 40].astype(int) - corner).max() > 20  # the body goes on below the circle
    assert person.matte[:60, :60].max() == 0  # and no wall was left above
    assert not person.framed
    plain = load_portrait(list_portraits(faces)[0], _no_detector)
    np.testing.assert_array_equal(plain.bgr[-512:], astronaut()[:, :, ::-1])
    assert plain.framed


def test_a_photo_that_ends_above_the_hair_goes_on_and_one_that_cuts_it_does_not(tmp_path):
    from skimage.data import astronaut

    for cut, taller in ((0, True), (40, False)):
        photo = astronaut()[cut:, :, ::-1]
        cv2.imwrite(str(tmp_path / "photo.png"), photo)
        down = np.float32([0, cut])
        entry = Entry(tmp_path / "photo.png", "x", np.float32(BOX) - np.tile(down, 2), np.float32(POINTS) - down)
        person = load_portrait(entry, _no_detector)
        added = person.bgr.shape[0] - len(photo)
        assert (added > 0) == taller
        assert person.matte.shape == person.bgr.shape[:2]
        np.testing.assert_array_equal(person.bgr[added:], photo)
        np.testing.assert_allclose(person.points - entry.points, np.tile([0, added], (5, 1)), atol=1e-4)
        np.testing.assert_allclose(person.box - entry.box, [0, added, 0, added], atol=1e-4)
        if taller:
            assert person.box[1] == pytest.approx(0.9 * (person.box[3] - person.box[1]), abs=1)
            assert person.matte[:added].max() == 0
            steps = [np.abs(np.diff(person.bgr[row].astype(int), axis=0)).mean() for row in (0, added - 1, added)]
            assert steps[1] == steps[2]  # the photo's own row first
            assert steps[0] < 0.5 * steps[2]  # and a smooth one above


def test_unusable_portraits_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(DtdaError, match=r"none of its 2 pictures could be used; the first: .*broken.jpg"):
        simulate(tmp_path, tmp_path.parent / "out", SMALL, lambda: lambda bgr: [])


def test_portraits_without_a_table_are_their_own_subjects(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 20, 3), np.uint8))
    assert list_portraits(tmp_path) == [Entry(tmp_path / "a.png", "a")]
    with pytest.raises(DtdaError, match="no such folder"):
        list_portraits(tmp_path / "nowhere")
    for table in ("name,identity\na.png,x\n", "file,identity,box_x1\na.png\n"):
        (tmp_path / "faces.csv").write_text(table)
        with pytest.raises(DtdaError, match=r"faces\.csv: a column is missing"):
            list_portraits(tmp_path)


def test_boxes_scale_with_a_large_photo(faces):
    entry = list_portraits(faces)[0]
    big = entry.path.parent / "big.bmp"
    cv2.imwrite(str(big), cv2.resize(cv2.imread(str(entry.path)), None, fx=2, fy=2))
    person = load_portrait(Entry(big, "x", np.array(BOX, np.float32) * 2, np.array(POINTS, np.float32) * 2), None)
    big.unlink()
    assert person.bgr.shape[1] == 768
    added = person.bgr.shape[0] - 768  # headroom
    np.testing.assert_allclose(person.box, np.array(BOX) * 1.5 + (0, added, 0, added), rtol=1e-5)
    x, y = np.array(POINTS[2], int) * 3 // 2
    assert person.matte[y + added, x] == 1  # the nose is on the person


def test_splits_are_stable_and_near_their_shares():
    found = [split_of(f"subject{number}", (0.7, 0.15)) for number in range(2000)]
    assert abs(found.count("train") / 2000 - 0.7) < 0.04
    assert split_of("subject1", (0.7, 0.15)) == found[1]


def test_configuration_errors_name_the_field(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("live = 0")
    with pytest.raises(DtdaError, match="live: Input should be greater"):
        read_config(path)
    for text, words in (
        ("face = [0.0, 0.1]", "face"),
        ("face = [0.4, 0.1]", "face"),
        ("split = [0.9, 0.9]", "leave some for test"),
        ("domains = []", "domains"),
    ):
        path.write_text(text)
        with pytest.raises(DtdaError) as failure:
            read_config(path)
        assert words in str(failure.value)
    path.write_text("lives = 1")
    with pytest.raises(DtdaError, match="lives"):
        read_config(path)
    path.write_text("=")
    with pytest.raises(DtdaError, match="not valid TOML"):
        read_config(path)
    with pytest.raises(DtdaError, match="no such configuration file"):
        read_config(tmp_path / "none.toml")
