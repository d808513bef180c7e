from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.app.cli import main
from dtda.app.commands import score
from dtda.core import sidecar
from dtda.core.types import Image

Rows = list[dict[str, str]]
HEADER = "path,frames,scored,non_response,p_live,label,attack_reason"


def read_csv(text: str) -> Rows:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def media(tmp_path: Path, clip: Path, astronaut: Image) -> Path:
    """A folder with a video, a picture with a face, one without and five faces in one, in subfolders."""
    folder = tmp_path / "media"
    (folder / "b").mkdir(parents=True)
    shutil.move(clip, folder / "clip.mp4")
    cv2.imwrite(str(folder / "b" / "face2.png"), astronaut)
    cv2.imwrite(str(folder / "b" / "face10.jpg"), np.hstack([astronaut[40:260, 180:400]] * 5))
    cv2.imwrite(str(folder / "empty.png"), np.full((480, 640, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("not media")
    return folder


def test_csv_on_stdout(media: Path, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(media / "clip.mp4"), "--engine", str(student)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == HEADER
    (row,) = read_csv(captured.out)
    assert (row["path"], row["frames"], row["scored"], row["non_response"]) == (
        str(media / "clip.mp4"),
        "15",
        "15",
        "0",
    )
    assert 0 < float(row["p_live"]) < 1
    assert row["label"] in ("live", "spoof")
    assert captured.err == ""


def test_folder_to_csv_with_frames(media: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.csv"
    assert main(["score", str(media), "--engine", str(student), "--out", str(out), "--frames"]) == 0
    rows = read_csv(out.read_text())
    assert [Path(row["path"]).name for row in rows] == ["face2.png", "face10.jpg", "clip.mp4", "empty.png"]
    assert rows[-1] | {"path": ""} == {
        "path": "", "frames": "1", "scored": "0", "non_response": "1", "p_live": "", "label": "cannot_tell",
        "attack_reason": "no face found",
    }  # fmt: skip
    frames = read_csv((tmp_path / "new" / "x.frames.csv").read_text())
    assert sum(row["path"].endswith("clip.mp4") for row in frames) == 15
    assert sum(row["path"].endswith("face10.jpg") for row in frames) == 5
    assert sorted(path.name for path in out.parent.iterdir()) == ["x.csv", "x.frames.csv"]


def test_json_says_what_ran(media: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    arguments = ["--engine", str(student), "--out", str(out), "--threshold", "0.01", "--every", "5"]
    assert main(["score", str(media / "clip.mp4"), *arguments]) == 0
    report = json.loads(out.read_text())
    assert report["threshold"] == 0.01
    assert report["engine"]["provider"] == "CPUExecutionProvider"
    (row,) = report["inputs"]
    assert (row["frames"], row["label"]) == (3, "live")
    assert isinstance(row["p_live"], float)


@pytest.mark.timeout(60)
def test_unreadable_inputs_do_not_stop_the_others(
    media: Path, student: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 100)
    whole = (media / "clip.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bare").mkdir()
    bad = [
        *(str(tmp_path / name) for name in ("missing.mp4", "zero.mp4", "text.mp4", "cut.mp4", "bare")),
        "camera:42",
        "http://127.0.0.1:9/a.mp4",
    ]
    start = time.monotonic()
    status = main(["score", *bad, str(media / "b" / "face2.png"), "--engine", str(student)])
    assert time.monotonic() - start < 20
    assert status == 2
    captured = capfd.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == len(bad)
    for spec, line in zip(bad, errors, strict=True):
        assert line.startswith("dtda: ")
        assert spec in line
    rows = read_csv(captured.out)
    assert [row["path"] for row in rows] == [*bad, str(media / "b" / "face2.png")]
    assert all((row["frames"], row["p_live"], row["label"]) == ("0", "", "cannot_tell") for row in rows[:-1])
    assert rows[-1]["p_live"] != ""


def test_a_file_that_ends_early_is_scored_and_named(
    astronaut: Image, student: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for _ in range(20):
        writer.write(astronaut)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["score", str(path), "--engine", str(student)]) == 0
    captured = capfd.readouterr()
    (row,) = read_csv(captured.out)
    assert 5 <= int(row["frames"]) < 15
    assert captured.err == f"dtda: note: {path} ends after {row['frames']} of 20 frames.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "ends in .csv or .json"),
        (["--frames"], "--frames needs --out"),
        (["--engine", "gone.onnx"], "no such model file"),
        (["--detector", "yolo"], "is not a detector"),
        (["--detector", "insightface:buffalo_s"], "non-commercial research only"),
    ],
)
def test_bad_options_are_one_sentence(
    arguments: list[str],
    message: str,
    student: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    engine = [] if "--engine" in arguments else ["--engine", str(student)]
    assert main(["score", str(clip), *engine, *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line


def test_threshold_outside_its_range(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["score", str(clip), "--threshold", "1.5"])
    assert caught.value.code == 2
    assert "not between 0 and 1" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_file_and_says_so(
    clip: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "x.csv"
    out.write_text("old")
    monkeypatch.setattr(sidecar, "write_atomic", full)
    assert main(["score", str(clip), "--engine", str(student), "--out", str(out)]) == 2
    assert out.read_text() == "old"
    assert f"dtda: {out} cannot be written (No space left on device)" in capsys.readouterr().err


def test_help_is_quick_and_explains_the_columns() -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dtda.app.cli", "score", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - start < 5
    assert all(name in done.stdout for name in HEADER.split(","))
    code = (
        "import sys, dtda.app.commands.score; print([m for m in ('cv2', 'numpy', 'onnxruntime') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_csv_quotes_what_needs_it() -> None:
    make: Callable[..., str] = score.as_csv
    text = make(("path", "p_live"), [{"path": 'a,"b"\n.mp4', "p_live": None}])
    assert list(csv.reader(io.StringIO(text))) == [["path", "p_live"], ['a,"b"\n.mp4', ""]]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_names_that_are_not_utf8_are_written_as_they_are(
    suffix: str, astronaut: Image, student: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), astronaut)
    path = os.fsdecode(bytes(tmp_path) + b"/bad\xffname.jpg")
    (tmp_path / "a.jpg").rename(path)
    out = tmp_path / f"x{suffix}"
    frames = ["--frames"] if suffix == ".csv" else []
    assert main(["score", path, "--engine", str(student), "--out", str(out), *frames]) == 0
    written = out.read_text(encoding="utf-8", errors="surrogateescape")
    rows = read_csv(written) if suffix == ".csv" else json.loads(written)["inputs"]
    assert [row["path"] for row in rows] == [path]
    if frames:
        assert b"bad\xffname.jpg" in (tmp_path / "x.frames.csv").read_bytes()


def test_stdout_takes_every_name_whatever_the_encoding_of_the_terminal(
    astronaut: Image, student: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a b ü 脸.jpg"
    path.write_bytes(cv2.imencode(".jpg", astronaut)[1].tobytes())
    missing = tmp_path / "脸.jpg"
    done = subprocess.run(
        [sys.executable, "-m", "dtda.app.cli", "score", str(path), str(missing), "--engine", str(student)],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
    )
    assert done.returncode == 2
    assert [row["path"] for row in read_csv(done.stdout.decode("utf-8"))] == [str(path), str(missing)]
    assert b"\\u8138.jpg: no such file" in done.stderr


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_ctrl_c_keeps_the_rows_done_so_far(
    suffix: str,
    media: Path,
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def press(opener: object, *args: object) -> object:
        if remaining.pop():
            raise KeyboardInterrupt
        return inner(opener, *args)

    inner, remaining = score.score_input, [True, False, False]
    monkeypatch.setattr(score, "score_input", press)
    out = tmp_path / f"x{suffix}"
    assert main(["score", str(media), "--engine", str(student), "--out", str(out)]) == 130
    text = out.read_text("utf-8")
    rows = read_csv(text) if suffix == ".csv" else json.loads(text)["inputs"]
    assert [Path(row["path"]).name for row in rows] == ["face2.png", "face10.jpg"]
    assert capsys.readouterr().err == "dtda: interrupted\n"
