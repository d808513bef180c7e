"""`dtda-demo` as a command: arguments, exit status, summary, speed of its help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dtda.app import demo, libraries


def command(*args: object, config: Path, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dtda.app.demo", *map(str, args)],
        env=surroundings(config),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def surroundings(config: Path) -> dict[str, str]:
    return {**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(config), "HOME": str(config)}


@pytest.mark.slow
def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dtda.app import demo\ntry: demo.main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'cv2', 'PySide6', 'torch', 'pyqtgraph') if m in sys.modules], file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        began = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
    assert "--source" in out.stdout
    assert out.stderr.strip() == "[]"
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "argv",
    [["--threshold", "1.5"], ["--duration", "0"], ["--theme", "pink"], ["--provider", "tpu"], ["--threshold", "x"]],
)
def test_bad_arguments_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        demo.main(argv)
    assert stop.value.code == 2
    assert argv[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", [".", "file/summary.json"])
def test_a_summary_that_cannot_be_written_is_refused_at_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(libraries, "problem", lambda: None)
    monkeypatch.setattr(demo, "_run", lambda args: pytest.fail("the session began"))
    assert demo.main(["--summary", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dtda-demo: ")
    assert "name a" in line


def test_a_missing_library_is_one_message_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "problem", lambda: f"the system lacks libEGL.so.1; install:\n{libraries.APT}")
    assert demo.main([]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == libraries.APT


def test_an_import_that_lacks_a_library_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(args: object) -> int:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(libraries, "problem", lambda: None)
    monkeypatch.setattr(demo, "_run", broken)
    monkeypatch.setattr(demo, "sys", SimpleNamespace(platform="linux", stderr=sys.stderr))
    assert demo.main([]) == 2
    error = capsys.readouterr().err
    assert "libGL.so.1" in error
    assert libraries.APT in error


@pytest.mark.slow
def test_a_folder_is_judged_and_summed_up(clip: Path, student: Path, tmp_path: Path) -> None:
    summary = tmp_path / "out" / "summary.json"
    done = command(
        "--source", clip.parent, "--engine", student, "--duration", 4, "--summary", summary, config=tmp_path / "config"
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(summary.read_text("utf-8"))
    assert set(told) == {"frames", "scored", "fps", "stage_ms", "dropped", "engine", "verdicts"}
    assert told["frames"] == 15
    assert told["verdicts"]["drift.mp4"]["frames"] == 15
    assert told["verdicts"]["drift.mp4"]["label"] in ("live", "spoof")
    assert told["scored"] >= 10
    assert told["engine"]["name"] == "tiny"
    assert set(told["stage_ms"]) >= {"detect", "infer"}


@pytest.mark.slow
def test_unreadable_files_of_a_folder_are_told_at_the_end(clip: Path, student: Path, tmp_path: Path) -> None:
    folder, summary = clip.parent / "folder", tmp_path / "summary.json"
    folder.mkdir()
    clip.rename(folder / "b.mp4")
    for name in ("a.mp4", "c.png"):
        (folder / name).touch()
    (folder / "d.mp4").write_bytes((folder / "b.mp4").read_bytes())
    done = command(
        "--source", folder, "--engine", student, "--duration", 6, "--summary", summary, config=tmp_path / "config"
    )  # fmt: skip
    assert done.returncode == 2
    assert [line.partition(": the file is empty")[0] for line in done.stderr.splitlines()] == [
        f"dtda-demo: {folder / 'a.mp4'}", f"dtda-demo: {folder / 'c.png'}",
    ]  # fmt: skip
    told = json.loads(summary.read_text("utf-8"))
    assert {name: clip["frames"] for name, clip in told["verdicts"].items()} == {"b.mp4": 15, "d.mp4": 15}


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["source", "engine"])
def test_with_a_duration_an_error_ends_it_with_one_line(broken: str, clip: Path, student: Path, tmp_path: Path) -> None:
    parts = {"source": str(clip), "engine": str(student), broken: str(tmp_path / "missing.onnx")}
    began = time.perf_counter()
    done = command(
        "--source", parts["source"], "--engine", parts["engine"], "--duration", 20, config=tmp_path / "config"
    )  # fmt: skip
    assert time.perf_counter() - began < 15
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("dtda-demo: ")
    assert "missing.onnx" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process on Windows")
def test_ctrl_c_closes_the_window(clip: Path, student: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dtda.app.demo", "--source", clip, "--engine", student],
        env=surroundings(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
