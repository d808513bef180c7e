"""A build from beginning to end on a fake GPU: TensorRT proper, the gate, the timing cache, and every way to fail."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_builder import install_builder
from fake_tensorrt import Rig, install, ready

from dtda.core.errors import DtdaError
from dtda.core.sidecar import read_sidecar, sha256, write_sidecar
from dtda.core.types import Image
from dtda.engines import build, events, job, ort, parents, parity, plan, precision, store, tensorrt, trial
from dtda.engines.events import Event
from dtda.engines.progress import Stop
from dtda.engines.registry import default_student
from dtda.engines.request import Request

AUTO = Request("auto")


@pytest.fixture
def chips(portrait: Image, monkeypatch: pytest.MonkeyPatch) -> Image:
    """Six crops of one face, as if cut from the sample."""
    found = np.stack([portrait[20 + 4 * i : 260 + 4 * i, 150 + 6 * i : 390 + 6 * i, ::-1] for i in range(6)])
    monkeypatch.setattr(parity, "chips", lambda rule, extra, step: found)
    return found


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chips: Image) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    install_builder(made.trt)
    monkeypatch.setattr(job, "probe", ready)
    monkeypatch.setattr(trial, "RUNS", 3)
    monkeypatch.setattr(precision, "FIRST", (12,))  # how few do is seen in test_precision.py
    yield made
    made.check()


class Run:
    """What a build said, and how it ended."""

    def __init__(
        self, request: Request, stop: Stop | None = None, on_event: Callable[[Event], None] | None = None
    ) -> None:
        self.told: list[Event] = []
        self.stop = stop or Stop()

        def send(event: Event) -> None:
            self.told.append(event)
            if on_event is not None:
                on_event(event)

        with store.workplace() as place:
            self.place = place
            self.end = build.work(request, send, self.stop, place, [])
            self.left_behind = [path.name for path in place.iterdir() if path.name != store.LOCK]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    @property
    def text(self) -> str:
        assert isinstance(self.end, events.Failed), self.end
        assert "\n" not in self.end.text
        return self.end.text

    @property
    def header(self) -> plan.Header:
        assert isinstance(self.end, events.Done), self.end
        return plan.read_header(Path(self.end.path))


def inside(folder: Path) -> Path:
    folder.mkdir()
    return folder


def engines() -> list[str]:
    return sorted(path.name for path in store.folder().rglob("*") if path.is_file() and ".engine" in path.name)


def test_a_build_is_compared_recorded_and_runs(rig: Rig, chips: Image) -> None:
    run = Run(AUTO)
    header = run.header
    assert header.precision == "fp16"
    assert (header.package, header.version, header.gpu) == ("tensorrt", rig.trt.__version__, "Fake GPU")
    assert header.compute_capabilities == ["8.9"]
    assert header.driver == "580.65"
    assert header.batch == plan.Batch(min=1, opt=1, max=8)
    assert [(each.name, each.mode, each.dtype) for each in header.tensors] == [
        ("image", "input", "uint8"),
        ("p_live", "output", "float32"),
    ]
    assert header.parity is not None
    assert header.parity.passed
    assert header.parity.frames == parity.REPEATS * (1 + 3 + 8) >= len(chips) * (1 + parity.VARIATIONS)
    assert header.parity.max_dp > 0  # FP16 against FP32
    assert header.latency_ms is not None
    assert run.end.runs_here
    assert run.end.why == ""
    engine = tensorrt.open_engine(Path(run.end.path))
    assert engine.infer(chips).shape == (6,)
    assert not any("not compared" in note for note in engine.info.notes)
    engine.close()


def test_it_says_what_it_does(rig: Rig) -> None:
    run = Run(AUTO)
    start = run.told[0]
    assert isinstance(start, events.Start)
    assert (start.student, start.precision, start.target, start.gpu) == ("student-mobile", "fp16", ["8.9"], "Fake GPU")
    values = [phase.progress for phase in run.of(events.Phase)]
    assert values == sorted(values)
    assert values[-1] == 1
    assert {"Finding faces", "Converting to FP16", "Building", "Writing"} <= {p.name for p in run.of(events.Phase)}
    assert len(run.of(events.Compared)) == 1


def test_tf32_is_off_and_memory_is_limited(rig: Rig) -> None:
    run = Run(replace(AUTO, precision="fp32", workspace_mb=256, max_batch=3))
    (config,) = rig.trt.configs
    assert not config.tf32
    assert config.workspace == 256 << 20
    assert run.header.options["tf32"] is False
    assert run.header.batch.max == 3
    assert run.header.parity is not None
    assert run.header.parity.max_dp < 1e-5


def test_int8_is_calibrated_and_compared(rig: Rig) -> None:
    header = Run(replace(AUTO, precision="int8")).header
    assert header.precision == "int8"
    assert header.fp32_nodes
    assert "INT8" in header.options["layers_by_type"]
    assert any("face crops" in note for note in header.notes)


def test_a_converted_student_is_built_as_it_is(rig: Rig, chips: Image, tmp_path: Path) -> None:
    sidecar = read_sidecar(default_student())
    half = tmp_path / "student.fp16.onnx"
    precision.save(half, precision.convert(default_student(), sidecar, "fp16", chips), sidecar)
    run = Run(Request(str(half)))
    assert run.header.precision == "fp16"
    assert Path(run.end.path).name == f"student-{sha256(half)[:8]}.fp16.8.9.engine"
    assert "is fp16, so no int8 engine" in Run(Request(str(half), precision="int8")).text


# -- the detector -----------------------------------------------------------------------------------------------------


@pytest.fixture
def frames(portrait: Image, monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    found = [np.roll(portrait, 20 * i, 1) for i in range(3)] + [np.zeros((90, 160, 3), np.uint8)]
    monkeypatch.setattr(parity, "frames", lambda extra, step: [(frame, False) for frame in found])
    return found


@pytest.mark.parametrize("wanted", ["fp32", "fp16"])
def test_the_detector_is_built_and_compared(rig: Rig, frames: list[Image], wanted: str) -> None:
    from dtda.engines.detect import CenterFaceDetector, open_detector

    run = Run(Request("centerface", wanted))
    header = run.header
    assert (header.kind, header.name, header.sidecar, header.batch.max) == ("detector", "centerface", None, 1)
    assert header.rebuild == f"dtda engine build centerface --precision {wanted}"
    assert header.parity is not None
    assert (header.parity.frames, header.parity.flips, header.parity.passed) == (4, 0, True)
    assert (header.parity.max_dp > 1e-5) == (wanted == "fp16")
    detector = open_detector(run.end.path)
    (found,), (expected,) = detector.detect(frames[0]), CenterFaceDetector().detect(frames[0])
    np.testing.assert_allclose(found.points, expected.points, atol=5)
    detector.close()


def test_a_detector_that_sees_something_else_is_refused(rig: Rig, frames: list[Image]) -> None:
    rig.trt.gain = 0.4
    run = Run(Request("centerface", "fp32"))
    assert "The engine was not kept" in run.text
    verdict = run.of(events.Compared)[0]
    assert verdict.flips == 3  # of the frames with a face
    assert engines() == []


def test_a_detector_has_no_int8(rig: Rig) -> None:
    assert "INT8 is for students" in Run(Request("centerface", "int8")).text


# -- FP16 convolutions without a kernel -------------------------------------------------------------------------------


def test_grouped_convolutions_without_a_kernel_stay_in_fp32(rig: Rig) -> None:
    rig.trt.refuse.add("grouped")
    run = Run(AUTO)
    grouped = precision.grouped(precision.load(default_student()))
    assert rig.trt.builds == 2
    assert run.header.fp32_nodes == sorted(grouped)
    told = [note.text for note in run.of(events.Note)]
    assert any("no FP16 kernel for grouped convolutions" in text and grouped[0] in text for text in told)
    assert run.header.notes == told
    values = [phase.progress for phase in run.of(events.Phase)]
    assert values == sorted(values)


def test_the_fallback_is_tried_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.trt.refuse.add("grouped")
    monkeypatch.setattr(precision, "grouped", lambda model: [precision.half_nodes(precision.half(model))[5]])
    run = Run(AUTO)
    assert rig.trt.builds <= 2
    assert "no kernel for the grouped convolutions" in run.text
    assert engines() == []


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_an_engine_that_says_something_else_is_refused_and_the_report_kept(rig: Rig) -> None:
    rig.trt.gain = 0.8
    run = Run(AUTO)
    assert "The engine was not kept" in run.text
    assert engines() == []
    assert not json.loads((store.folder() / store.LEDGER).read_text())
    report = Path(run.end.report)
    about = json.loads(report.read_text())
    assert about["parity"]["passed"] is False
    assert about["parity"]["max_dp"] > 0.1
    assert "outside of the limits" in report.with_suffix(".txt").read_text()
    assert not run.of(events.Compared)[0].passed


@pytest.mark.parametrize("wanted", [pytest.param("int8", marks=pytest.mark.slow), "fp16", "fp32"])
def test_the_limit_is_that_of_the_precision(rig: Rig, wanted: str) -> None:
    header = Run(replace(AUTO, precision=wanted)).header
    assert header.parity is not None
    assert header.parity.limit == parity.LIMITS[wanted] == {"fp32": 1e-3, "fp16": 0.02, "int8": 0.2}[wanted]


def test_fp16_that_is_five_hundredths_off_is_refused(rig: Rig) -> None:
    """Within the limit of INT8, outside of its own."""
    rig.trt.gain = 0.95
    run = Run(AUTO)
    assert "The engine was not kept" in run.text
    verdict = run.of(events.Compared)[0]
    assert parity.LIMITS["fp16"] < verdict.max_dp < parity.LIMITS["int8"]


# -- a student that is exported again meanwhile -----------------------------------------------------------------------


@pytest.mark.parametrize("part", ["Finding faces", "Building", "Writing"])
@pytest.mark.parametrize("what", ["file", "sidecar", "gone"])
def test_a_student_that_changes_while_it_is_built_is_refused(
    rig: Rig, make_student: Callable[..., Path], tmp_path: Path, what: str, part: str
) -> None:
    student, other = make_student(tmp_path, size=240), make_student(inside(tmp_path / "new"), size=240, gain=0.7)
    sidecar = read_sidecar(student)

    def change(event: Event) -> None:
        if not (isinstance(event, events.Phase) and event.name == part):
            return
        if what == "file":
            student.write_bytes(other.read_bytes())
            write_sidecar(student, read_sidecar(other))
        elif what == "sidecar":
            write_sidecar(student, sidecar.model_copy(update={"margin": 3.0}))
        else:
            student.unlink(missing_ok=True)

    run = Run(Request(str(student), "fp32"), on_event=change)
    assert "or its sidecar changed while it was built; build it again" in run.text
    assert engines() == []


def test_what_is_built_is_what_was_read(
    rig: Rig, make_student: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the student and hashing it there is no time in which it may change."""
    student, other = make_student(tmp_path, size=240), make_student(inside(tmp_path / "new"), size=240, gain=0.7)
    before, real = sha256(student), parents.precision.load

    def load(path: Path, data: bytes) -> Any:
        student.write_bytes(other.read_bytes())
        return real(path, data)

    monkeypatch.setattr(parents.precision, "load", load)
    parent = parents.open_parent(str(student), 8)
    assert parent.sha256 == before
    assert parent.model.graph != real(other, other.read_bytes()).graph
    with pytest.raises(DtdaError, match="changed while it was built"):
        parents.check_unchanged(parent)


