"""What can run here: students on onnxruntime, engines in the store, and those that cannot, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import surveys

from dtda.app import inventory
from dtda.core.types import EngineInfo
from dtda.engines import plan, store
from dtda.engines.probe import Probe
from dtda.engines.registry import default_student, student_path


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "engines"))


def look(monkeypatch: pytest.MonkeyPatch, probe: Probe = surveys.NO_GPU, *paths: Path) -> inventory.Survey:
    asked: list[bool] = []
    monkeypatch.setattr("dtda.engines.probe.probe", lambda refresh: asked.append(refresh) or probe)
    found = inventory.survey(map(str, paths), refresh=True)
    assert asked == [True]
    return found


def write(path: Path, **changes: Any) -> None:
    """An engine of this program whose plan is no plan."""
    made = plan.write(path, surveys.header(**{"platform": plan.platform_tag(), **changes}), b"plan")
    store.record(made, path)


def test_without_engines_the_shipped_student_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch)
    cpu, cuda, *larger = found.rows
    assert [row.spec for row in larger] == ["student-r18"] * 2
    assert (cpu.spec, cpu.provider, cpu.state, cpu.reason) == ("auto", "cpu", "ready", "")
    assert cpu.path == default_student()
    assert cpu.backend == f"onnxruntime {onnxruntime.__version__}"
    assert (cuda.provider, cuda.state) == ("cuda", "elsewhere")
    assert "onnxruntime-gpu" in cuda.reason


def test_onnxruntime_with_cuda_needs_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert look(monkeypatch, surveys.NO_GPU).rows[1].reason == surveys.NO_GPU.text
    cuda = look(monkeypatch, surveys.READY).rows[1]
    assert (cuda.state, cuda.device) == ("ready", surveys.CARD)


def test_other_students_in_use_are_there_and_what_is_none_is_not(
    monkeypatch: pytest.MonkeyPatch, student: Path, tmp_path: Path
) -> None:
    found = look(monkeypatch, surveys.NO_GPU, student, tmp_path / "gone.onnx")
    assert [row.path for row in found.rows if row.provider == "cpu"] == [
        default_student(),
        student_path("student-r18"),
        student,
    ]
    assert found.row(str(student)).spec == str(student)  # type: ignore[union-attr]


def test_engines_are_ready_stale_or_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    onnx = make_student(tmp_path)
    folder = store.folder()
    facts: dict[str, Any] = {"onnx": onnx, "onnx_sha256": store.plan.sha256(onnx)}
    write(folder / "good.engine", **facts)
    write(folder / "old.engine", **facts, version="10.16.1.11", seconds=1.0)
    (folder / "torn.engine").write_bytes(b"DTDA")
    rows = {row.path.name: row for row in look(monkeypatch, surveys.READY).rows if row.is_engine}
    assert {name: row.state for name, row in rows.items()} == {
        "good.engine": "ready",
        "old.engine": "stale",
        "torn.engine": "stale",
    }
    assert "11.4.0.106" in rows["old.engine"].reason
    assert rows["torn.engine"].header is None
    without = {row.path.name: row for row in look(monkeypatch, surveys.NO_GPU).rows if row.is_engine}
    assert without["good.engine"].state == "elsewhere"
    assert surveys.NO_GPU.text in without["good.engine"].reason


def test_a_changed_student_makes_its_engine_stale(
    monkeypatch: pytest.MonkeyPatch, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    onnx = make_student(tmp_path)
    write(store.folder() / "a.engine", onnx=onnx, onnx_sha256="b" * 64)
    (row,) = [row for row in look(monkeypatch, surveys.READY).rows if row.is_engine]
    assert row.state == "stale"
    assert "has changed" in row.reason


def test_an_engine_elsewhere_is_looked_at_when_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "far.engine"
    plan.write(path, surveys.header(), b"plan")
    row = look(monkeypatch, surveys.READY, path).row(str(path))
    assert row is not None
    assert row.state == "stale"  # not in the ledger
    assert "was not built by this program" in row.reason


def test_the_one_in_use_is_told_by_file_and_provider() -> None:
    cpu = surveys.student(Path("/students/a.onnx"))
    cuda = surveys.student(Path("/students/a.onnx"), "cuda")
    info = EngineInfo("a", "/students/a.onnx", "x", "CPUExecutionProvider", "fp32", 8, 1.5, 0.5, "0" * 64)
    assert (cpu.runs(info), cuda.runs(info), cpu.runs(None)) == (True, False, False)
    assert not cpu.runs(replace(info, path="/students/b.onnx"))
    engine = surveys.engine()
    assert engine.runs(replace(info, path=str(engine.path), provider="RTX 4070 by pycuda"))
