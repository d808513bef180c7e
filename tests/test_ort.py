from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from dtda.core.errors import DtdaError
from dtda.core.sidecar import read_sidecar, sha256, sidecar_path, write_sidecar
from dtda.engines import ort
from dtda.engines.ort import open_engine


def test_infer_scores_each_chip(student: Path) -> None:
    engine = open_engine(student)
    chips = np.zeros((3, 64, 64, 3), np.uint8)
    chips[1] = 51
    chips[2, :, :, 0] = 255
    p_live = engine.infer(chips)
    assert p_live.dtype == np.float32
    np.testing.assert_allclose(p_live, [0, 0.2, 1 / 3], atol=1e-6)
    kept = p_live.copy()
    engine.infer(chips[::-1])
    np.testing.assert_array_equal(p_live, kept)


def test_empty_batch(student: Path) -> None:
    p_live = open_engine(student).infer(np.empty((0, 64, 64, 3), np.uint8))
    assert p_live.shape == (0,)
    assert p_live.dtype == np.float32


def test_info_tells_what_runs(student: Path) -> None:
    info = open_engine(student).info
    assert (info.provider, info.size, info.margin, info.threshold) == ("CPUExecutionProvider", 64, 1.5, 0.5)
    assert (info.name, info.path, info.precision, info.max_batch) == ("tiny", str(student), "fp32", None)
    assert info.sha256 == sha256(student)


@pytest.mark.parametrize(
    "chips",
    [
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
    ],
)
def test_misuse_is_a_value_error(student: Path, chips: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        open_engine(student).infer(chips)


def test_close_twice_and_then_refuse(student: Path) -> None:
    engine = open_engine(student)
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.infer(np.zeros((1, 64, 64, 3), np.uint8))


def test_missing_and_mismatched_files_are_refused(make_student: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DtdaError, match="no such model"):
        open_engine(tmp_path / "gone.onnx")
    alone = make_student(tmp_path, name="alone.onnx", sidecar=False)
    with pytest.raises(DtdaError, match="sidecar"):
        open_engine(alone)
    changed = make_student(tmp_path, name="changed.onnx")
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(DtdaError, match="sha256 differs"):
        open_engine(changed)


def test_corrupt_onnx_with_a_matching_sidecar_is_refused(make_student: Callable[..., Path], tmp_path: Path) -> None:
    model = make_student(tmp_path)
    sidecar = read_sidecar(model)
    model.write_bytes(b"not a protobuf" * 50)
    write_sidecar(model, sidecar.model_copy(update={"sha256": sha256(model)}))
    with pytest.raises(DtdaError, match="not a usable ONNX file") as caught:
        open_engine(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "logit"}, "output is logit, not p_live"),
        ({"dtype": TensorProto.FLOAT}, r"tensor\(float\), not tensor\(uint8\)"),
        ({"channels": 1}, "shape"),
    ],
)
def test_other_graphs_are_refused(
    make_student: Callable[..., Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(DtdaError, match=message):
        open_engine(make_student(tmp_path, **change))


def test_sidecar_of_another_size_is_refused(make_student: Callable[..., Path], tmp_path: Path) -> None:
    model = make_student(tmp_path)
    path = sidecar_path(model)
    path.write_text(path.read_text().replace('"size": 64', '"size": 80'))
    with pytest.raises(DtdaError, match=r"shape.*80"):
        open_engine(model)


def test_values_that_are_no_probabilities_are_refused(make_student: Callable[..., Path], tmp_path: Path) -> None:
    model = make_student(tmp_path, gain=2.0)
    engine = open_engine(model)
    with pytest.raises(DtdaError, match="sigmoid"):
        engine.infer(np.full((1, 64, 64, 3), 255, np.uint8))


def test_cuda_is_refused_where_it_is_not_available(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DtdaError, match="pip install"):
        open_engine(student, "cuda")


def test_a_silent_fallback_to_the_cpu_is_refused(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = onnxruntime.InferenceSession

    def fall_back(path: str, options: object, providers: list[str]) -> onnxruntime.InferenceSession:
        assert providers == ["CUDAExecutionProvider"]
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(ort.onnxruntime, "InferenceSession", fall_back)
    with pytest.raises(DtdaError, match="cannot use CUDA"):
        open_engine(student, "cuda")


def test_unknown_provider(student: Path) -> None:
    with pytest.raises(DtdaError, match="not a provider"):
        open_engine(student, "tpu")


def test_onnxruntime_leaves_no_device_id_behind(student: Path, tmp_path: Path) -> None:
    """It keeps one below the cache folder, for its telemetry, unless that is off."""
    code = f"from dtda.engines.registry import open_engine; open_engine({str(student)!r})"
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "USERPROFILE", "LOCALAPPDATA"), str(tmp_path))
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean | places)
    assert list(tmp_path.rglob("*")) == []
