from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dtda.core.errors import DtdaError
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


def test_auto_is_the_shipped_student(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.resources, "files", lambda package: {"dtda.assets": student.parent}[package])
    monkeypatch.setattr(registry, "DEFAULT_STUDENT", student.name)
    assert open_engine("auto").info.path == str(student)
    monkeypatch.setattr(registry, "DEFAULT_STUDENT", "gone.onnx")
    with pytest.raises(DtdaError, match="default student is missing"):
        open_engine("auto")


def test_backends_are_imported_late() -> None:
    code = "import sys, dtda.engines.registry; print('onnxruntime' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
