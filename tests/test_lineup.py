from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import install, ready, write_engine

from dtda.core.errors import DtdaError
from dtda.core.sidecar import read_sidecar, sha256, write_sidecar
from dtda.engines import latency, plan, store
from dtda.engines.lineup import rows, students
from dtda.engines.probe import Probe

NONE = Probe(state="no_driver", text="No NVIDIA driver was found.")
READY = Probe(state="ready", text="TensorRT runs here.", gpu="RTX 4090", compute_capability="8.9", package="tensorrt",
              version="11.4.0.106")  # fmt: skip


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "engines"))


@pytest.fixture
def files(make_student: Callable[..., Path], tmp_path: Path) -> Path:
    """student.onnx and, as if converted from it, student.fp16.onnx."""
    path = make_student(tmp_path)
    other = make_student(tmp_path, name="student.fp16.onnx")
    write_sidecar(other, read_sidecar(other).model_copy(update={"precision": "fp16"}))
    return path


def engine(student: Path, name: str = "tiny.fp16.8.9.engine", **changes: object) -> Path:
    header = plan.Header(name="tiny", package="tensorrt", version="11.4.0.106", platform=plan.platform_tag(), gpu="RTX 4090",
                         compute_capabilities=["8.9"], precision="fp16", onnx_sha256=sha256(student), onnx_path=str(student),
                         sidecar=read_sidecar(student))  # fmt: skip
    path = store.folder() / name
    store.record(plan.write(path, header.model_copy(update=changes), b"plan"), path)
    return path


def test_the_shipped_student_is_the_default() -> None:
    (student,) = students([], NONE)
    assert student.name == "student-mobile"
    assert next(iter(student.files)) == "fp32"


def test_precisions_beside_the_student_are_found(files: Path) -> None:
    (student,) = students([files], NONE)
    assert student.files == {"fp32": files, "fp16": files.with_name("student.fp16.onnx")}
    assert [one.files for one in students([student.files["fp16"], files], NONE)] == [student.files]


def test_two_files_of_the_same_kind_are_refused(make_student: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DtdaError, match="both tiny in fp32"):
        students([make_student(tmp_path), make_student(tmp_path / "a")], NONE)


def test_without_a_gpu_tensorrt_is_there_with_its_reason(files: Path) -> None:
    (student,) = students([files], NONE)
    found = rows(student, NONE)
    assert [(row.backend.split()[0], row.device, row.precision) for row in found] == [
        ("onnxruntime", "CPU", "fp32"),
        ("onnxruntime", "CPU", "fp16"),
        ("onnxruntime", "GPU", "fp32"),
        ("onnxruntime", "GPU", "fp16"),
        ("TensorRT", "GPU", "fp32"),
    ]
    with pytest.raises(DtdaError, match=r"No NVIDIA driver was found\."):
        found[-1].open()


def test_without_an_engine_the_command_that_builds_one_is_named(files: Path) -> None:
    (student,) = students([files], READY)
    with pytest.raises(DtdaError, match=r"dtda engine build .*student\.onnx"):
        rows(student, READY)[-1].open()


def test_engines_of_the_student_are_rows_and_those_of_others_are_not(
    files: Path, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    own = engine(files)
    engine(make_student(tmp_path, gain=0.5, name="other.onnx"), "other.engine")
    (student,) = students([files], READY)
    found = [row for row in rows(student, READY) if row.backend.startswith("TensorRT")]
    assert [(row.file, row.backend, row.precision, row.device) for row in found] == [
        (own, "TensorRT 11.4.0.106", "fp16", "RTX 4090")
    ]


def test_an_engine_that_cannot_run_is_a_row_with_the_reason(files: Path) -> None:
    engine(files, version="10.16.1.11")
    (student,) = students([files], READY)
    with pytest.raises(DtdaError, match=r"built with TensorRT 10\.16\.1\.11, here is 11\.4\.0\.106"):
        rows(student, READY)[-1].open()


def test_an_engine_of_a_student_that_has_changed_is_a_row_too(
    files: Path, make_student: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = engine(files)
    make_student(tmp_path, gain=0.5)
    monkeypatch.chdir(tmp_path)
    (student,) = students([Path("student.onnx")], READY)
    row = rows(student, READY)[-1]
    assert row.file == path
    with pytest.raises(DtdaError, match="has changed since the engine was built"):
        row.open()


def test_an_engine_named_brings_its_student(files: Path, tmp_path: Path) -> None:
    path = engine(files)
    elsewhere = path.rename(tmp_path / "mine.engine")
    (student,) = students([elsewhere], READY)
    assert student.files["fp32"] == files
    assert [entry.path for entry in student.engines] == [elsewhere]


def test_an_engine_whose_student_is_gone_is_refused(files: Path) -> None:
    path = engine(files)
    files.unlink()
    with pytest.raises(DtdaError, match="is gone"):
        students([path], READY)


def test_the_engine_of_a_detector_is_refused(files: Path) -> None:
    path = engine(files, kind="detector")
    with pytest.raises(DtdaError, match="only students"):
        students([path], READY)


def test_a_file_that_is_no_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    path.write_bytes(b"nonsense")
    with pytest.raises(DtdaError, match="not an engine of this program"):
        students([path], READY)


def test_engines_are_measured_beside_onnxruntime(
    make_student: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines at once on the fake GPU, one of them of another student: it is fast and wrong, and that is seen."""
    rig = install(monkeypatch, tmp_path / "engines")
    monkeypatch.setattr(latency, "TURN_S", 0.004)
    student = make_student(tmp_path)
    wrong = make_student(tmp_path, gain=0.5, name="wrong.onnx")
    write_engine(tmp_path / "right.engine", student, max_batch=2)
    write_engine(tmp_path / "wrong.engine", wrong, onnx_sha256=sha256(student), onnx_path=str(student))
    (found,) = students([student], ready())
    chips = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    figures = {
        (one.row.file.name, one.row.device, one.batch): one
        for one in latency.measure(rows(found, ready()), chips, (1, 3), 0.02)
        if not one.reason
    }
    assert set(figures) == {
        (name, device, batch)
        for name, device in (("student.onnx", "CPU"), ("right.engine", "Fake GPU"), ("wrong.engine", "Fake GPU"))
        for batch in (1, 3)
    }
    assert figures["right.engine", "Fake GPU", 3].max_dp == 0
    assert figures["wrong.engine", "Fake GPU", 3].max_dp > 0.1
    rig.check()
