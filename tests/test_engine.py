"""`dtda engine`: what the commands print, and with which status they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_tensorrt import Rig, install, write_engine

from dtda.app import cli
from dtda.app.commands import engine
from dtda.core.sidecar import read_sidecar
from dtda.core.types import Image
from dtda.engines import events, parity, plan, probe, request, store
from dtda.engines.registry import default_student

NO_GPU = probe.Probe("no_gpu", "There is no NVIDIA GPU here.", can_build=True, build_package="tensorrt_rtx")
START = events.Start(
    student="s", precision="fp16", package="tensorrt_rtx", version="1", target=["8.9"], gpu="", out="/x"
)
DONE = events.Done(path="/x.engine", seconds=1.25, bytes=6_100_000, runs_here=False, why="it cannot run here: No GPU.")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(probe, "probe", lambda refresh=False: NO_GPU)
    return tmp_path / "engines"


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, home: Path, sample: Image) -> Iterator[Rig]:
    made = install(monkeypatch, home)
    yield made
    made.check()


@pytest.fixture
def sample(portrait: Image, monkeypatch: pytest.MonkeyPatch) -> Image:
    """Crops of a face of any size in the place of the sample's."""
    found = np.stack([portrait[80 + 4 * i : 208 + 4 * i, 210 + 6 * i : 338 + 6 * i, ::-1] for i in range(6)])
    monkeypatch.setattr(
        parity,
        "chips",
        lambda rule, extra, step=None: np.stack([cv2.resize(one, (rule.size, rule.size)) for one in found]),
    )
    return found


class FakeBuild:
    """Says `script` instead of building."""

    script: tuple[Any, ...] = (START, events.Phase(name="Building", progress=0.5, elapsed=1), DONE)
    asked: request.Request

    def __init__(self, asked: request.Request) -> None:
        FakeBuild.asked = asked
        self.cancelled = False

    def events(self) -> Iterator[Any]:
        yield from self.script

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeBuild]:
    monkeypatch.setattr(request, "Build", FakeBuild)
    monkeypatch.setattr(FakeBuild, "script", FakeBuild.script)
    return FakeBuild


