"""`dtda benchmark-model` from the command line to its files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.app.cli import main
from dtda.app.commands import benchmark_model
from dtda.core.scores import read_scores


@pytest.fixture
def faces(tmp_path, astronaut, write_clip):
    """live: bright faces, one of them a clip; print and phone: dark ones."""
    folder = tmp_path / "faces"
    small = cv2.resize(astronaut, (320, 240), interpolation=cv2.INTER_AREA)
    for name, gain in (("live/1", 1.0), ("live/2", 1.1), ("print/1", 0.6), ("phone/1", 0.5)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{name}.png"), cv2.convertScaleAbs(small, alpha=gain))
    write_clip(folder / "live" / "3.mp4", [np.roll(small, step, 1) for step in range(6)])
    return folder


def test_a_folder_of_pictures_and_clips(faces, make_student, tmp_path, capsys):
    students = []
    for name, gain in (("one", 1.0), ("other", 0.9)):
        (tmp_path / name).mkdir()
        students.append(str(make_student(tmp_path / name, threshold=0.3, gain=gain)))
    out = tmp_path / "out"
    arguments = ["--data", str(faces), "--frames", "2", "--robust", "--draws", "20", "--out", str(out)]
    assert main(["benchmark-model", *students, *arguments]) == 0
    text = capsys.readouterr().out
    assert "6 pictures of 5 clips" in text
    assert "tiny-1" not in text  # names in words
    names = ["tiny fp32 student.onnx 1", "tiny fp32 student.onnx 2"]
    assert all(name in text for name in names)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["benchmark.csv", "benchmark.json", "benchmark.md", "pictures.csv", *(name.replace(" ", "-") for name in names)]
    )
    report = json.loads((out / "benchmark.json").read_text())
    (only,) = [each for each in report["agreement"] if each["group"] == "all"]
    assert only["spearman"] == pytest.approx(1)
    rows = list(csv.DictReader((out / "pictures.csv").open()))
    assert sum("3.mp4#" in row["path"] for row in rows) == 2
    assert float(rows[0][names[1]]) == pytest.approx(0.9 * float(rows[0][names[0]]), abs=1e-4)
    scores = read_scores(out / "tiny-fp32-student.onnx-1" / "scores.csv")
    assert (len(scores), len(scores.per_video()), int(scores.per_video().live.sum())) == (6, 5, 3)
    assert scores.about.thresholds["default"].value == 0.3
    capsys.readouterr()
    assert main(["evaluate", str(out / "tiny-fp32-student.onnx-1" / "scores.csv"), "--no-plots"]) == 0
    assert "AUC" in capsys.readouterr().out


def test_unlabelled_faces_and_one_that_cannot_be_read(faces, student, tmp_path, capsys):
    folder = tmp_path / "any"
    (faces / "live").rename(folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert main(["benchmark-model", str(student), "--data", str(folder), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "Nothing says what is live here" in captured.out
    assert captured.err.splitlines()[-1].endswith("broken.jpg: not a readable picture.")
    assert not list((tmp_path / "out").glob("*/scores.csv"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "no such folder"),
        (["--data", "nowhere", "--out", "x.csv"], "name a folder"),
        (["--data", "nowhere", "--detector", "none"], "nowhere"),
    ],
)
def test_refusals(student, arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark-model", str(student), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_students_of_one_name_are_told_apart(student):
    from dataclasses import replace

    from dtda.core.benchmark import Contender
    from dtda.engines.registry import open_engine, working_points

    info = open_engine(student).info
    points = working_points(Path(info.path))
    assert points["default"].value == 0.5
    infos = [info, replace(info, precision="int8"), replace(info, name="other")]
    named = benchmark_model._named([Contender(each.name, each, lambda chips: chips, points) for each in infos])
    assert [each.name for each in named] == ["tiny fp32", "tiny int8", "other"]
