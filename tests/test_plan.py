"""Engine files: what is written is read back, and everything else is refused with the reason and the way out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Threshold, read_sidecar, sha256, sidecar_path, write_sidecar
from dtda.engines import plan
from dtda.engines.parity import Parity
from dtda.engines.probe import Probe

PLAN = bytes(range(256)) * 40
HERE = Probe(
    "ready", "TensorRT runs.", gpu="NVIDIA GeForce RTX 4070", compute_capability="8.9", package="tensorrt",
    version="11.4.0.106", can_build=True, build_package="tensorrt",
)  # fmt: skip


@pytest.fixture
def header(student: Path) -> plan.Header:
    return plan.Header(
        name="tiny",
        package="tensorrt",
        version="11.4.0.106",
        platform=plan.platform_tag(),
        gpu=HERE.gpu,
        compute_capabilities=["8.9"],
        precision="fp16",
        onnx_sha256=sha256(student),
        onnx_path=str(student),
        sidecar=read_sidecar(student),
        notes=["a note with 0000000000000000000000000000000000000000000000000000000000000000 in it"],
    )


@pytest.fixture
def engine(header: plan.Header, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.engine"
    plan.write(path, header, PLAN)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DtdaError) as caught:
        plan.read_plan(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "dtda engine" in text
    return text


def test_what_is_written_is_read(header: plan.Header, tmp_path: Path) -> None:
    path = tmp_path / "tiny.engine"
    written = plan.write(path, header, memoryview(PLAN))
    assert plan.read_plan(path) == (written, PLAN)
    assert plan.read_header(path) == written
    assert written.plan_bytes == len(PLAN)
    again = plan.write(path, written, PLAN)  # as when the parity is recorded later
    assert plan.read_header(path) == again == written


def test_the_header_is_read_without_the_plan(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.hashlib, "sha256", CountedHash(plan.hashlib.sha256))
    plan.read_header(engine)
    assert CountedHash.longest < len(PLAN)


class CountedHash:
    longest = 0

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real

    def __call__(self, data: bytes) -> Any:
        CountedHash.longest = max(CountedHash.longest, len(data))
        return self._real(data)


def test_files_that_are_no_engines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    with pytest.raises(DtdaError, match="no such engine"):
        plan.read_header(path)
    for garbage in (b"", b"x", b"ftrt" * 1000, plan.MAGIC[:-1]):
        path.write_bytes(garbage)
        assert "not an engine of this program" in refusal(path)


@pytest.mark.parametrize("kept", [len(plan.MAGIC) + 2, len(plan.MAGIC) + 4, 200, -1, -len(PLAN)])
def test_truncated_engines_are_refused(engine: Path, kept: int) -> None:
    engine.write_bytes(engine.read_bytes()[:kept])
    assert "cut short" in refusal(engine)


def test_an_edited_plan_is_refused(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[-100] ^= 1
    engine.write_bytes(data)
    assert "changed after it was built" in refusal(engine)
    engine.write_bytes(bytes(data) + b"\0")
    assert "longer than it was written" in refusal(engine)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"precision": "fp16"', b'"precision": "fp32"'), (b'"value": 0.5', b'"value": 0.1'), (b'"tiny"', b'"Tiny"')],
)
def test_an_edited_header_is_refused(engine: Path, old: bytes, new: bytes) -> None:
    data = engine.read_bytes()
    assert data.count(old)
    engine.write_bytes(data.replace(old, new))
    assert "header was changed" in refusal(engine)


def test_a_header_of_another_format_is_refused(engine: Path) -> None:
    data = engine.read_bytes()
    start = len(plan.MAGIC)
    (length,) = struct.unpack_from("<I", data, start)
    for text in (b"{}", b"[" * 10000, b'{"format": 2}', b"\xff\xfe"):
        engine.write_bytes(data[:start] + struct.pack("<I", len(text)) + text + data[start + 4 + length :])
        assert "its header is not valid" in refusal(engine)
    engine.write_bytes(data[:start] + struct.pack("<I", 2**32 - 1) + data[start + 4 :])
    assert "header was changed" in refusal(engine)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unseen(engine: Path, at: float, flip: int) -> None:
    whole = engine.read_bytes()
    data = bytearray(whole)
    data[min(len(data) - 1, int(at * len(data)))] ^= flip
    try:
        engine.write_bytes(data)
        with pytest.raises(DtdaError):
            plan.read_plan(engine)
    finally:
        engine.write_bytes(whole)


def test_a_folder_and_a_full_disk_leave_nothing(header: plan.Header, tmp_path: Path) -> None:
    with pytest.raises(DtdaError, match="folder"):
        plan.write(tmp_path, header, PLAN)
    resource = pytest.importorskip("resource")  # Windows has no such limit
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            plan.write(tmp_path / "x.engine", header, PLAN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "x.engine")
    assert list(tmp_path.iterdir()) == []


# -- can it run here --------------------------------------------------------------------------------------------------


def test_it_runs_where_it_was_built(header: plan.Header) -> None:
    assert plan.check(header, HERE) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "11.4.1.5"}, "with TensorRT 11.4.0.106, here is 11.4.1.5"),
        ({"package": "tensorrt_rtx", "version": "1.7.1.116"}, "needs TensorRT, here is TensorRT-RTX"),
        (
            {"package": "tensorrt_rtx", "version": "1.7.1.116", "versions": {"tensorrt": "11.5"}},
            "with TensorRT 11.4.0.106, here is 11.5",
        ),
        ({"compute_capability": "8.6"}, "for compute capability 8.9"),
        ({"gpu": "NVIDIA GeForce RTX 4090"}, "on NVIDIA GeForce RTX 4070, here is NVIDIA GeForce RTX 4090"),
    ],
)
def test_another_machine_needs_another_engine(header: plan.Header, change: dict[str, Any], words: str) -> None:
    reason = plan.check(header, replace(HERE, **change))
    assert words in reason
    assert header.rebuild in reason


def test_another_platform_needs_another_engine(header: plan.Header) -> None:
    reason = plan.check(header.model_copy(update={"platform": "windows-x86_64"}), HERE)
    assert "built on windows-x86_64" in reason


def test_without_a_gpu_the_reason_is_the_machines(header: plan.Header) -> None:
    machine = Probe("no_gpu", "There is no NVIDIA GPU in this machine.")
    assert plan.check(header, machine) == "it cannot run here: There is no NVIDIA GPU in this machine."


def test_rtx_runs_on_every_card_it_was_built_for(header: plan.Header) -> None:
    rtx = {"package": "tensorrt_rtx", "version": "1.7.1.116"}
    made = header.model_copy(update={**rtx, "gpu": "", "compute_capabilities": ["8.6", "8.9"]})
    assert plan.check(made, replace(HERE, **rtx)) == ""
    assert plan.check(made, replace(HERE, **rtx, gpu="another", compute_capability="8.6")) == ""
    assert "8.6, 8.9" in plan.check(made, replace(HERE, **rtx, compute_capability="12.0"))


def test_an_engine_of_a_student_that_has_changed_is_stale(
    header: plan.Header, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    parent = make_student(tmp_path, gain=0.5)
    reason = plan.check(header.model_copy(update={"onnx_path": str(parent)}), HERE)
    assert "has changed" in reason
    gone = header.model_copy(update={"onnx_path": str(tmp_path / "gone.onnx")})
    assert plan.check(gone, HERE) == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("thresholds", {"default": Threshold(value=0.9, rule="EER", split="dev")}),
        ("size", 80),
        ("margin", 3.0),
        ("crop", "upright"),
        ("precision", "fp16"),
    ],
)
def test_an_engine_of_a_student_whose_sidecar_has_changed_is_stale(
    header: plan.Header, student: Path, field: str, value: Any
) -> None:
    sidecar = read_sidecar(student)
    write_sidecar(student, sidecar.model_copy(update={"notes": ["told otherwise"], "licence": "another"}))
    assert plan.check(header, HERE) == ""
    try:
        write_sidecar(student, sidecar.model_copy(update={field: value}))
        reason = plan.check(header, HERE)
        assert f"{student.name}.json has changed since the engine was built from it ({field})" in reason
        assert header.rebuild in reason
        sidecar_path(student).write_text("{")
        assert "not a valid sidecar" in plan.check(header, HERE)
    finally:
        write_sidecar(student, sidecar)


def test_a_parent_that_is_gone_is_noted(header: plan.Header, make_student: Callable[..., Path], tmp_path: Path) -> None:
    parent = make_student(tmp_path)
    here = header.model_copy(update={"onnx_path": str(parent), "onnx_sha256": sha256(parent)})
    assert plan.unchecked(here) == ""
    sidecar_path(parent).unlink()
    assert "is gone, so it cannot be told whether" in plan.unchecked(here)
    assert plan.check(here, HERE) == ""
    parent.unlink()
    assert "is gone, so it cannot be told whether" in plan.unchecked(here)
    assert plan.check(here, HERE) == ""


def test_with_both_packages_installed_each_engine_runs_with_its_own(header: plan.Header) -> None:
    both = replace(HERE, versions={"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1.116"})
    rtx = {"package": "tensorrt_rtx", "version": "1.7.1.116"}
    assert plan.check(header.model_copy(update=rtx), both) == ""
    assert "needs TensorRT-RTX" in plan.check(header.model_copy(update=rtx), HERE)
    assert "here is 1.7.1.116" in plan.check(header.model_copy(update=rtx | {"version": "1.6"}), both)


def test_an_engine_that_failed_its_parity_is_never_run(header: plan.Header) -> None:
    bad = Parity(frames=90, max_dp=0.4, mean_dp=0.1, flips=20, limit=0.02, passed=False, reference="onnxruntime")
    reason = plan.check(header.model_copy(update={"parity": bad}), HERE)
    assert "was refused" in reason
    assert "--precision fp32" in reason


def test_commands_quote_names_and_know_the_detector(header: plan.Header) -> None:
    spaced = header.model_copy(update={"onnx_path": "/my models/a.onnx"})
    assert spaced.rebuild == "dtda engine build '/my models/a.onnx' --precision fp16"
    for name, word in (("centerface", "centerface"), ("buffalo_s", "insightface:buffalo_s")):
        detector = header.model_copy(update={"kind": "detector", "name": name})
        assert detector.rebuild == f"dtda engine build {word} --precision fp16"
