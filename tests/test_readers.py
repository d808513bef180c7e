"""Every reader on a miniature tree in the official layout, made here; and whole copies where one is named.

DTDA_DATA="oulu-npu=/data/OULU;nuaa=/data/NUAA" checks the totals of real copies.
"""

import json
import os
from collections import Counter
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from dtda.core.data.manifest import Record
from dtda.core.data.media import read_frames
from dtda.core.data.protocols import read_protocols, resolve
from dtda.core.data.readers import celeba_spoof, siw
from dtda.core.data.readers.clip import ATTACK_TYPES
from dtda.core.data.readers.sets import SETS, read_set
from dtda.core.errors import DtdaError
from dtda.core.types import Label

LIVE, SPOOF = Label.LIVE, Label.SPOOF


@pytest.fixture(scope="module")
def media(tmp_path_factory, write_clip):
    """Contents of a tiny video and a tiny picture."""
    folder = tmp_path_factory.mktemp("media")
    frames = [np.full((48, 64, 3), 60 * number, np.uint8) for number in range(3)]
    video = write_clip(folder / "a.mp4", frames).read_bytes()
    return {"video": video, "picture": cv2.imencode(".png", frames[1])[1].tobytes()}


@pytest.fixture
def tree(tmp_path, media):
    """tree(*paths) fills a folder with videos and pictures by suffix and returns it."""

    def make(*paths):
        for name in paths:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(media["picture" if path.suffix in (".jpg", ".png") else "video"])
        return tmp_path / "set"

    return make


