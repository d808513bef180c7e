import csv

import cv2
import numpy as np
import pytest

from dtda.core.data.manifest import check_splits, read_manifest
from dtda.core.errors import DtdaError
from dtda.core.simulate.config import DOMAINS, SimulateConfig, read_config
from dtda.core.simulate.dataset import simulate, split_of
from dtda.core.simulate.portrait import Entry, list_portraits, load_portrait
from dtda.core.simulate.sample import BOX, POINTS
from dtda.core.types import Label

SMALL = SimulateConfig(live=1, attack=1, domains=[DOMAINS[0], DOMAINS[3]])


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
    check_splits(records)
    assert {record.split for record in records if record.domain == "kiosk"} <= {"test"}
    assert {record.split for record in records} == {"train", "dev", "test"}


def test_an_identity_in_two_splits_is_refused(data):
    records = read_manifest(data[0] / "manifest.csv")
    from dataclasses import replace

    with pytest.raises(DtdaError, match="is in the"):
        check_splits([records[0], replace(records[0], split="dev" if records[0].split != "dev" else "train")])


def test_a_killed_run_goes_on_and_gives_the_same_set(data, faces, tmp_path):
    out, _ = data
    again = tmp_path / "again"
    simulate(faces, again, SMALL, _no_detector)
    first = sorted(path.relative_to(out) for path in out.rglob("*.jpg"))
    assert first == sorted(path.relative_to(again) for path in again.rglob("*.jpg"))
    assert all((out / path).read_bytes() == (again / path).read_bytes() for path in first)
    (again / "manifest.csv").unlink()
    simulate(faces, again, SMALL, _no_detector)
    assert (again / "manifest.csv").read_bytes() == (out / "manifest.csv").read_bytes()


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


def test_boxes_scale_with_a_large_photo(faces):
    entry = list_portraits(faces)[0]
    big = entry.path.parent / "big.bmp"
    cv2.imwrite(str(big), cv2.resize(cv2.imread(str(entry.path)), None, fx=2, fy=2))
    person = load_portrait(Entry(big, "x", np.array(BOX, np.float32) * 2, np.array(POINTS, np.float32) * 2), None)
    big.unlink()
    assert max(person.bgr.shape) == 768
    np.testing.assert_allclose(person.box, np.array(BOX) * 1.5, rtol=1e-5)
    assert person.matte[tuple(np.array(POINTS[2][::-1], int) * 3 // 2)] == 1  # the nose is on the person


def test_splits_are_stable_and_near_their_shares():
    found = [split_of(f"subject{number}", (0.7, 0.15)) for number in range(2000)]
    assert abs(found.count("train") / 2000 - 0.7) < 0.04
    assert split_of("subject1", (0.7, 0.15)) == found[1]


def test_configuration_errors_name_the_field(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("live = 0")
    with pytest.raises(DtdaError, match="live: Input should be greater"):
        read_config(path)
    path.write_text("lives = 1")
    with pytest.raises(DtdaError, match="lives"):
        read_config(path)
    path.write_text("=")
    with pytest.raises(DtdaError, match="not valid TOML"):
        read_config(path)
    with pytest.raises(DtdaError, match="no such configuration file"):
        read_config(tmp_path / "none.toml")
