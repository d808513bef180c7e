from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtda.core.errors import DtdaError
from dtda.core.sidecar import read_sidecar
from dtda.engines import registry
from dtda.engines.registry import open_engine


def test_suffix_chooses_the_backend(student: Path) -> None:
    engine = open_engine(student)
    assert engine.info.backend.startswith("onnxruntime")
    assert open_engine(str(student), "cpu").info.sha256 == engine.info.sha256


@pytest.mark.parametrize("name", ["student.trt", "student.pt", "student"])
def test_unknown_suffix_is_refused(name: str) -> None:
    with pytest.raises(DtdaError, match="not a kind of engine"):
        open_engine(name)


def test_shipped_students_have_names(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.resources, "files", lambda package: {"dtda.assets": student.parent}[package])
    monkeypatch.setattr(registry, "SHIPPED", (student.stem, "gone"))
    assert open_engine("auto").info.path == open_engine(student.stem).info.path == str(student)
    with pytest.raises(DtdaError, match=r"gone\.onnx: a student that is shipped is missing"):
        open_engine("gone")


@pytest.mark.parametrize("name", registry.SHIPPED)
def test_what_is_shipped_runs_and_has_a_card(name: str) -> None:
    path = registry.student_path(name)
    assert open_engine(name).info.name == name
    assert set(registry.working_points(path)) == {"default", "bpcer_1", "bpcer_5"}
    assert path.stat().st_size < {"student-mobile": 8e6, "student-r18": 24e6}[name]
    sidecar, card = read_sidecar(path), path.with_suffix(".md").read_text("utf-8")
    assert sidecar.git_revision in card
    for point, threshold in sidecar.thresholds.items():
        assert f"| `{point}` | {threshold.value:.3f} |" in card
    assert not re.search(r"^(LATENCY|KNOWN)$|-->\n<!--", card, re.M), "the card has a place that was not filled in"


def test_backends_are_imported_late() -> None:
    code = "import sys, dtda.engines.registry; print('onnxruntime' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_working_points_come_with_a_student_and_with_its_engine(student: Path, tmp_path: Path) -> None:
    import surveys

    from dtda.engines import plan

    sidecar = read_sidecar(student)
    engine = tmp_path / "tiny.engine"
    plan.write(engine, surveys.header(platform=plan.platform_tag(), sidecar=sidecar), b"plan")
    for path in (student, engine):
        assert registry.working_points(path) == sidecar.thresholds


def test_the_working_point_of_a_network_from_elsewhere_is_its_description_s(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    networks = '[{"file": "a.onnx", "margin": 2, "size": 80}]'
    text = f'{{"name": "a", "networks": {networks}, "threshold": 0.3, "threshold_rule": "EER"}}'
    (tmp_path / "network.json").write_text(text)
    (found,) = registry.working_points(tmp_path / "network.json").values()
    assert (found.value, found.rule) == (0.3, "EER")
