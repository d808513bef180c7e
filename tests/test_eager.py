from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dtda.core.errors import DtdaError
from dtda.core.models import eager
from dtda.core.models.student import build_student
from dtda.core.training.checkpoint import save
from dtda.core.types import Image
from dtda.engines.ort import open_engine


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chips() -> Image:
    return np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)


def test_it_says_what_onnxruntime_says(student: Path, chips: Image) -> None:
    runner = eager.TorchStudent(eager.from_onnx(student), "cpu", 1, compiled=False)
    engine = open_engine(student)
    for batch in (chips, chips[:1]):
        found = runner.infer(batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, engine.infer(batch), atol=1e-6)
    runner.close()
    with pytest.raises(ValueError, match="closed"):
        runner.infer(chips)


@pytest.mark.slow
def test_compiled_too(student: Path, chips: Image) -> None:
    runner = eager.TorchStudent(eager.from_onnx(student), "cpu", 1, compiled=True)
    np.testing.assert_allclose(runner.infer(chips), open_engine(student).infer(chips), atol=1e-6)
    runner.close()


@pytest.mark.slow
def test_a_student_is_compiled_in_one_piece() -> None:
    from dtda.engines.registry import default_student

    module = eager.from_onnx(default_student())
    pictures = torch.zeros(2, 3, 240, 240, dtype=torch.uint8)
    assert torch._dynamo.explain(module)(pictures).graph_break_count == 0
    torch.compiler.reset()


def test_without_a_compiler_it_says_so(student: Path, chips: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/no/such/compiler"))
    runner = eager.TorchStudent(eager.from_onnx(student), "cpu", 1, compiled=True)
    with pytest.raises(
        DtdaError, match=r"^torch.compile cannot compile it \(.*compiler.*\); it needs a C\+\+ compiler"
    ):
        runner.infer(chips)
    runner.close()


def test_without_a_gpu_it_says_so(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DtdaError, match="sees no CUDA GPU"):
        eager.TorchStudent(eager.from_onnx(student), "cuda", 1, compiled=False)


def test_what_torch_raises_is_one_sentence(chips: Image) -> None:
    runner = eager.TorchStudent(torch.nn.Linear(3, 1), "cpu", 1, compiled=False)
    with pytest.raises(DtdaError, match=r"^torch [\d.+cpu]+ cannot run it \(.+\)\.$"):
        runner.infer(chips)


def test_a_checkpoint_is_run_with_its_averaged_weights(tmp_path: Path, chips: Image) -> None:
    from dtda.core.training.config import TrainConfig

    torch.manual_seed(0)
    weights, averaged = build_student("mobile"), build_student("mobile").eval()
    config = TrainConfig.model_validate({"name": "x", "data": {"manifests": ["m.csv"], "size": 64}})
    path = tmp_path / "last.ckpt"
    save(
        path, {"config": config.model_dump(mode="json"), "student": weights.state_dict(), "ema": averaged.state_dict()}
    )
    found = eager.TorchStudent(eager.from_checkpoint(path, 64), "cpu", 1, compiled=False).infer(chips)
    with torch.no_grad():
        planes = torch.from_numpy(np.ascontiguousarray(chips.transpose(0, 3, 1, 2))).float() / 255
        np.testing.assert_allclose(found, torch.sigmoid(averaged(planes)).numpy(), atol=1e-5)
    with pytest.raises(DtdaError, match="takes chips of 64 px, the student beside it 128"):
        eager.from_checkpoint(path, 128)