def test_a_build_that_worked(fake: type[FakeBuild], capsys: pytest.CaptureFixture[str]) -> None:
    fake.script = (START, events.Phase(name="Building", progress=0.5, elapsed=1), events.Note(text="assumed"), DONE)
    assert cli.main(["engine", "build", "auto", "--precision", "int8", "--max-batch", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "/x.engine: 6.1 MB in 1.2 s\nIt cannot run here: No GPU.\n"
    assert " 50% Building" in err
    assert "note: assumed" in err
    assert (fake.asked.onnx, fake.asked.precision, fake.asked.max_batch) == ("auto", "int8", 2)


def test_a_build_that_failed_is_one_line(fake: type[FakeBuild], capsys: pytest.CaptureFixture[str]) -> None:
    fake.script = (START, events.Failed(text="It was refused.", report="/r.json"))
    assert cli.main(["engine", "build", "auto"]) == 2
    assert capsys.readouterr().err == "dtda: It was refused. The figures are in /r.json.\n"


def test_a_build_that_was_cancelled_is_130(fake: type[FakeBuild], capsys: pytest.CaptureFixture[str]) -> None:
    fake.script = (START, events.Cancelled())
    assert cli.main(["engine", "build", "auto"]) == 130
    assert capsys.readouterr().err == "dtda: interrupted\n"


def test_json_passes_the_events_on(fake: type[FakeBuild], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "build", "auto", "--json"]) == 0
    assert [events.parse(line) for line in capsys.readouterr().out.splitlines()] == list(fake.script)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_cancels_the_child_and_leaves_nothing(home: Path, sample: Image) -> None:
    """As from a terminal: the signal goes to the command and its child."""
    argv = [sys.executable, "-m", "dtda.app.cli", "engine", "build", "auto", "--precision", "int8", "--json"]
    command = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    timer = threading.Timer(60, command.kill)
    timer.start()
    try:
        for line in command.stdout:
            if isinstance(events.parse(line), events.Start):
                os.killpg(command.pid, signal.SIGINT)
                break
        out, err = command.communicate()
    finally:
        timer.cancel()
        command.kill()
        command.wait(10)
    assert isinstance(events.parse(out.splitlines()[-1]), events.Cancelled)
    assert err.splitlines()[-1] == "dtda: interrupted"
    assert command.returncode == 130
    assert [path.name for path in home.rglob("*") if path.is_file()] == [store.LOCK]


# -- list and check ---------------------------------------------------------------------------------------------------


def test_no_engines(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert cli.main(["engine", "list"]) == 0
    assert cli.main(["engine", "check", "all"]) == 0
    assert capsys.readouterr().out.count(f"There are no engines in {home}; build one") == 2


def test_the_list_tells_what_there_is_and_why_it_does_not_run(
    home: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = parity.judge(np.ones(9) * 0.501, np.ones(9) * 0.5, 0.2, 0.02, "onnxruntime")
    write_engine(home / "a.engine", student, parity=verdict, latency_ms=0.321, built="2026-11-23T08:00:00+00:00")
    write_engine(home / "b.engine", student, max_batch=3)
    (home / "c.engine").write_bytes(b"garbage")
    assert cli.main(["engine", "list"]) == 0
    out = capsys.readouterr().out
    title, first, second, third = out.splitlines()[:4]
    assert title.split() == list(engine.COLUMNS)
    assert first.split()[:4] == ["a.engine", "student", "fp32", "8"]
    assert "TensorRT 11.4.0.106" in first
    assert first.split()[-3:] == ["1.0e-03", "0.32", "no"]
    assert "2026-11-23 08:00" in first
    assert "not compared" in second
    assert third.split() == ["c.engine", "0.0", "no"]
    assert "a.engine: it cannot run here: There is no NVIDIA GPU here." in out
    assert "c.engine is not an engine of this program" in out


def test_the_list_tells_whose_student_is_gone(
    home: Path, make_student: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = make_student(tmp_path)
    write_engine(home / "a.engine", parent)
    assert cli.main(["engine", "list"]) == 0
    assert "is gone" not in capsys.readouterr().out
    parent.unlink()
    assert cli.main(["engine", "list"]) == 0
    assert f"a.engine: {parent}, which it was built from, is gone" in capsys.readouterr().out


def test_lists_as_json(home: Path, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_engine(home / "a.engine", student)
    assert cli.main(["engine", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["runs_here"], listed["ours"]) == (False, True)
    assert listed["header"]["precision"] == "fp32"


def test_check_compares_what_was_not_compared_and_remembers(
    rig: Rig, home: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_engine(home / "a.engine", student, max_batch=4)
    assert cli.main(["engine", "check", "all"]) == 0
    assert "in order; within the limits" in capsys.readouterr().out
    header = plan.read_header(home / "a.engine")
    assert header.parity is not None
    assert header.parity.passed
    assert header.latency_ms is not None
    assert list((home / "reports").glob("*.json"))
    before = (home / "a.engine").read_bytes()
    assert cli.main(["engine", "check", str(home / "a.engine"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs_here"]
    assert (home / "a.engine").read_bytes() == before


def test_check_compares_detectors_too(
    rig: Rig, home: Path, portrait: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dtda.engines.detect import detector_graph

    graph = tmp_path / "centerface.onnx"
    graph.write_bytes(detector_graph("centerface"))
    write_engine(home / "c.engine", graph, kind="detector", name="centerface", max_batch=1)
    monkeypatch.setattr(parity, "frames", lambda extra, step: [(portrait, False)] * 2)
    assert cli.main(["engine", "check", "all"]) == 0
    header = plan.read_header(home / "c.engine")
    assert header.parity is not None
    assert (header.parity.frames, header.parity.passed) == (2, True)


def test_check_refuses_an_engine_that_says_something_else(
    rig: Rig, home: Path, make_student: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, other = make_student(tmp_path, name="a.onnx"), make_student(tmp_path, name="b.onnx", gain=0.7)
    facts = {"onnx_path": str(parent), "onnx_sha256": read_sidecar(parent).sha256, "sidecar": read_sidecar(parent)}
    write_engine(home / "a.engine", other, **facts)
    assert cli.main(["engine", "check", "all"]) == 2
    assert "was refused, as it is outside of the limits" in capsys.readouterr().out
    from dtda.core.errors import DtdaError
    from dtda.engines.registry import open_engine

    with pytest.raises(DtdaError, match="was refused"):
        open_engine(home / "a.engine")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cut short"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "changed after it was built"),
        (lambda path: store.forget(plan.read_header(path)), "was not built by this program"),
        (lambda path: path.write_bytes(b"garbage"), "not an engine of this program"),
        (lambda path: path.unlink(), "no such engine"),
    ],
)
def test_check_tells_what_is_not_right(
    rig: Rig,
    home: Path,
    student: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    words: str,
) -> None:
    write_engine(home / "a.engine", student)
    spoil(home / "a.engine")
    assert cli.main(["engine", "check", str(home / "a.engine")]) == 2
    out = capsys.readouterr().out
    assert words in out
    assert len(out.splitlines()) == 1


def test_check_without_a_gpu_is_honest(home: Path, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_engine(home / "a.engine", student)
    assert cli.main(["engine", "check", "all"]) == 2
    out = capsys.readouterr().out
    assert "cannot run here: There is no NVIDIA GPU here. It is not compared with its student." in out


# -- convert ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_convert(
    precision: str, sample: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["engine", "convert", "auto", "--precision", precision]) == 0
    name = f"student-mobile.{precision}.onnx"
    size = "3." if precision == "fp16" else "2."  # MB, of 6.4
    assert capsys.readouterr().out.startswith(f"{name}: {size}")
    sidecar = read_sidecar(Path(name))
    assert sidecar.precision == precision
    assert sidecar.thresholds == read_sidecar(default_student()).thresholds
    assert cli.main(["engine", "convert", name]) == 2
    assert f"is {precision} already" in capsys.readouterr().err


def test_convert_refuses_bad_places_and_no_students(
    make_student: Callable[..., Path], tmp_path: Path, sample: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["engine", "convert", "auto", "-o", str(tmp_path / "x.bin")]) == 2
    assert cli.main(["engine", "convert", str(make_student(tmp_path, output="logit"))]) == 2
    err = capsys.readouterr().err
    assert "ends in .onnx" in err
    assert "not p_live" in err


def test_every_action_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("build", "list", "check", "convert", "bench"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["engine", action, "--help"])
        assert stop.value.code == 0
        assert f"dtda engine {action}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dtda.app import cli\n"
        "try: cli.main(['engine', 'build', '--help'])\n"
        "except SystemExit: pass\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "cv2", "tensorrt_rtx", "onnx", "onnxruntime", "matplotlib"} & set(out.split())