def write(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def by_video(reading):
    return {clip.video: clip for clip in reading.clips}


def records(reading):
    return [
        Record(c.path, c.label, c.attack_type, c.domain, c.subject, c.split, None, c.video, c.tags)
        for c in reading.clips
    ]


# OULU-NPU


def oulu_names(users=(1, 21, 36)):
    parts = ["Train_files", "Dev_files", "Test_files"]
    return [
        f"{part}/{phone}_{session}_{user:02}_{file}.avi"
        for part, user in zip(parts, users, strict=True)
        for phone in range(1, 7)
        for session in range(1, 4)
        for file in range(1, 6)
    ]


def test_oulu(tree):
    reading = read_set("oulu-npu", tree(*oulu_names()))
    clips = by_video(reading)
    assert len(clips) == 3 * 90
    live, printed, shown = (clips[f"Train_files/2_3_01_{file}.avi"] for file in (1, 3, 5))
    assert [(c.label, c.attack_type) for c in (live, printed, shown)] == [
        (LIVE, ""),
        (SPOOF, "print"),
        (SPOOF, "display"),
    ]
    assert shown.tags == {"phone": "2", "session": "3", "file": "5", "instrument": "display-2"}
    assert (live.split, live.subject, live.domain) == ("train", "oulu-npu/01", "oulu-npu")
    assert clips["Test_files/1_1_36_1.avi"].split == "test"
    assert len(list(read_frames(live.path, 9))) == 3
    assert "OULU-NPU: 18 live train clips of 360 expected." in reading.notes


def official(root, name, number, fold, part):
    """Lines of an official list: +1 live, -1 print, -2 display."""
    chosen = records(read_set("oulu-npu", root))
    (ours,) = resolve(f"oulu-{number}", chosen, fold)
    stems = [chosen[i].path.stem for i in getattr(ours, part)]
    sign = {"1": "+1", "2": "-1", "3": "-1", "4": "-2", "5": "-2"}
    write(root, name, "".join(f"{sign[stem[-1]]},{stem}\n" for stem in stems))


def test_oulu_lists_are_compared(tree):
    root = tree(*oulu_names())
    for part in ("train", "dev", "test"):
        official(root, f"Protocols/Protocol_1/{part.capitalize()}.txt", 1, "oulu-1", part)
        official(
            root, f"Protocols/Protocol_4/{part.capitalize()}_2.txt", 4, "phone-5", part
        )  # their numbering is theirs
    about_lists = [note for note in read_set("oulu-npu", root).notes if "Protocol_" in note]
    assert about_lists == []
    listed = root / "Protocols/Protocol_4/Test_2.txt"
    listed.write_text(listed.read_text().replace("-2,5_3_36_5\n", ""))
    listed = root / "Protocols/Protocol_1/Dev.txt"
    listed.write_text(listed.read_text().replace("-1,1_1_21_2\n", "+1,1_1_21_2\n"))
    about_lists = [note for note in read_set("oulu-npu", root).notes if "Protocol_" in note]
    assert about_lists == [
        "OULU-NPU: Protocols/Protocol_1/Dev.txt calls 1_1_21_2 by the other label than its name does.",
        "OULU-NPU: Protocols/Protocol_4/Test_2.txt differs from protocol oulu-4 in 1 videos, such as 5_3_36_5; "
        "the protocol is used.",
    ]
    (root / "Test_files/1_3_36_4.avi").unlink()
    notes = read_set("oulu-npu", root).notes
    assert "OULU-NPU: the protocol lists name 1 videos that are not here, such as 1_3_36_4." in notes


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe\n"])
def test_oulu_lists_that_are_no_lists_are_told(tree, content):
    root = tree(*oulu_names())
    for part in ("Train", "Dev", "Test"):
        write(root, f"Protocols/Protocol_3/{part}_1.txt", "")
        (root / f"Protocols/Protocol_3/{part}_1.txt").write_bytes(content)
    assert any("Protocol_3" in note for note in read_set("oulu-npu", root).notes)


def test_oulu_partial_copies_and_strangers_are_told(tree):
    root = tree(*oulu_names(), "Train_files/1_1_21_1.avi", "Test_files/readme_copy.avi", "Test_files/._1_1_36_1.avi")
    notes = "\n".join(read_set("oulu-npu", root).notes)
    assert "left out Train_files/1_1_21_1.avi, whose user 21 is not of the train part" in notes
    assert "left out 1 files not named as its videos are, such as readme_copy.avi" in notes


# the others of OCIM


def test_casia(tree):
    names = [*map(str, range(1, 9)), *(f"HR_{n}" for n in range(1, 5))]
    root = tree(*(f"{part}_release/{who}/{n}.avi" for part in ("train", "test") for who in (1, 2) for n in names))
    clips = by_video(read_set("casia-fasd", root))
    kinds = {name: clips[f"train_release/1/{name}.avi"] for name in names}
    assert [name for name, clip in kinds.items() if clip.label is LIVE] == ["1", "2", "HR_1"]
    assert {name: clip.attack_type for name, clip in kinds.items() if clip.label is SPOOF} == {
        "3": "print", "4": "print", "HR_2": "print", "5": "cut", "6": "cut", "HR_3": "cut",
        "7": "display", "8": "display", "HR_4": "display",
    }  # fmt: skip
    people = [{clip.subject for clip in clips.values() if clip.split == split} for split in ("train", "test")]
    assert people == [{"casia-fasd/train-1", "casia-fasd/train-2"}, {"casia-fasd/test-1", "casia-fasd/test-2"}]


def replay_names(people=(("train", 1), ("devel", 2), ("test", 9))):
    for part, client in people:
        for light in ("adverse", "controlled"):
            for take in (1, 2):
                yield f"{part}/real/client{client:03}_session01_webcam_authenticate_{light}_{take}.mov"
            for support in ("fixed", "hand"):
                for kind in ("highdef_{}_highdef_photo", "highdef_{}_highdef_video", "mobile_{}_mobile_photo",
                             "mobile_{}_mobile_video", "print_{}_highdef_photo"):  # fmt: skip
                    stem = kind.format(f"client{client:03}_session01")
                    yield f"{part}/attack/{support}/attack_{stem}_{light}.mov"
    yield "enroll/train/client001_session02_webcam_enroll_1.mov"


def test_replay_attack(tree):
    reading = read_set("replay-attack", tree(*replay_names()))
    clips = by_video(reading)
    assert Counter((c.split, c.label) for c in clips.values()) == {
        (split, label): count for split in ("train", "dev", "test") for label, count in ((LIVE, 4), (SPOOF, 20))
    }
    assert not any(name.startswith("enroll") for name in clips)
    stem = "attack_print_client009_session01_highdef_photo_adverse.mov"
    fixed, hand = clips[f"test/attack/fixed/{stem}"], clips[f"test/attack/hand/{stem}"]  # the same name in both
    assert (fixed.tags["support"], hand.tags["support"]) == ("fixed", "hand")
    assert (fixed.attack_type, fixed.tags["instrument"], fixed.subject) == ("print", "print-photo", "replay-attack/009")
    assert Counter(c.tags["instrument"] for c in clips.values() if c.attack_type == "display") == {
        name: 12 for name in ("highdef-photo", "highdef-video", "mobile-photo", "mobile-video")
    }
    assert "Replay-Attack: 4 live test clips of 80 expected." in reading.notes


def msu_names(people=(2, 3, 14)):
    for who in people:
        for camera, suffix in (("android", "mp4"), ("laptop", "mov")):
            yield f"scene01/real/real_client{who:03}_{camera}_SD_scene01.{suffix}"
            for kind in ("ipad_video", "iphone_video", "printed_photo"):
                yield f"scene01/attack/attack_client{who:03}_{camera}_SD_{kind}_scene01.{suffix}"


def test_msu(tree):
    root = tree(*msu_names(), *msu_names((55,)))
    write(root, "train_sub_list.txt", "02\n")
    write(root, "test_sub_list.txt", "03\r\n14\r\n")
    reading = read_set("msu-mfsd", root)
    assert Counter((c.split, c.label) for c in reading.clips) == {
        ("train", LIVE): 2, ("train", SPOOF): 6, ("test", LIVE): 4, ("test", SPOOF): 12}  # fmt: skip
    assert Counter((c.attack_type, c.tags["instrument"]) for c in reading.clips if c.label is SPOOF) == {
        ("display", "ipad-video"): 6, ("display", "iphone-video"): 6, ("print", "printed-photo"): 6}  # fmt: skip
    assert "MSU-MFSD: left out people 55, who are in neither sub-list." in reading.notes
    write(root, "test_sub_list.txt", "03\n02\n")
    with pytest.raises(DtdaError, match="person 02 is in both sub-lists"):
        read_set("msu-mfsd", root)
    write(root, "test_sub_list.txt", "three\n")
    with pytest.raises(DtdaError, match="not a list of numbers"):
        read_set("msu-mfsd", root)


# the larger sets


def celeba(root, split, table):
    write(root, f"metas/intra_test/{split}_label.json", json.dumps(table))


def test_celeba_spoof(tree):
    names = [
        "Data/train/7/live/1.jpg",
        "Data/train/7/spoof/2.png",
        "Data/train/7/spoof/3.png",
        "Data/test/8/live/4.jpg",
    ]
    root = tree(*names)
    rest = [0] * 40
    train = {names[0]: [*rest, 0, 0, 0, 0], names[1]: [*rest, 8, 2, 1, 1], names[2]: [*rest, 3, 1, 2, 1]}
    celeba(root, "train", train)
    celeba(root, "test", {names[3]: [*rest, 0, 0, 0, 0]})
    reading = read_set("celeba-spoof", root)
    clips = by_video(reading)
    assert [clips[name].label for name in names] == [LIVE, SPOOF, SPOOF, LIVE]  # 0 is live in this set
    assert clips[names[1]].tags == {"instrument": "pad", "light": "strong", "environment": "indoor"}
    assert [clips[name].attack_type for name in names] == ["", "display", "print", ""]
    assert clips[names[0]].subject == "celeba-spoof/7"
    (frame,) = read_frames(clips[names[0]].path, 5)
    assert frame[1].shape == (48, 64, 3)

    write(root, "Data/train/7/live/1_BB.txt", "56 56 112 112 0.99\n")
    box = celeba_spoof.annotated_box(clips[names[0]].path, 0, (448, 896))
    np.testing.assert_allclose(box, [224, 112, 672, 336])
    assert celeba_spoof.annotated_box(clips[names[1]].path, 0, (448, 896)) is None

    celeba(root, "test", {names[3]: [*rest, 1, 1, 1, 1]})
    assert any("1 labels differ from the folder" in note for note in read_set("celeba-spoof", root).notes)
    celeba(root, "test", {names[3]: [1]})
    with pytest.raises(DtdaError, match="not a table of 44 numbers"):
        read_set("celeba-spoof", root)


def test_siw(tree):
    root = tree("Train/live/003/003-1-1-1-1.mov", "Train/spoof/003/003-1-2-1-2.mov", "Test/live/090/090_2_1_2_1.mp4",
                "Test/spoof/090/090_2_3_4_1.mp4")  # fmt: skip
    clips = by_video(read_set("siw", root))
    assert [(c.label, c.attack_type, c.split) for c in clips.values()] == [
        (LIVE, "", "train"), (SPOOF, "print", "train"), (LIVE, "", "test"), (SPOOF, "display", "test")]  # fmt: skip
    shown = clips["Test/spoof/090/090_2_3_4_1.mp4"]
    assert (shown.subject, shown.tags["instrument"], shown.tags["sensor"]) == ("siw/090", "galaxy-s8", "2")
    write(root, "Test/spoof/090/090_2_3_4_1.face", "0 0 0 0\n10 20 30 50\n")
    assert siw.annotated_box(shown.path, 0, (48, 64)) is None
    np.testing.assert_array_equal(siw.annotated_box(shown.path, 1, (48, 64)), [10, 20, 30, 50])
    assert siw.annotated_box(shown.path, 7, (48, 64)) is None


def test_rose_youtu(tree):
    root = tree("a/G_NT_5s_wg_E_2_1.mp4", "a/Ps_T_HW_g_E_12_2.mp4", "b/Vl_NT_IP_wg_E_13_3.mp4", "b/Mu_NT_ZTE_wg_E_23_4.mp4",
                "b/Xx_NT_ZTE_wg_E_23_4.mp4", "b/G_NT_HS_wg_E_40_4.mp4")  # fmt: skip
    reading = read_set("rose-youtu", root)
    assert [(c.label, c.attack_type, c.split, c.subject) for c in reading.clips] == [
        (LIVE, "", "train", "rose-youtu/02"),
        (SPOOF, "print", "train", "rose-youtu/12"),
        (SPOOF, "mask", "test", "rose-youtu/23"),
        (SPOOF, "display", "test", "rose-youtu/13"),
    ]
    assert sum("left out" in note for note in reading.notes) == 2


def test_wmca(tmp_path):
    root = tmp_path / "face-station" / "31.01.18"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (12, 3, 20, 30), np.uint8)  # channels first, RGB
    for name in ("035_01_000_0_00", "514_01_035_1_05", "530_03_001_2_18", "200_01_000_3_01", "201_01_000_4_02"):
        with h5py.File(root / f"{name}.hdf5", "w") as file:
            for number, frame in enumerate(frames):
                file[f"Frame_{number}/array"] = frame
    write(tmp_path, "PROTOCOL-grandtest.csv", "path,type,part\nface-station/31.01.18/035_01_000_0_00,0,train\n"
          "face-station/31.01.18/514_01_035_1_05.hdf5,1,dev\n200_01_000_3_01,3,eval\n")  # fmt: skip
    reading = read_set("wmca", tmp_path)
    clips = {clip.path.stem: clip for clip in reading.clips}
    assert [(c.label, c.attack_type, c.split) for c in (clips[k] for k in sorted(clips))] == [
        (LIVE, "", "train"), (SPOOF, "print", "test"), (SPOOF, "display", "test"), (SPOOF, "disguise", "dev"),
        (SPOOF, "mask", "test"),
    ]  # fmt: skip
    assert clips["514_01_035_1_05"].subject == "wmca/035"  # who wears the glasses
    assert any("2 recordings are in no protocol CSV" in note for note in reading.notes)

    found = list(read_frames(clips["035_01_000_0_00"].path, 3))
    assert [index for index, _ in found] == [2, 6, 10]  # Frame_10 comes after Frame_9
    np.testing.assert_array_equal(found[2][1], frames[10].transpose(1, 2, 0)[:, :, ::-1])

    with h5py.File(root / "raw.hdf5", "w") as file:
        file["stream_0/recording_1/color"] = frames
    np.testing.assert_array_equal(next(read_frames(root / "raw.hdf5", 1))[1], frames[6].transpose(1, 2, 0)[:, :, ::-1])
    with h5py.File(root / "depth.hdf5", "w") as file:
        file["depth"] = frames
    with pytest.raises(DtdaError, match="holds no colour frames"):
        list(read_frames(root / "depth.hdf5", 1))
    (root / "broken.hdf5").write_text("no HDF5")
    with pytest.raises(DtdaError, match="not a readable HDF5 file"):
        list(read_frames(root / "broken.hdf5", 1))


