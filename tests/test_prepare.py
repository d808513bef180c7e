"""Preparing clips: which frames, which part of them, what is told, and what a killed run keeps."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import cv2
import numpy as np
import pytest

from dtda.app import cli
from dtda.core.data import prepare as module
from dtda.core.data.manifest import read_manifest
from dtda.core.data.prepare import Plan, prepare
from dtda.core.data.readers.clip import Clip, Reading
from dtda.core.data.readers.sets import read_set
from dtda.core.errors import DtdaError
from dtda.core.preprocess import TEMPLATE, CropRule, crop
from dtda.core.types import Face, Label

# a set


def face_at(box, points, score=0.9):
    return Face(np.array(box, np.float32), np.asarray(points, np.float32), score)


POINTS = TEMPLATE * 0.4 + 20  # a face of 45 pixels


def bright(bgr):
    """A detector of bright frames: one face in each. Dark ones have none."""
    return [face_at((20, 20, 65, 65), POINTS)] if bgr.mean() > 100 else []


def make_bright():
    return bright


@pytest.fixture
def folder(tmp_path, write_clip):
    """Two usable clips, one without a face, one broken, one picture."""
    root = tmp_path / "set"
    frame, dark = np.full((96, 128, 3), 200, np.uint8), np.zeros((96, 128, 3), np.uint8)
    for name, frames in (("train/live/ann/1.mp4", [frame] * 6), ("train/spoof/print/2.mp4", [frame, dark] * 3),
                         ("test/live/bob/3.mp4", [dark] * 4)):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(root / name, frames)
    (root / "test/spoof").mkdir()
    (root / "test/spoof/4.mp4").write_bytes(b"broken")
    cv2.imwrite(str(root / "test/spoof/5.png"), frame)
    return root


def plan(frames=2, name="bright", make=make_bright):
    return Plan(frames, name, make)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_set_becomes_pictures_a_manifest_and_a_list_of_the_rest(folder, tmp_path):
    out = tmp_path / "out"
    calls = []
    report = prepare({"generic:desk": read_set("generic:desk", folder)}, out, plan(), 0, calls.append)["generic:desk"]
    assert (report.pictures, report.live, report.attack, sum(calls)) == (4, 1, 2, 5)
    records = read_manifest(out / "manifest.csv")
    assert [(r.label, r.split, r.subject, r.video) for r in records] == [
        (Label.SPOOF, "test", "desk/test/spoof/5.png", "desk/test/spoof/5.png"),
        *[(Label.LIVE, "train", "desk/ann", "desk/train/live/ann/1.mp4")] * 2,
        (Label.SPOOF, "train", "desk/train/spoof/print/2.mp4", "desk/train/spoof/print/2.mp4"),
    ]
    for record in records:
        picture = cv2.imread(str(record.path))
        assert picture.min() >= 190  # lossless after the video
        assert (record.points >= 0).all()
        assert (record.points.max(0) < picture.shape[1::-1]).all()
    assert [
        (row["clip"], row["frames"], row["reason"].split(": ")[-1]) for row in rows(out / "desk" / "skipped.csv")
    ] == [
        ("test/live/bob/3.mp4", "2", "no face found in 2 frames."),
        ("test/spoof/4.mp4", "0", "not a readable video (damaged, cut short, or not what its name says)."),
        ("train/spoof/print/2.mp4", "1", "no face found in 1 frames"),
    ]
    assert len(report.skipped) == 2


def test_a_rerun_looks_at_what_is_new_or_changed_only(folder, tmp_path, write_clip):
    out = tmp_path / "out"
    seen = []

    def counting():
        return lambda bgr: seen.append(1) or bright(bgr)

    def go():
        seen.clear()
        return prepare({"generic:desk": read_set("generic:desk", folder)}, out, plan(make=counting))["generic:desk"]

    first = go()
    before = (out / "manifest.csv").read_bytes()
    assert len(seen) > 0
    assert go() == first
    assert not seen
    assert (out / "manifest.csv").read_bytes() == before
    time.sleep(0.01)
    write_clip(folder / "test/spoof/4.mp4", [np.full((96, 128, 3), 200, np.uint8)] * 4)  # copied again, whole this time
    assert go().attack == 3
    assert len(seen) == 2
    removed = out / "desk" / "train/live/ann/1.mp4.00001.png"
    removed.unlink()
    go()
    assert removed.is_file()


def test_another_set_is_added(folder, tmp_path):
    out = tmp_path / "out"
    prepare({"generic:desk": read_set("generic:desk", folder)}, out, plan())
    prepare({"generic:hall": read_set("generic:hall", folder)}, out, plan())
    assert {record.domain for record in read_manifest(out / "manifest.csv")} == {"desk", "hall"}
    assert len({record.video for record in read_manifest(out / "manifest.csv")}) == 6


def test_other_options_and_other_folders_are_refused(folder, tmp_path):
    out = tmp_path / "out"
    reading = {"generic:desk": read_set("generic:desk", folder)}
    prepare(reading, out, plan())
    with pytest.raises(DtdaError, match=r"made with --frames 2 and bright, not --frames 3 and bright; use the same"):
        prepare(reading, out, plan(3))
    with pytest.raises(DtdaError, match="not --frames 2 and other"):
        prepare(reading, out, plan(name="other"))
    with pytest.raises(DtdaError, match="is not empty and holds no prepared data"):
        prepare(reading, folder, plan())


def test_a_stamp_of_another_version_or_none_at_all_is_told(folder, tmp_path):
    out = tmp_path / "out"
    reading = {"generic:desk": read_set("generic:desk", folder)}
    prepare(reading, out, plan())
    for text, words in (('{"format": 0}', "another version"), ("x", "is damaged"), ("[1]", "is damaged")):
        (out / "prepare.json").write_text(text)
        with pytest.raises(DtdaError, match=words):
            prepare(reading, out, plan())


def test_a_set_without_a_face_is_refused_with_the_first_reason(folder, tmp_path):
    with pytest.raises(
        DtdaError, match=r"none of the 5 clips gave a face; the first: .*3\.mp4: no face found in 2 frames"
    ):
        prepare({"generic:desk": read_set("generic:desk", folder)}, tmp_path / "out", plan(make=lambda: lambda bgr: []))


def test_a_run_killed_in_the_middle_loses_that_clip_only(folder, tmp_path):
    out = tmp_path / "out"
    reading = {"generic:desk": read_set("generic:desk", folder)}
    left = [10]

    def dying():
        def detect(bgr):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return bright(bgr)

        return detect

    with pytest.raises(KeyboardInterrupt):
        prepare(reading, out, plan(make=dying))
    journal = out / "desk" / ".journal"
    done = len(journal.read_text().splitlines())
    assert 0 < done < 5
    with journal.open("a") as file:
        file.write('["train/live/ann/1.mp4", [1')  # a line the kill cut short
    prepare(reading, out, plan())
    prepare(reading, tmp_path / "whole", plan())
    assert (out / "manifest.csv").read_bytes() == (tmp_path / "whole" / "manifest.csv").read_bytes()
    for record in read_manifest(tmp_path / "whole" / "manifest.csv"):
        again = out / record.path.relative_to(tmp_path / "whole")
        assert again.read_bytes() == record.path.read_bytes()
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    journal.write_text("x\n")
    with pytest.raises(DtdaError, match="is damaged; remove"):
        prepare(reading, out, plan())


def test_a_name_that_is_not_utf_8_is_spelt_out(tmp_path, write_clip):
    root = tmp_path / "set"
    (root / "live").mkdir(parents=True)
    odd = root / "live" / os.fsdecode(b"caf\xe9.png")
    picture = cv2.imencode(".png", np.full((96, 128, 3), 200, np.uint8))[1].tobytes()
    try:
        odd.write_bytes(picture)
    except OSError:
        return  # the file system takes UTF-8 only: such a name cannot come up
    (root / "live" / "café, 2.png").write_bytes(picture)
    prepare({"generic:desk": read_set("generic:desk", root)}, tmp_path / "out", plan())
    records = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {record.video for record in records} == {"desk/live/caf\\xe9.png", "desk/live/café, 2.png"}
    assert all(record.path.is_file() for record in records)


def test_a_csv_keeps_its_videos_and_writes_nothing_beside_the_set(tmp_path):
    (tmp_path / "a/b/pics").mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"a/b/pics/{number}.png"), np.full((96, 128, 3), 200, np.uint8))
    table = tmp_path / "csv/own.csv"
    table.parent.mkdir()
    table.write_text(
        "path,label,domain,subject,split,video\n"
        "../a/b/pics/0.png,live,x,s,train,clip7\n../a/b/pics/1.png,live,x,s,train,clip7\n../a/b/pics/2.png,live,x,s,train,\n"
    )
    before = {path for path in tmp_path.rglob("*")}
    out = tmp_path / "deep/out"
    prepare({"generic:desk": read_set("generic:desk", table)}, out, plan())
    assert all(path.is_relative_to(tmp_path / "deep") for path in set(tmp_path.rglob("*")) - before)
    records = read_manifest(out / "manifest.csv")
    assert all(record.path.resolve().is_relative_to(out / "desk") for record in records)
    first, second, third = (record.video for record in records)
    assert first == second == "desk/clip7"
    assert third.startswith("desk/")
    assert third.endswith("/2.png")


def test_a_missing_library_is_told_first_and_not_held_against_the_clips(folder, tmp_path, monkeypatch):
    import h5py

    with h5py.File(folder / "test/live/6.h5", "w") as file:
        file["color"] = np.full((2, 96, 128, 3), 200, np.uint8)
    out = tmp_path / "out"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "h5py", None)
        with pytest.raises(DtdaError, match=r"6\.h5: HDF5 files need h5py.*pip install h5py"):
            prepare({"generic:desk": read_set("generic:desk", folder)}, out, plan())
        assert not out.exists()
    assert prepare({"generic:desk": read_set("generic:desk", folder)}, out, plan())["generic:desk"].live == 2


# which face


def one_clip(picture, path, **more):
    cv2.imwrite(str(path), picture)
    return Clip(path, Label.LIVE, "", "d", "d/s", "train", path.name, **more)


def test_the_largest_face_is_taken_or_the_annotated_one(tmp_path):
    small, large = face_at((10, 10, 40, 40), TEMPLATE * 0.3 + 10), face_at((60, 10, 140, 90), TEMPLATE * 0.7 + (60, 10))
    picture = np.full((120, 200, 3), 90, np.uint8)
    clip = one_clip(picture, tmp_path / "a.png")
    assert module.main_face([small, large], clip, 0, picture) is large
    annotated = one_clip(
        picture, tmp_path / "b.png", locate=lambda path, index, shape: np.array([8, 8, 38, 44], np.float32)
    )
    assert module.main_face([small, large], annotated, 0, picture) is small
    lying = face_at((0, 0, 200, 120), (TEMPLATE @ np.array([[0, 1], [-1, 0]])) + 112)
    assert module.main_face([small, lying], clip, 0, picture) is small


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_clips_lying_on_their_side_are_set_upright(tmp_path, portrait, turned, write_clip):
    """As in MSU-MFSD and ROSE-Youtu; the real detector also finds lying faces, with poor points."""
    frame = np.ascontiguousarray(np.rot90(portrait, turned // 90))
    path = write_clip(tmp_path / "a.mp4", [frame] * 3)
    clip = Clip(path, Label.LIVE, "", "d", "d/s", "train", path.name)
    from dtda.app.commands.prepare import detect_with

    reports = prepare(
        {"d": Reading((clip,))}, tmp_path / "out", plan(2, "CenterFace", partial(detect_with, "centerface"))
    )
    for record in read_manifest(tmp_path / "out" / "manifest.csv"):
        picture = cv2.imread(str(record.path))
        left, right, _, mouth, _ = record.points
        assert mouth[1] > max(left[1], right[1])
        chip = crop(picture, record.points, CropRule(64, 2.0)).astype(float)
        upright = prepare_chip(portrait)
        assert np.corrcoef(chip.ravel(), upright.ravel())[0, 1] > 0.9
    told = any("lay on their side or head" in note for note in reports["d"].notes)
    assert told == bool(turned)


def prepare_chip(bgr):
    from dtda.app.commands.prepare import detect_with

    return crop(bgr, detect_with("centerface")(bgr)[0].points, CropRule(64, 2.0)).astype(float)


# the command


@pytest.fixture
def data(tmp_path, portrait, write_clip):
    root = tmp_path / "data"
    for name in ("train/live/1.mp4", "train/spoof/2.mp4", "dev/live/3.mp4", "dev/spoof/4.mp4", "test/live/5.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(root / name, [portrait] * 3)
    (root / "test/spoof").mkdir(parents=True)
    (root / "test/spoof/6.mp4").write_bytes(b"broken")
    return root


def test_the_command_prepares_and_cuts_chips(data, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["prepare", f"generic:desk={data}", "--out", str(out), "--frames", "2", "--workers", "1",
             "--detector", "centerface"]  # fmt: skip
    assert cli.main(words) == 0
    told = capsys.readouterr()
    assert "generic:desk: 10 pictures of 3 live and 2 attack clips, 1 clips skipped" in told.out
    assert f"10 chips in {out / 'chips'}" in told.out
    assert "6.mp4: not a readable video" in told.err
    from dtda.core.training.config import DataPart

    defaults = DataPart(manifests=[out / "manifest.csv"])
    images = next((out / "chips").glob("*/images.npy"))
    shape = (10, defaults.crops, defaults.size, defaults.size, 3)
    assert np.load(images, mmap_mode="r").shape == shape
    records = read_manifest(out / "manifest.csv")
    expected = crop(cv2.imread(str(records[0].path)), records[0].points, CropRule(defaults.size, defaults.margin))
    np.testing.assert_array_equal(np.load(images, mmap_mode="r")[0, 0], expected)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["oulu-npu"], "oulu-npu: write SET=DIR"),
        (["generic:a=x", "generic:a=y"], "generic:a is named twice"),
        (["mars=x"], "mars: not a known data set"),
        (["generic:../a=x"], "the name of a set is letters"),
        (["generic:chips=x"], "and not chips"),
        (["nuaa=nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_words_are_one_sentence(words, sentence, tmp_path, capsys):
    assert cli.main(["prepare", *words, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_and_leaves_no_process(data, tmp_path):
    for number in range(10, 40):
        (data / f"train/live/{number}.mp4").write_bytes((data / "train/live/1.mp4").read_bytes())
    out = tmp_path / "out"
    words = [sys.executable, "-m", "dtda.app.cli", "prepare", f"generic:desk={data}", "--out", str(out), "--workers", "2",
             "--detector", "centerface", "--no-chips"]  # fmt: skip
    journal = out / "desk" / ".journal"
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    process.stdout.read()  # ends when the last of its processes has closed it
    kept = journal.read_bytes().count(b"\n")
    assert kept < 36
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of 33 live and 2 attack clips, 1 clips skipped" in done.stdout
    lines = journal.read_bytes().splitlines()
    assert len(lines) <= 36 + 1
    assert len({json.loads(line)[0] for line in lines}) == 36


@pytest.mark.slow
def test_an_interrupted_command_is_status_130(data, tmp_path):
    for number in range(10, 40):
        (data / f"train/live/{number}.mp4").write_bytes((data / "train/live/1.mp4").read_bytes())
    out = tmp_path / "out"
    words = [sys.executable, "-m", "dtda.app.cli", "prepare", f"generic:desk={data}", "--out", str(out), "--workers", "2",
             "--detector", "centerface", "--no-chips"]  # fmt: skip
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a run in the background may ignore it
    )  # fmt: skip
    journal = out / "desk" / ".journal"
    while not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