def test_students_of_one_name_have_engines_of_their_own(
    rig: Rig, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    students = [make_student(inside(tmp_path / name), size=240, gain=gain) for name, gain in (("a", 1), ("b", 0.7))]
    for student in students:
        assert isinstance(Run(Request(str(student), "fp32")).end, events.Done)
    assert engines() == sorted(f"{each.stem}-{sha256(each)[:8]}.fp32.8.9.engine" for each in students)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
def test_names_that_are_no_text_are_one_sentence(rig: Rig, student: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"by\xff.onnx")
    odd.write_bytes(student.read_bytes())
    write_sidecar(odd, read_sidecar(student))
    for request in (Request(str(odd)), replace(AUTO, out=tmp_path / os.fsdecode(b"\xff") / "x.engine")):
        text = Run(request).text
        assert "is not UTF-8; rename it" in text
        text.encode()


def test_a_refused_build_leaves_the_engine_before_it(rig: Rig) -> None:
    path = Path(Run(AUTO).end.path)
    before = path.read_bytes()
    rig.trt.gain = 0.8
    assert "not kept" in Run(AUTO).text
    assert path.read_bytes() == before
    tensorrt.open_engine(path).close()


@pytest.mark.parametrize("fails", ["Comparing with onnxruntime", "Writing"])
def test_a_build_that_ends_early_leaves_the_same_plan_of_before_usable(rig: Rig, fails: str) -> None:
    path = Path(Run(AUTO).end.path)
    stop = Stop()
    run = Run(AUTO, stop, lambda event: stop.set() if getattr(event, "name", "") == fails else None)
    assert isinstance(run.end, events.Cancelled)
    tensorrt.open_engine(path).close()


# -- the timing cache -------------------------------------------------------------------------------------------------


def test_the_timing_cache_is_kept_for_one_version_on_one_gpu(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    Run(AUTO)
    (cache,) = (store.folder() / "timing").iterdir()
    assert cache.name == f"{rig.trt.__version__}-Fake_GPU-8.9.cache"
    assert cache.read_bytes() == b"fake-cache+"
    Run(AUTO)
    assert rig.trt.configs[-1].cache is not None
    assert cache.read_bytes().startswith(b"fake-cache")
    monkeypatch.setattr(job, "probe", lambda: replace(ready(), gpu="Another GPU"))
    Run(AUTO)
    assert len(list((store.folder() / "timing").iterdir())) == 2


def test_a_cache_that_does_not_fit_is_begun_anew(rig: Rig) -> None:
    Run(AUTO)
    (cache,) = (store.folder() / "timing").iterdir()
    cache.write_bytes(b"of another version")
    assert isinstance(Run(AUTO).end, events.Done)
    assert cache.read_bytes() == b"fake-cache+"


# -- every way to fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("Builder", r"does not start \(CUDA initialization failure with error: 35\)"),
        ("parse", "cannot read the graph .*UNSUPPORTED_NODE: no importer for X"),
        ("profile", "refuses the shapes image"),
        ("memory", "GPU memory could not be allocated.*close what else uses the GPU"),
    ],
)
def test_what_tensorrt_refuses_is_one_sentence(rig: Rig, refused: str, words: str) -> None:
    rig.trt.refuse.add(refused)
    run = Run(AUTO)
    assert re.search(words, run.text)
    assert engines() == []
    assert run.left_behind == []