def test_hdf5_without_its_library_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "a.hdf5").write_bytes(b"")
    with pytest.raises(DtdaError, match="pip install h5py"):
        list(read_frames(tmp_path / "a.hdf5", 1))


def test_nuaa(tree):
    pictures = ["ClientRaw/0001/0001_00_00_01_0.jpg", "ClientRaw/0001/0001_00_00_03_5.jpg",
                "ImposterRaw/0001/0001_00_00_01_1.jpg", "ImposterRaw/0016/0016_00_00_03_2.jpg"]  # fmt: skip
    root = tree(*(f"raw/{name}" for name in pictures))
    lists = ("client_train", "client_test", "imposter_train", "imposter_test")
    for name, picture in zip(lists, pictures, strict=True):
        write(root, f"raw/{name}_raw.txt", picture.partition("/")[2].replace("/", "\\") + "\r\n")
    reading = read_set("nuaa", root)
    assert [(c.label, c.split, c.subject) for c in reading.clips] == [
        (LIVE, "train", "nuaa/0001"), (LIVE, "test", "nuaa/0001"),
        (SPOOF, "train", "nuaa/0001"), (SPOOF, "test", "nuaa/0016"),
    ]  # fmt: skip
    assert all(clip.path.is_file() for clip in reading.clips)
    dev = [Record(Path("d.png"), label, "", "nuaa", "dev-person", "dev") for label in (LIVE, SPOOF)]
    with pytest.raises(DtdaError, match="nuaa/0001 is in its train and its test part"):
        resolve("splits", [*records(reading), *dev])


