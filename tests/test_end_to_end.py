"""From a folder of photos to a score, and from the default student to verdicts, through the commands users type."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dtda.core.scores import read_scores
from dtda.core.simulate.sample import BOX, CLIPS, POINTS

pytestmark = pytest.mark.slow


def _dtda(*words, cwd, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "dtda.app.cli", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_default_student_judges_the_sample_clips(tmp_path):
    _dtda("sample", "--out", "clips", cwd=tmp_path)
    _dtda("score", "clips", "--out", "s.csv", cwd=tmp_path)
    rows = {row["path"].rsplit("/", 1)[-1].split(".")[0]: row for row in _rows(tmp_path / "s.csv")}
    assert set(rows) == set(CLIPS)
    assert {name: row["label"] for name, row in rows.items()} == {"live": "live", "print": "spoof", "screen": "spoof"}
    assert all(int(row["scored"]) > 20 for row in rows.values())


def _person(number, label, portrait):
    """Eight frames of one person: the portrait in a tint of its own, drifting, attacks with a fine chequer over it."""
    rng = np.random.default_rng(number)
    tinted = np.clip(portrait * rng.uniform(0.75, 1, 3), 0, 255)
    if label == "attack":
        y, x = np.mgrid[: portrait.shape[0], : portrait.shape[1]] // 3
        tinted = np.clip(tinted + (24 * ((x + y) % 2) - 12)[..., None], 0, 255)
    return [np.roll(tinted.astype(np.uint8), 2 * step, axis=1) for step in range(8)]


@pytest.fixture
def data_sets(tmp_path, portrait, write_clip):
    """Miniature MSU-MFSD, Replay-Attack and CASIA-FASD in their official layouts: the parts of a few people."""
    small = cv2.resize(portrait, (320, 240), interpolation=cv2.INTER_AREA)
    made = {}

    def clip(path, person, label):
        path.parent.mkdir(parents=True, exist_ok=True)
        if (person, label) not in made:  # one file for all takes of a person: encoding is most of the time
            made[person, label] = write_clip(path, _person(person, label, small))
        else:
            path.write_bytes(made[person, label].read_bytes())

    msu, replay, casia = (tmp_path / name for name in ("msu", "replay", "casia"))
    for who in range(1, 9):
        scene = msu / "scene01"
        clip(scene / f"real/real_client{who:03}_laptop_SD_scene01.mov", who, "live")
        clip(scene / f"attack/attack_client{who:03}_laptop_SD_ipad_video_scene01.mov", who, "attack")
    (msu / "train_sub_list.txt").write_text("01\n02\n03\n04\n")
    (msu / "test_sub_list.txt").write_text("05\n06\n07\n08\n")
    for part, people in (("train", (20, 21, 22)), ("devel", (23, 24)), ("test", (25, 26, 27))):
        for who in people:
            real = replay / part / "real"
            clip(real / f"client{who:03}_session01_webcam_authenticate_adverse_1.mov", who, "live")
            name = f"attack_print_client{who:03}_session01_highdef_photo_adverse.mov"
            clip(replay / part / "attack/fixed" / name, who, "attack")
            clip(replay / part / "attack/hand" / name, who, "attack")
    for part, people in (("train", (40, 41)), ("test", (42, 43))):
        for place, who in enumerate(people, 1):
            for take in ("1", "HR_1"):
                clip(casia / f"{part}_release/{place}/{take}.avi", who, "live")
            for take in ("3", "5", "HR_4"):
                clip(casia / f"{part}_release/{place}/{take}.avi", who, "attack")
    return {"msu-mfsd": msu, "replay-attack": replay, "casia-fasd": casia}


def _teachers(folder):
    """A perceptual teacher as an ONNX file of 112 px, a generative one as a small discriminator's state dict."""
    import torch

    from dtda.core.models.stargan import Discriminator

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, 4), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 5, 4),
                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())  # fmt: skip
    batch = torch.export.Dim("batch", min=1, max=256)
    torch.onnx.export(net.eval(), (torch.zeros(2, 3, 112, 112),), folder / "face.onnx", dynamo=True, verbose=False,
                      external_data=False, dynamic_shapes=({0: batch},))  # fmt: skip
    torch.save(Discriminator(32, 8, 2, 4).state_dict(), folder / "discriminator.pth")