@pytest.mark.parametrize(
    "name", ["Finding faces", "Converting to FP16", "Building", "Comparing with onnxruntime", "Writing"]
)
def test_cancel_in_every_part_leaves_nothing(rig: Rig, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parity.chips
    monkeypatch.setattr(parity, "chips", lambda rule, extra, step: [step(0.5), real(rule, extra, step)][1])
    stop = Stop()

    def cancel(event: Event) -> None:
        if isinstance(event, events.Phase) and event.name == name:
            stop.set()

    run = Run(AUTO, stop, cancel)
    assert isinstance(run.end, events.Cancelled)
    assert not run.of(events.Done)
    assert engines() == []
    assert run.left_behind == []


def test_a_limit_is_told_as_a_failure(rig: Rig) -> None:
    stop = Stop()
    rig.trt.on_step = lambda number: stop.set("The build took longer than 3 s; allow more with --timeout.")
    assert Run(AUTO, stop).text == "The build took longer than 3 s; allow more with --timeout."


def test_what_is_no_student_is_refused(rig: Rig, make_student: Callable[..., Path], tmp_path: Path) -> None:
    garbage = make_student(tmp_path, name="garbage.onnx")
    sidecar = read_sidecar(garbage)
    garbage.write_bytes(b"garbage" * 99)
    assert "sha256 differs" in Run(Request(str(garbage))).text
    write_sidecar(garbage, sidecar.model_copy(update={"sha256": sha256(garbage)}))
    assert "not a usable ONNX file" in Run(Request(str(garbage))).text
    assert "not p_live" in Run(Request(str(make_student(tmp_path, output="logit")))).text
    assert "no such model" in Run(Request(str(tmp_path / "gone.onnx"))).text
    assert "names end in .onnx" in Run(Request(str(tmp_path / "x.engine"))).text


def test_places_that_cannot_be_written_are_told_before_the_work(rig: Rig, tmp_path: Path) -> None:
    assert "ends in .engine" in Run(replace(AUTO, out=tmp_path / "x.plan")).text
    (tmp_path / "x.engine").mkdir()
    assert "is a folder" in Run(replace(AUTO, out=tmp_path / "x.engine")).text
    (tmp_path / "file").write_text("")
    assert "cannot be written" in Run(replace(AUTO, out=tmp_path / "file" / "x.engine")).text
    assert rig.trt.builds == 0


def test_a_full_disk_is_told_and_leaves_nothing(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = plan.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".engine" and path.parent == store.folder():
            raise OSError(28, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(plan, "write_atomic", full)
    assert "No space left on device; make room there" in Run(AUTO).text
    assert engines() == []
    assert not json.loads((store.folder() / store.LEDGER).read_text())


def test_tensorrt_builds_for_its_own_gpu_only(rig: Rig) -> None:
    assert "here 8.9; leave --target out" in Run(replace(AUTO, targets=("8.6",))).text
    assert Run(replace(AUTO, targets=("8.9",))).header.compute_capabilities == ["8.9"]


def test_where_nothing_can_build_the_install_line_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(
        ready(), state="no_tensorrt", text="TensorRT is not installed.", install="pip install tensorrt",
        package="", can_build=False, build_package="",
    )  # fmt: skip
    monkeypatch.setattr(job, "probe", lambda: nothing)
    assert Run(AUTO).text == "TensorRT is not installed. pip install tensorrt"
    text = Run(replace(AUTO, package="tensorrt")).text
    assert "builds only on the GPU" in text
    assert nothing.install in text


def test_a_silent_fp32_build_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "convert", lambda parent, *_: precision.Converted(
        precision.load(parent), "fp16", (), parity.judge(np.ones(1), np.ones(1), 0.5, 1, "none"), ()
    ))  # fmt: skip
    assert "made no FP16 layer" in Run(AUTO).text
    assert engines() == []


def test_an_unexpected_error_is_one_sentence_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(job.builder, "build", fail)
    assert "failed unexpectedly (KeyError" in Run(AUTO).text


def test_the_reference_is_the_student(rig: Rig, chips: Image) -> None:
    run = Run(replace(AUTO, precision="fp32"))
    engine, reference = tensorrt.open_engine(Path(run.end.path)), ort.open_engine(default_student())
    np.testing.assert_allclose(engine.infer(chips), reference.infer(chips), atol=1e-6)
    engine.close()