def test_nuaa_shares_people_and_says_so():
    chosen = [
        Record(Path(f"{number}.png"), label, "", "nuaa", f"nuaa/{number:04}", split)
        for number in range(8)
        for split in ("train", "test")
        for label in (LIVE, SPOOF)
    ]
    (fold,) = resolve("nuaa", chosen)
    people = [{chosen[i].subject for i in part} for part in (fold.train, fold.dev, fold.test)]
    assert not people[0] & people[1]  # the threshold is still set on people never trained on
    assert people[0] < people[2]


def test_lcc_fasd_flat_and_in_folders(tree):
    common = ["LCC_FASD_training/real/a_id1_s0_10.png", "LCC_FASD_training/spoof/b_id2_s0_11.png",
              "LCC_FASD_development/real/c.png", "LCC_FASD_development/spoof/d.png"]  # fmt: skip
    root = tree(
        *common, "LCC_FASD_evaluation/real_1.png", "LCC_FASD_evaluation/spoof_2.png", "LCC_FASD_evaluation/x.png"
    )
    reading = read_set("lcc-fasd", root)
    assert [(c.label, c.split, c.subject) for c in reading.clips] == [
        (LIVE, "train", "lcc-fasd/id1"), (SPOOF, "train", "lcc-fasd/id2"), (LIVE, "dev", "lcc-fasd/dev-c"),
        (SPOOF, "dev", "lcc-fasd/dev-d"), (LIVE, "test", "lcc-fasd/test-real_1"), (SPOOF, "test", "lcc-fasd/test-spoof_2"),
    ]  # fmt: skip
    assert any("neither real nor spoof, such as x.png" in note for note in reading.notes)
    tree("LCC_FASD_evaluation/spoof/real_looking.png")
    assert by_video(read_set("lcc-fasd", root))["LCC_FASD_evaluation/spoof/real_looking.png"].label is SPOOF


