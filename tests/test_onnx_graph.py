from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from dtda.core.errors import DtdaError
from dtda.core.export import Deployed, _write
from dtda.core.models.onnx_graph import read_module
from dtda.core.models.student import STUDENTS, build_student
from dtda.engines.precision import half
from dtda.engines.registry import default_student


def difference(path: Path, size: int, batch: int = 3) -> float:
    pictures = np.random.default_rng(0).integers(0, 255, (batch, 3, size, size), dtype=np.uint8)
    wanted = onnxruntime.InferenceSession(str(path)).run(["p_live"], {"image": pictures})[0]
    with torch.no_grad():
        found = read_module(path)(torch.from_numpy(pictures)).numpy()
    assert found.shape == wanted.shape == (batch,)
    assert found.dtype == np.float32
    return float(np.abs(found - wanted).max())


def test_the_shipped_student_says_the_same() -> None:
    assert difference(default_student(), 240) < 1e-5
    assert difference(default_student(), 240, batch=1) < 1e-5


def test_in_fp16_too(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    onnx.save(half(onnx.load(default_student())), path)
    assert difference(path, 240) < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_every_student_as_it_is_exported_now(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, size = tmp_path / "student.onnx", 160 if "-" in name else 64  # a multiple of 80 is pooled
    _write(Deployed(build_student(name, cue_map=name == "resnet18")).eval(), size, path)
    assert difference(path, size) < 1e-5


def one_node(path: Path, op: str, inputs: list[str], constants: list[onnx.TensorProto], **attributes: object) -> Path:
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node(op, ["x", *inputs], ["y"], **attributes),
        helper.make_node("ReduceMean", ["y", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["p_live"]),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 9, 9])],
        [helper.make_tensor_value_info("p_live", TensorProto.FLOAT, ["N"])], [axes, *constants],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


WEIGHT = helper.make_tensor(
    "w", TensorProto.FLOAT, [6, 1, 3, 3], (np.random.default_rng(1).normal(size=54) / 300).tolist()
)


@pytest.mark.parametrize("attributes", [
    {"pads": [1, 0, 2, 3]},
    {"pads": [1, 2, 1, 2], "strides": [2, 1]},
    {"dilations": [2, 2]},
])  # fmt: skip
def test_convolutions(attributes: dict[str, list[int]], tmp_path: Path) -> None:
    path = one_node(tmp_path / "conv.onnx", "Conv", ["w"], [WEIGHT], group=3, kernel_shape=[3, 3], **attributes)
    assert difference(path, 9) < 1e-5


@pytest.mark.parametrize(
    "attributes", [{"pads": [0, 1, 1, 0]}, {"pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": 1}]
)
def test_pools(attributes: dict[str, list[int]], tmp_path: Path) -> None:
    path = one_node(tmp_path / "pool.onnx", "MaxPool", [], [], kernel_shape=[3, 3], **attributes)
    assert difference(path, 9) < 1e-5


@pytest.mark.parametrize(("shape", "attributes"), [([0, -1, 9, 9], {}), ([-1, 3, 81, 1], {"allowzero": 1})])
def test_reshapes(shape: list[int], attributes: dict[str, int], tmp_path: Path) -> None:
    constant = helper.make_tensor("shape", TensorProto.INT64, [4], shape)
    path = one_node(tmp_path / "reshape.onnx", "Reshape", ["shape"], [constant], **attributes)
    assert difference(path, 9) < 1e-5


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), [
    ([-1], [-(2**63)], [1], [-1]),
    ([1, -4], [2**63 - 1, -1], [2, -1], [2, 1]),
    ([7], [1], [3], [-2]),
])  # fmt: skip
def test_slices(starts: list[int], ends: list[int], axes: list[int], steps: list[int], tmp_path: Path) -> None:
    names = ["starts", "ends", "places", "steps"]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)
        for name, numbers in zip(names, (starts, ends, axes, steps), strict=True)
    ]
    assert difference(one_node(tmp_path / "slice.onnx", "Slice", names, constants), 9) < 1e-5


@pytest.mark.parametrize("attributes", [{}, {"alpha": 1 / 6}, {"alpha": 0.01, "beta": 0.1}])
def test_hard_sigmoids(attributes: dict[str, float], tmp_path: Path) -> None:
    assert difference(one_node(tmp_path / "hard.onnx", "HardSigmoid", [], [], **attributes), 9) < 1e-5


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(DtdaError, match="operator Erf"):
        read_module(one_node(tmp_path / "erf.onnx", "Erf", [], []))
    path = one_node(
        tmp_path / "auto.onnx", "Conv", ["w"], [WEIGHT], group=3, kernel_shape=[3, 3], auto_pad="SAME_UPPER"
    )
    with pytest.raises(DtdaError, match="explicit padding"):
        read_module(path)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(DtdaError, match="not a readable ONNX file"):
        read_module(path)


def test_the_tiny_student_of_an_older_opset(student: Path) -> None:
    assert difference(student, 64) < 1e-5