def test_data_sets_prepare_dtda_evaluate_export_score(data_sets, tmp_path):
    """Three public sets in miniature, MSU and Replay-Attack to CASIA, with the whole method."""
    _teachers(tmp_path)
    (tmp_path / "dtda.toml").write_text(
        """
        name = "dtda"
        threads = 1
        workers = 0
        [data]
        manifests = ["ready/manifest.csv"]
        protocol = "limited-source"
        fold = "MI-C"
        [optim]
        epochs = 8
        batch = 12
        ema = 0.9
        [domain]
        adversary = "daa"
        [teachers.perceptual]
        kind = "onnx"
        file = "face.onnx"
        [teachers.generative]
        kind = "stargan"
        file = "discriminator.pth"
        """
    )
    sets = [f"{name}={place}" for name, place in data_sets.items()]
    told = _dtda("prepare", *sets, "--out", "ready", "--frames", 2, "--detector", "centerface", cwd=tmp_path)
    rows = _rows(tmp_path / "ready" / "manifest.csv")
    assert {row["domain"] for row in rows} == set(data_sets)
    assert len(rows) == 2 * (16 + 24 + 20), told.stderr  # every clip gave both frames
    _dtda("train", "dtda.toml", "--out", "run", cwd=tmp_path)
    _dtda("evaluate", "run/last.ckpt", "--out", "figures", cwd=tmp_path)
    report = json.loads((tmp_path / "figures" / "report.json").read_text())
    everything = report["rows"][0]
    assert (everything["live"], everything["attack"]) == (8, 12)  # videos of the target, none lost
    _dtda("export", "run/last.ckpt", "-o", "new.onnx", cwd=tmp_path)
    clip = data_sets["casia-fasd"] / "test_release/1/HR_4.avi"
    _dtda("score", "--engine", "new.onnx", clip, "--out", "s.csv", cwd=tmp_path)
    (row,) = _rows(tmp_path / "s.csv")
    table = read_scores(tmp_path / "figures" / "scores.csv")
    of_clip = table.p_live[["test_release/1/HR_4" in path for path in table.video]]
    # The engine sees all frames through the live detector and tracker, training saw two of them from the cut-outs.
    assert len(of_clip) == 2
    assert abs(float(row["p_live"]) - of_clip.mean()) < 0.05


def test_simulate_train_evaluate_export_score(tmp_path):
    """The whole workshop at toy size: it must run and fit together; how well it learns is the model card's matter."""
    from skimage.data import astronaut

    faces = tmp_path / "faces"
    faces.mkdir()
    header = ["file", "identity", "box_x1", "box_y1", "box_x2", "box_y2"]
    header += [f"{name}_{axis}" for name in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy"]
    with (faces / "faces.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number in range(14):
            tinted = astronaut()[:, :, ::-1] * np.random.default_rng(number).uniform(0.7, 1, 3)
            cv2.imwrite(str(faces / f"p{number}.png"), tinted.astype(np.uint8))
            writer.writerow([f"p{number}.png", f"person{number}", *BOX, *np.ravel(POINTS)])
    (tmp_path / "train.toml").write_text(
        """
        name = "toy"
        threads = 1
        [data]
        manifests = ["sim/manifest.csv"]
        size = 64
        protocol = "sim-loo"
        fold = "kiosk"
        [optim]
        epochs = 2
        batch = 24
        """
    )
    _dtda("simulate", "--faces", "faces", "--out", "sim", "--live", 1, "--attack", 1, cwd=tmp_path)
    _dtda("train", "train.toml", "optim.lr=1e-3", "--out", "run", cwd=tmp_path)
    told = _dtda("evaluate", "run/last.ckpt", "sim/manifest.csv", "--domain", "kiosk", "--out", "e", cwd=tmp_path)
    assert "| kiosk " in told.stdout
    assert json.loads((tmp_path / "e" / "report.json").read_text())["rows"][0]["live"] > 0
    _dtda("evaluate", "e/scores.csv", cwd=tmp_path)
    told = _dtda("export", "run/last.ckpt", "-o", "new.onnx", cwd=tmp_path)
    assert "max |dp|" in told.stdout
    _dtda("sample", "--out", "clips", cwd=tmp_path)
    _dtda("score", "--engine", "new.onnx", "clips", "--out", "s.json", cwd=tmp_path)
    scored = json.loads((tmp_path / "s.json").read_text())
    assert len(scored["inputs"]) == len(CLIPS)
    _dtda("train", "train.toml", "--out", "run", cwd=tmp_path, status=2)  # an existing run is not overwritten