# whole sets: names only, the contents do not matter to a reader


@pytest.fixture(scope="module")
def ocim(tmp_path_factory):
    """Whole trees of the four sets, of empty files."""
    root = tmp_path_factory.mktemp("ocim")
    names = {
        "oulu-npu": [
            name
            for users in zip(range(1, 21), [*range(21, 36), *[35] * 5], range(36, 56), strict=True)
            for name in oulu_names(users)
        ],
        "casia-fasd": [
            f"{part}_release/{who}/{video}.avi"
            for part, people in (("train", 20), ("test", 30))
            for who in range(1, people + 1)
            for video in [*range(1, 9), *(f"HR_{n}" for n in range(1, 5))]
        ],
        "replay-attack": replay_names(
            (part, n)
            for part, people in (("train", range(15)), ("devel", range(20, 35)), ("test", range(40, 60)))
            for n in people
        ),
        "msu-mfsd": msu_names(range(1, 36)),
    }
    for name, paths in names.items():
        for path in paths:
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).touch()
    write(root, "msu-mfsd/train_sub_list.txt", "".join(f"{n:02}\n" for n in range(1, 16)))
    write(root, "msu-mfsd/test_sub_list.txt", "".join(f"{n:02}\n" for n in range(16, 36)))
    return {name: read_set(name, root / name) for name in names}


