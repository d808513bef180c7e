"""From a folder of photos to a score, and from the default student to verdicts, through the commands users type."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

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
    _dtda("simulate", "--faces", "faces", "--out", "sim", "--live", 2, "--attack", 2, cwd=tmp_path)
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
