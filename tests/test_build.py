"""The build child with the real TensorRT-RTX, on the CPU: it parses, builds, tells, cancels, and what it wrote is checked.

Deserialising needs a GPU, so what runs an engine is tested on a fake (test_tensorrt.py, test_job.py).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtda.core.sidecar import Sidecar, Threshold, sha256, write_sidecar
from dtda.core.types import Image
from dtda.engines import build, events, job, nvidia, plan, precision, request, store
from dtda.engines.probe import Probe
from dtda.engines.progress import Stop
from dtda.engines.registry import default_student
from dtda.engines.request import Build, Request

BUILDS_HERE = sys.platform in ("linux", "win32") and platform.machine() in ("x86_64", "AMD64")
pytestmark = pytest.mark.skipif(not BUILDS_HERE, reason="TensorRT-RTX has no wheel for this platform")

PRECISIONS = ("fp32", "fp16", "int8")
NO_GPU = Probe(
    "no_gpu", "There is no NVIDIA GPU here.", versions={"tensorrt_rtx": "1.7.1.116"}, can_build=True,
    build_package="tensorrt_rtx",
)  # fmt: skip
NAME = f"student-mobile-{sha256(default_student())[:8]}"
TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}


def test_tensorrt_rtx_is_there() -> None:
    """Not skipped when it is missing: these tests are what shows that engines are built at all."""
    assert importlib.metadata.version("tensorrt-rtx") == "1.7.1.116"
    assert nvidia.load("tensorrt_rtx").__version__ == "1.7.1.116"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, portrait: Image, write_clip: Callable[..., Path]) -> Iterator[Path]:
    """A user's folders of engines and caches, with three short clips in the place of the sample."""
    folder = tmp_path_factory.mktemp("home")
    clips = folder / "cache" / "dtda-demo" / "sample-v1"
    clips.mkdir(parents=True)
    for number, name in enumerate(("live", "print", "screen")):
        frames = [np.roll(portrait, 4 * i, 1) for i in range(4)]
        write_clip(clips / f"{name}.avi", [np.uint8(frame * (1 - 0.15 * number)) for frame in frames])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTDA_ENGINES", str(folder / "engines"))
        patch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(folder / "cache" / "dtda-demo"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # for children, on Linux
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for them, too
        patch.setattr(job, "probe", lambda: NO_GPU)
        yield folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 student as `dtda export` writes it, but of random weights: enough to see that it builds."""
    import torch

    from dtda.core.export import Deployed, _write
    from dtda.core.models.student import build_student

    path = tmp_path_factory.mktemp("resnet") / "student-resnet18.onnx"
    torch.manual_seed(0)
    _write(Deployed(build_student("resnet18", cue_map=True)).eval(), 64, path)
    write_sidecar(
        path,
        Sidecar(
            name="student-resnet18",
            sha256=sha256(path),
            size=64,
            margin=2.5,
            thresholds={"default": Threshold(value=0.5, rule="fixed", split="none")},
            training_data="none",
            licence="Apache-2.0",
            git_revision="0" * 40,
        ),
    )
    return path


class Built:
    """A build in this process, as in the child but without its start. stop: set when an event fits."""

    def __init__(self, request: Request, stop: Callable[[Any], bool] = lambda event: False) -> None:
        self.told: list[Any] = []
        stopping = Stop()

        def send(event: Any) -> None:
            self.told.append(event)
            if stop(event):
                stopping.set()

        with store.workplace() as place:
            self.end: Any = build.work(request, send, stopping, place, [])

    @property
    def path(self) -> Path:
        assert isinstance(self.end, events.Done), self.end
        return Path(self.end.path)


@pytest.fixture(scope="module")
def mobile_engines(home: Path) -> dict[str, Built]:
    return {name: Built(Request("auto", name)) for name in PRECISIONS}


def check_engine(built: Built, student: Path, wanted: str) -> None:
    header, data = plan.read_plan(built.path)
    assert (header.kind, header.package, header.version) == ("student", "tensorrt_rtx", "1.7.1.116")
    assert header.platform == plan.platform_tag()
    assert header.precision == wanted
    assert header.compute_capabilities == ["8.6", "8.9", "12.0"]
    assert header.onnx_sha256 == sha256(student)
    assert header.sidecar is not None
    assert header.sidecar.sha256 == header.onnx_sha256
    size = header.sidecar.size
    assert header.tensors[0] == plan.Tensor(name="image", mode="input", dtype="uint8", shape=[-1, 3, size, size])
    assert header.tensors[1] == plan.Tensor(name="p_live", mode="output", dtype="float32", shape=[-1])
    assert len(data) == header.plan_bytes > 1_000_000
    assert store.is_ours(header)
    # What NVIDIA's parser made of the graph: FP16 that quietly stayed FP32 would show here.
    types = header.options["layers_by_type"]
    assert types[TYPES[wanted]] > 50
    if wanted == "fp16":
        assert types["HALF"] > 20 * types.get("FLOAT", 0)
    if wanted == "fp32":
        assert "HALF" not in types
    else:
        assert header.options["conversion"]["passed"]
    assert header.parity is None  # nothing here can run it, and nothing is claimed


class TestBuilds:
    """As on a machine without a GPU, whatever is here."""

    @pytest.mark.parametrize("wanted", PRECISIONS)
    def test_the_shipped_student(self, mobile_engines: dict[str, Built], wanted: str) -> None:
        check_engine(mobile_engines[wanted], default_student(), wanted)

    @pytest.mark.slow
    @pytest.mark.parametrize("wanted", PRECISIONS)
    def test_a_resnet18_with_a_cue_map(self, home: Path, resnet: Path, wanted: str) -> None:
        built = Built(Request(str(resnet), wanted))
        check_engine(built, resnet, wanted)
        assert plan.read_header(built.path).tensors[2].name == "cue_map"
        built.path.unlink()

    @pytest.mark.parametrize("wanted", ["fp32", "fp16"])
    def test_the_detector(self, home: Path, wanted: str) -> None:
        header = plan.read_header(Built(Request("centerface", wanted)).path)
        assert (header.kind, header.precision, header.sidecar) == ("detector", wanted, None)
        assert header.tensors[0].shape == [1, 3, 256, 320]
        assert header.options["layers_by_type"][TYPES[wanted]] > 100

    def test_an_honest_end(self, mobile_engines: dict[str, Built]) -> None:
        end = mobile_engines["fp16"].end
        assert not end.runs_here
        assert end.why.startswith("it cannot run here: ")
        notes = [event.text for event in mobile_engines["fp16"].told if isinstance(event, events.Note)]
        assert any("8.6, 8.9, 12.0" in note and "--target" in note for note in notes)
        assert any(note.startswith("Not compared with its student: ") for note in notes)
        assert plan.read_header(Path(end.path)).notes == notes[:-1]  # what a comparison ends is not kept

    @pytest.mark.parametrize("wanted", PRECISIONS)
    def test_progress_never_goes_back_and_is_tensorrts_own(self, mobile_engines: dict[str, Built], wanted: str) -> None:
        phases = [event for event in mobile_engines[wanted].told if isinstance(event, events.Phase)]
        values = [phase.progress for phase in phases]
        assert values == sorted(values)
        assert (values[0], values[-1]) == (0, 1)
        assert {phase.name for phase in phases} - set(job.PARTS)

    def test_tensorrt_stops_in_the_middle_of_its_own_phases(self, clean: Path) -> None:
        def own(event: Any) -> bool:
            return isinstance(event, events.Phase) and event.name not in job.PARTS

        built = Built(Request("auto", "fp32"), own)
        assert isinstance(built.end, events.Cancelled)
        assert any("cancel" in event.text.lower() for event in built.told if isinstance(event, events.Log))
        assert names(clean) == []

    def test_engines_are_listed_with_why_they_do_not_run(self, mobile_engines: dict[str, Built]) -> None:
        listed = {entry.path: entry for entry in store.entries(NO_GPU)}
        for built in mobile_engines.values():
            assert listed[built.path].ours
            assert "cannot run here" in listed[built.path].reason

    def test_targets_are_what_was_asked_for(self, home: Path) -> None:
        built = Built(Request("auto", "fp16", targets=("8.9",), max_batch=2))
        header = plan.read_header(built.path)
        assert header.compute_capabilities == ["8.9"]
        assert header.batch.max == 2
        assert built.path.name == f"{NAME}.fp16.8.9.engine"

    def test_fp16_with_convolutions_in_fp32_builds(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The way out where a version has no kernel for grouped convolutions is one that TensorRT accepts."""
        grouped = precision.grouped(precision.load(default_student()))
        real = precision.convert
        monkeypatch.setattr(
            precision,
            "convert",
            lambda path, side, name, chips, keep, *rest: real(path, side, name, chips, grouped, *rest),
        )
        built = Built(Request("auto", "fp16", targets=("8.6",)))
        header = plan.read_header(built.path)
        assert header.fp32_nodes == sorted(grouped)
        assert header.options["layers_by_type"]["FLOAT"] >= len(grouped)

    @pytest.mark.parametrize(
        ("target", "words"),
        [("9.0", r"does not build for compute capability 9\.0; it does for 7\.5"), ("7.5", "7.5 lack")],
    )
    def test_cards_it_cannot_build_for_are_told(self, home: Path, target: str, words: str) -> None:
        end = Built(Request("auto", "fp32", targets=(target,))).end
        assert isinstance(end, events.Failed)
        assert re.search(words, end.text)
        assert not store.default_path("student-mobile", "fp32", [target], sha256(default_student())).exists()


# -- the child ----------------------------------------------------------------------------------------------------------


def names(home: Path) -> list[str]:
    """All files that a build may leave, but for the ledger and the locks."""
    found = (path for path in (home / "engines").rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.name not in (store.LEDGER, store.LOCK))


@pytest.fixture
def clean(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder of engines."""
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "engines"))
    return tmp_path


def follow(child: Build, until: Callable[[Any], bool], act: Callable[[], object]) -> list[Any]:
    """All events of a child; `act` once, after the first that fits."""
    told: list[Any] = []
    for event in child.events():
        told.append(event)
        if until(event):
            act()
            until = lambda event: False  # noqa: E731
    return told


def phase(name: str) -> Callable[[Any], bool]:
    return lambda event: isinstance(event, events.Phase) and event.name == name


def test_a_child_builds(clean: Path) -> None:
    child = Build(Request("auto", "fp32"))
    told = list(child.events())
    child.close()
    assert isinstance(told[0], events.Start)
    assert isinstance(told[-1], events.Done)
    assert names(clean) == [f"{NAME}.fp32.8.6-8.9-12.0.engine"]


@pytest.mark.slow
def test_a_child_is_cancelled(clean: Path) -> None:
    child = Build(Request("auto", "int8"))
    at: list[float] = []
    told = follow(child, phase("Calibrating INT8"), lambda: (at.append(time.monotonic()), child.cancel()))
    assert isinstance(told[-1], events.Cancelled)
    assert time.monotonic() - at[0] < build.HARD_S + 2
    child.close()
    assert names(clean) == []


def test_a_child_whose_parent_is_gone_stops(clean: Path) -> None:
    """The end of stdin is the end of whoever started it."""
    argv = [sys.executable, "-m", "dtda.engines.build", "auto", "--precision", "int8"]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert events.parse(ended.stdout.splitlines()[-1]) == events.Cancelled()
    assert ended.returncode == 130
    assert names(clean) == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"timeout": 0.2}, "longer than 0.2 s; allow more with --timeout"), ({"memory_mb": 40}, "than 40 MB")],
)
def test_limits_end_a_child(clean: Path, limits: dict[str, Any], words: str) -> None:
    if "memory_mb" in limits and sys.platform == "win32":
        pytest.skip("Windows does not tell")
    child = Build(Request("auto", "int8", **limits))
    last = list(child.events())[-1]
    child.close()
    assert isinstance(last, events.Failed)
    assert words in last.text
    assert names(clean) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_child_is_told_and_what_it_left_is_removed_by_the_next(clean: Path) -> None:
    child = Build(Request("auto", "int8"))
    told = follow(child, phase("Calibrating INT8"), lambda: os.kill(child.pid, signal.SIGKILL))
    child.close()
    assert isinstance(told[-1], events.Failed)
    assert "was ended by signal 9" in told[-1].text
    assert not list((clean / "engines").glob("*.engine"))
    with store.workplace():
        pass
    assert names(clean) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits")
def test_a_full_disk_is_one_sentence(clean: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from dtda.engines import build; build.main(['auto', '--precision', 'fp32'])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        last = events.parse(child.stdout.read().splitlines()[-1])
        assert isinstance(last, events.Failed)
        assert f"{NAME}.fp32.8.6-8.9-12.0.engine: File too large; make room there" in last.text
        assert child.wait(20) == 2
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait(10)
    assert names(clean) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "file" / "engines"))
    child = Build(Request("auto"))
    (last,) = child.events()
    child.close()
    assert isinstance(last, events.Failed)
    assert "Not a directory; make room there" in last.text


def test_targets_are_listed_once_and_in_order() -> None:
    parser = argparse.ArgumentParser()
    request.add_arguments(parser)
    asked = parser.parse_args(["auto", "--target", "12.0, 8.6,8.9,8.6"])
    assert request.from_arguments(asked).targets == ("8.6", "8.9", "12.0")


def test_the_windows_bound_is_the_commands() -> None:
    from dtda.app import build_form

    assert build_form.MOST_FACES == request.MOST_FACES


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is told of the parent on Linux")
def test_memory_is_that_of_the_build_not_of_who_started_it() -> None:
    held = b"x" * 300_000_000
    code = "from dtda.engines import build; print(build.peak_memory_mb())"
    told = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert 5 < told < 250
    assert build.peak_memory_mb() > 300
    del held


def test_a_folder_that_is_held_is_one_sentence(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    code = "from dtda.engines import build, store; store.LOCK_S = 0.05\nbuild.main(['auto'])"
    with store._lock():
        ended = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    last = events.parse(ended.stdout.splitlines()[-1])
    assert isinstance(last, events.Failed)
    assert "another folder in DTDA_ENGINES" in last.text
    assert ended.returncode == 2


def test_a_child_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    monkeypatch.setattr(request, "command", lambda _: [sys.executable, "-c", "raise SystemExit('no such library')"])
    child = Build(Request("auto"))
    (last,) = child.events()
    child.close()
    assert isinstance(last, events.Failed)
    assert "ended with status 1 and no result (no such library)" in last.text


def test_what_a_library_prints_is_no_event(clean: Path, tmp_path: Path) -> None:
    code = (
        "from dtda.engines import build; import os\n"
        "own = build._own_stdout(); print('printed', flush=True); os.system('echo echoed'); os.write(own, b'event\\n')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert ended.stdout == b"event\n"
    assert b"printed" in ended.stderr


def test_requests_survive_the_command_line() -> None:
    asked = Request(
        "my student.onnx", "int8", 3, Path("a b.engine"), ("8.6", "8.9"), 512, 4096, 60.0, (Path("x"), Path("y z")),
        "tensorrt_rtx",
    )  # fmt: skip
    parser = argparse.ArgumentParser()
    request.add_arguments(parser)
    for each in (asked, Request("auto"), Request("-s.onnx"), Request("-s.onnx", targets=("8.6",), frames=(Path("x"),))):
        assert request.from_arguments(parser.parse_args(request.command(each)[3:])) == each


@pytest.mark.parametrize(
    "argv",
    [
        *(["--max-batch", number] for number in ("0", "-1", "65", "1e3")),
        *(["--timeout", number] for number in ("-1", "0", "nan", "inf", "1e9")),
        *(
            [option, number]
            for option in ("--workspace-mb", "--memory-mb")
            for number in ("0", str(2**21), str(10**30))
        ),
        *(["--target", cards] for cards in ("89", "8.9,", "8.9.1", "\u0668.\u0669", "-8.9")),
        ["--precision", "fp8"],
    ],
)
def test_nonsense_is_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build.main(["auto", *argv])
    assert stop.value.code == 2