def test_whole_sets_have_their_totals(ocim):
    """As used in OCIM, training and test parts: live and attack clips."""
    for name, totals in {"casia-fasd": (150, 450), "msu-mfsd": (70, 210), "oulu-npu": (720, 2880),
                         "replay-attack": (140, 700)}.items():  # fmt: skip
        assert not ocim[name].notes, name
        used = [clip.label is LIVE for clip in ocim[name].clips if clip.split != "dev"]
        assert (sum(used), len(used) - sum(used)) == totals, name
        assert {clip.attack_type for clip in ocim[name].clips} <= {"", *ATTACK_TYPES}
    everyone = [{clip.subject for clip in reading.clips} for reading in ocim.values()]
    assert [len(people) for people in everyone] == [55, 50, 50, 35]
    assert len(set.union(*everyone)) == 190


def test_oulu_protocols_have_the_counts_of_the_paper(ocim):
    """Table 2 of Boulkenafet et al. 2017: live and attack videos of training, development and test."""
    chosen = records(ocim["oulu-npu"])
    table = {
        "oulu-1": ((240, 960), (180, 720), (120, 480)),
        "oulu-2": ((360, 720), (270, 540), (360, 720)),
        "oulu-3": ((300, 1200), (225, 900), (60, 240)),
        "oulu-4": ((200, 400), (150, 300), (20, 40)),
    }
    for name, counts in table.items():
        for fold in resolve(name, chosen):
            for part, wanted in zip((fold.train, fold.dev, fold.test), counts, strict=True):
                live = sum(chosen[i].label is LIVE for i in part)
                assert (live, len(part) - live) == wanted, (name, fold.name)
            if name in ("oulu-3", "oulu-4"):
                train, test = ({chosen[i].tags["phone"] for i in part} for part in (fold.train, fold.test))
                assert test == {fold.name.removeprefix("phone-")}
                assert train == set("123456") - test
        assert len(resolve(name, chosen)) == (6 if name in ("oulu-3", "oulu-4") else 1)


LETTERS = {"O": "oulu-npu", "C": "casia-fasd", "I": "replay-attack", "M": "msu-mfsd"}


@pytest.mark.parametrize(
    ("name", "folds"), [("ocim", ["OCI-M", "OMI-C", "OCM-I", "ICM-O"]), ("limited-source", ["MI-C", "MI-O"])]
)
def test_leaving_a_set_out_never_shows_it_before_the_test(ocim, name, folds):
    chosen = [record for reading in ocim.values() for record in records(reading)]
    found = resolve(name, chosen)
    assert [fold.name for fold in found] == folds
    for fold in found:
        sources, target = fold.name.split("-")
        assert set(fold.sources) == {LETTERS[letter] for letter in sources}
        assert fold.targets == (LETTERS[target],)
        train, dev, test = ([chosen[i] for i in part] for part in (fold.train, fold.dev, fold.test))
        assert len(test) == sum(
            r.domain == LETTERS[target] and r.split != "dev" for r in chosen
        )  # all of train and test
        assert {r.domain for r in dev} == set(fold.sources)  # every source has a say in the threshold
        assert not {r.subject for r in dev} & {r.subject for r in train}
        for letter in sources:
            used, held = ({r.subject for r in part if r.domain == LETTERS[letter]} for part in (train, dev))
            if letter in "OI":  # an official dev part, nothing carved
                assert {r.split for r in dev if r.domain == LETTERS[letter]} == {"dev"}
                assert len(used) == {"O": 40, "I": 35}[letter]
            else:
                assert (len(used), len(held)) == {"C": (41, 9), "M": (29, 6)}[letter]


def test_leaving_any_set_out_is_ocim_for_these_four(ocim):
    chosen = [record for reading in ocim.values() for record in records(reading)]
    found = {fold.targets: fold for fold in resolve("loo", chosen)}
    for fold in resolve("ocim", chosen):
        other = found[fold.targets]
        assert [set(part) for part in (other.train, other.dev, other.test)] == [
            set(part) for part in (fold.train, fold.dev, fold.test)
        ]


@pytest.mark.parametrize(
    ("name", "sets", "left_out"),
    [
        ("casia-cross-type", "casia-fasd", {"cut": {"cut-photo"}, "display": {"video"}, "print": {"warped-print"}}),
        (
            "replay-cross-type",
            "replay-attack",
            {
                "video": {"mobile-video", "highdef-video"},
                "digital-photo": {"mobile-photo", "highdef-photo"},
                "printed-photo": {"print-photo"},
            },
        ),
        (
            "msu-cross-type",
            "msu-mfsd",
            {name: {name} for name in ("ipad-video", "iphone-video", "printed-photo")},
        ),
    ],
)
def test_the_attack_type_left_out_is_seen_in_the_test_only(ocim, name, sets, left_out):
    chosen = records(ocim[sets])
    every = {r.tags["instrument"] for r in chosen if r.label is SPOOF}
    found = resolve(name, chosen)
    assert {fold.name for fold in found} == set(left_out)
    for fold in found:
        instruments = [
            {chosen[i].tags["instrument"] for i in part if chosen[i].label is SPOOF}
            for part in (fold.train, fold.dev, fold.test)
        ]
        assert instruments == [every - left_out[fold.name]] * 2 + [left_out[fold.name]]


def test_siw_protocols(tree):
    kinds = [(1, 1), (2, 1), *((3, n) for n in range(1, 5))]
    root = tree(*(f"{part}/{'live' if kind == 1 else 'spoof'}/{who:03}/{who:03}-1-{kind}-{medium}-1.mov"
                  for part, people in (("Train", range(1, 13)), ("Test", (90, 91)))
                  for who in people for kind, medium in kinds))  # fmt: skip
    chosen = records(read_set("siw", root))
    for fold in resolve("siw-2", chosen):
        trained, tested = ({chosen[i].tags.get("instrument") for i in part} - {""} for part in (fold.train, fold.test))
        assert tested == {fold.name}
        assert len(trained) == 3
        assert fold.name not in trained
    for fold in resolve("siw-3", chosen):
        trained, tested = ({chosen[i].attack_type for i in part} - {""} for part in (fold.train, fold.test))
        assert (trained, tested) == ({"print", "display"} - {fold.name}, {fold.name})


def test_intra_gives_people_of_sets_without_dev_to_it(ocim):
    chosen = records(ocim["casia-fasd"])
    with pytest.raises(DtdaError, match="its dev part needs live and spoof pictures"):
        resolve("splits", chosen)
    (fold,) = resolve("intra", chosen)
    assert len({chosen[i].subject for i in fold.dev}) == 4
    assert {chosen[i].split for i in (*fold.train, *fold.dev)} == {"train"}


# your own


def test_generic_folders(tree):
    root = tree("train/live/ann/1.mp4", "train/spoof/print/ann/2.mp4", "dev/real/3.jpg", "dev/attack/4.jpg",
                "test/bonafide/bob/5.mp4", "test/fake/tablet/6.mp4", "notes/7.mp4")  # fmt: skip
    clips = by_video(read_set("generic:desk", root))
    assert {name: (c.split, c.label, c.attack_type, c.subject, c.domain) for name, c in clips.items()} == {
        "train/live/ann/1.mp4": ("train", LIVE, "", "desk/ann", "desk"),
        "train/spoof/print/ann/2.mp4": ("train", SPOOF, "print", "desk/ann", "desk"),
        "dev/real/3.jpg": ("dev", LIVE, "", "desk/dev/real/3.jpg", "desk"),
        "dev/attack/4.jpg": ("dev", SPOOF, "attack", "desk/dev/attack/4.jpg", "desk"),
        "test/bonafide/bob/5.mp4": ("test", LIVE, "", "desk/bob", "desk"),
        "test/fake/tablet/6.mp4": ("test", SPOOF, "tablet", "desk/test/fake/tablet/6.mp4", "desk"),
    }


def test_generic_without_splits_is_test(tree):
    root = tree("live/1.mp4", "spoof/2.mp4")
    assert {clip.split for clip in read_set("generic:desk", root).clips} == {"test"}


def test_generic_csv(tree):
    root = tree("a/1.mp4", "a/2.mp4")
    write(root, "manifest.csv", "path,label,attack_type,domain,subject,split,lamp\na/1.mp4,live,,x,s1,train,on\n"
          "a/2.mp4,spoof,print,x,s1,train,\n")  # fmt: skip
    for where in (root, root / "manifest.csv"):
        live, spoof = read_set("generic:desk", where).clips
        assert (live.domain, live.subject, live.tags, live.video) == ("x", "s1", {"lamp": "on"}, "a/1.mp4")
        assert (spoof.label, spoof.attack_type) == (SPOOF, "print")
    write(root, "manifest.csv", "path,label,domain,subject,split\na/1.mp4,live,x,s,train\na/1.mp4,live,x,s,train\n")
    with pytest.raises(DtdaError, match=r"a/1\.mp4 is listed twice"):
        read_set("generic:desk", root)


def test_generic_csv_names_stay_below_the_set_whatever_the_rows_say(tree, tmp_path):
    root = tree("g/a/1.png", "h/a/1.png", "csv/b/2.png")
    rows = ["../g/a/1.png", "../h/a/1.png", f"{root}/h/a/1.png.x/../1.png", "b/../b/2.png", f"{root}/csv/b/3.png"]
    lines = "".join(f"{row},live,x,s,train\n" for row in (*rows[:2], *rows[3:]))
    write(root, "csv/manifest.csv", f"path,label,domain,subject,split\n{lines}")
    clips = read_set("generic:desk", root / "csv").clips
    names = [Path(clip.video) for clip in clips]
    assert [name.name for name in names] == ["1.png", "1.png", "2.png", "3.png"]
    assert names[2:] == [Path("b/2.png"), Path("b/3.png")]
    assert names[0] != names[1]  # the same name in two folders
    assert not any(name.is_absolute() or ".." in name.parts for name in names)
    assert all(clip.path.is_file() for clip in clips[:3])
    write(
        root,
        "csv/manifest.csv",
        f"path,label,domain,subject,split\n{rows[1]},live,x,s,train\n{rows[2]},live,x,s,train\n",
    )
    with pytest.raises(DtdaError, match=r"/1\.png is listed twice"):
        read_set("generic:desk", root / "csv")


# what is missing


@pytest.mark.parametrize(
    ("name", "paths", "words"),
    [
        ("oulu-npu", ["Train_files/1_1_01_1.avi"], "OULU-NPU: its part Dev_files is missing"),
        ("casia-fasd", ["train_release/1/1.avi"], "CASIA-FASD: its part test_release is missing"),
        ("replay-attack", ["train/real/x.mov", "train/attack/hand/x.mov"], "its part train/attack/fixed is missing"),
        ("msu-mfsd", ["scene01/real/x.mov"], "MSU-MFSD: the list train_sub_list.txt is missing"),
        ("celeba-spoof", ["Data/train/1/live/1.jpg"], "the list metas/intra_test/train_label.json is missing"),
        ("siw", ["Train/live/003/003-1-1-1-1.mov"], r"SiW: its part Test is missing .*looked for Test, test"),
        ("rose-youtu", ["x.mp4"], "no video or picture named as ROSE-Youtu names them"),
        ("wmca", ["x.mp4"], "no video or picture named as WMCA names them"),
        ("nuaa", ["raw/ClientRaw/0001/x.jpg"], "NUAA: the list client_train_raw.txt is missing"),
        ("lcc-fasd", ["LCC_FASD_training/real/a.png"], "its part LCC_FASD_development is missing"),
        ("generic:desk", ["x/1.mp4"], "neither a manifest.csv nor folders live and spoof"),
    ],
)
def test_missing_parts_are_named(tree, name, paths, words):
    with pytest.raises(DtdaError, match=words):
        read_set(name, tree(*paths))


def test_every_set_refuses_a_folder_that_is_not_there(tmp_path):
    for name in (*SETS, "generic:x"):
        with pytest.raises(DtdaError, match="no such folder"):
            read_set(name, tmp_path / "nowhere")
    with pytest.raises(DtdaError, match="oulu: not a known data set; name oulu-npu"):
        read_set("oulu", tmp_path)


def test_the_document_names_every_set_and_protocol():
    text = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text("utf-8")
    missing = [name for name in (*SETS, *read_protocols()) if f"`{name}`" not in text]
    assert not missing


@pytest.mark.skipif("DTDA_DATA" not in os.environ, reason="DTDA_DATA names no real copy")
def test_real_copies_are_whole():
    for word in os.environ["DTDA_DATA"].split(";"):
        name, _, folder = word.partition("=")
        reading = read_set(name, Path(folder))
        assert not [note for note in reading.notes if "expected" in note]
        assert all(clip.path.is_file() for clip in reading.clips)
