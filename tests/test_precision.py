"""Students in FP16 and INT8: they run on onnxruntime, say what their parent says, and keep their inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dtda.core.errors import DtdaError
from dtda.core.preprocess import crop
from dtda.core.sidecar import Sidecar, read_sidecar, sha256, write_sidecar
from dtda.core.types import Image
from dtda.engines import ort, parity, precision
from dtda.engines.precision import Converted
from dtda.engines.registry import default_student

POINTS = np.array([[257, 128], [311, 131], [282, 155], [257, 178], [302, 181]], np.float32)  # of `portrait`'s face


@pytest.fixture(scope="module")
def parent() -> Path:
    return default_student()


@pytest.fixture(scope="module")
def sidecar(parent: Path) -> Sidecar:
    return read_sidecar(parent)


@pytest.fixture(scope="module")
def model(parent: Path) -> onnx.ModelProto:
    return precision.load(parent)


@pytest.fixture(scope="module")
def chips(portrait: Image, sidecar: Sidecar) -> Image:
    """One person in twelve places and sizes."""
    found = []
    for number in range(12):
        points = (POINTS - POINTS.mean(0)) * (0.8 + 0.04 * number) + POINTS.mean(0) + 3 * number
        found.append(crop(portrait, points.astype(np.float32), sidecar.rule))
    return np.stack(found)


@pytest.fixture(scope="module")
def fp16(parent: Path, sidecar: Sidecar, chips: Image) -> Converted:
    return precision.convert(parent, sidecar, "fp16", chips)


@pytest.fixture(scope="module")
def int8(parent: Path, sidecar: Sidecar, chips: Image) -> Converted:
    return precision.convert(parent, sidecar, "int8", chips)


def types(model: onnx.ModelProto) -> dict[str, int]:
    return {node.name: node.type.tensor_type.elem_type for node in [*model.graph.input, *model.graph.output]}


@pytest.mark.parametrize("made", ["fp16", "int8"])
def test_it_is_a_student_that_onnxruntime_runs(
    made: str, request: pytest.FixtureRequest, sidecar: Sidecar, chips: Image, parent: Path, tmp_path: Path
) -> None:
    converted: Converted = request.getfixturevalue(made)
    path = tmp_path / f"student.{made}.onnx"
    precision.save(path, converted, sidecar)
    engine, reference = ort.open_engine(path), ort.open_engine(parent)
    assert engine.info.precision == made
    assert engine.info.threshold == reference.info.threshold
    assert engine.info.sha256 == sha256(path)
    assert any("Converted to" in note and sidecar.sha256[:12] in note for note in engine.info.notes)
    difference = np.abs(engine.infer(chips) - reference.infer(chips))
    assert difference.max() <= parity.LIMITS[made]
    assert difference.max() > 0  # it is another student
    onnx.checker.check_model(onnx.load(path), full_check=True)


@pytest.mark.parametrize("made", ["fp16", "int8"])
def test_inputs_and_outputs_stay(made: str, request: pytest.FixtureRequest, model: onnx.ModelProto) -> None:
    converted: Converted = request.getfixturevalue(made)
    assert types(converted.model) == types(model) == {"image": onnx.TensorProto.UINT8, "p_live": onnx.TensorProto.FLOAT}


def test_fp16_halves_the_file_and_every_convolution(fp16: Converted, model: onnx.ModelProto) -> None:
    assert fp16.kept == ()
    assert len(fp16.model.SerializeToString()) < 0.6 * len(model.SerializeToString())
    assert len(precision.half_nodes(fp16.model)) == sum(
        node.op_type in precision.QUANTISED for node in model.graph.node
    )
    assert precision.half_nodes(model) == []


def test_nodes_can_be_kept_in_fp32(parent: Path, sidecar: Sidecar, chips: Image, model: onnx.ModelProto) -> None:
    grouped = precision.grouped(model)
    assert len(grouped) == 45  # the depthwise convolutions of two MiniFASNets and of an EfficientNet-Lite0
    made = precision.convert(parent, sidecar, "fp16", chips, keep=grouped)
    assert made.kept == tuple(sorted(grouped))
    onnx.checker.check_model(made.model, full_check=True)
    assert not set(precision.half_nodes(made.model)) & set(grouped)
    assert precision.half_nodes(made.model)
    assert made.parity is not None
    assert made.parity.passed


def test_int8_is_in_the_form_nvidias_parser_accepts(int8: Converted) -> None:
    """Symmetric: all zero points 0. Signed. Weights per channel. No bias is quantised."""
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in int8.model.graph.initializer}
    pairs = [node for node in int8.model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 30
    per_channel = 0
    for node in pairs:
        zero = weights[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        per_channel += weights[node.input[1]].ndim == 1 and weights[node.input[1]].size > 1
    assert per_channel > 20
    assert not any(array.dtype == np.int32 for array in weights.values())


def test_int8_keeps_what_is_sensitive_and_says_on_how_many_faces_it_was_calibrated(
    int8: Converted, model: onnx.ModelProto, chips: Image
) -> None:
    pooled = [node.name for node in model.graph.node if node.op_type == "Gemm"]
    assert set(pooled) <= set(int8.kept)
    assert len(int8.kept) >= 19  # two of each of the nine squeeze-and-excitations, and the classifier
    assert f"{len(chips)} face crops" in int8.notes[0]
    assert f"{len(int8.kept)} nodes" in int8.notes[0]


@pytest.mark.slow
def test_more_nodes_stay_in_fp32_while_the_limits_are_not_met(
    parent: Path, sidecar: Sidecar, chips: Image, int8: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert int8.parity is not None
    monkeypatch.setitem(parity.LIMITS, "int8", 2 * 0.85 * int8.parity.max_dp)  # half of a limit may be used
    monkeypatch.setattr(precision, "FIRST", (3, 60))  # 60: all convolutions
    steps: list[float] = []
    stricter = precision.convert(parent, sidecar, "int8", chips, step=steps.append)
    assert set(int8.kept) < set(stricter.kept)
    assert stricter.parity is not None
    assert stricter.parity.max_dp < int8.parity.max_dp
    assert steps == sorted(steps)


@pytest.mark.slow
def test_a_branch_stays_where_no_depth_suffices(
    parent: Path,
    model: onnx.ModelProto,
    sidecar: Sidecar,
    chips: Image,
    int8: Converted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    branches = precision._branches(model)
    assert len(branches) == 3  # two MiniFASNets and an EfficientNet-Lite0
    assert not any(one & other for one in branches for other in branches if one is not other)
    assert not any(branch <= set(int8.kept) for branch in branches)  # the student that ships needs none
    assert int8.parity is not None
    monkeypatch.setitem(parity.LIMITS, "int8", 2 * 0.85 * int8.parity.max_dp)  # half of a limit may be used
    monkeypatch.setattr(precision, "FIRST", (0, 3))
    stricter = precision.convert(parent, sidecar, "int8", chips)
    whole = [branch for branch in branches if branch <= set(stricter.kept)]
    assert 0 < len(whole) < len(branches)
    depths = precision._depths(model)
    rest = set(stricter.kept) - frozenset().union(*whole) - precision._after_pooling(model)
    assert {depths[name] for name in rest} == set(range(precision.BESIDE_A_BRANCH))
    assert stricter.parity is not None
    assert stricter.parity.max_dp < int8.parity.max_dp


def test_a_conversion_that_does_not_say_the_same_is_refused(
    parent: Path, sidecar: Sidecar, chips: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp16", 1e-9)
    with pytest.raises(DtdaError, match=r"in FP16 it is outside of the limits.*use fp32"):
        precision.convert(parent, sidecar, "fp16", chips)


def test_a_calibration_can_be_stopped(parent: Path, sidecar: Sidecar, chips: Image) -> None:
    def stop(part: float) -> None:
        if part > 0.1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        precision.convert(parent, sidecar, "int8", chips, step=stop)


def test_what_is_kept_in_fp32_needs_no_calibration_of_its_own(
    model: onnx.ModelProto, chips: Image, tmp_path: Path
) -> None:
    ranges, steps = tmp_path / "ranges.json", []
    precision.quantised(model, chips[:2], ranges, step=steps.append)
    assert steps == [0.5, 1]
    keep = precision.grouped(model)
    again = precision.quantised(model, chips[:2], ranges, keep, step=steps.append)
    assert steps == [0.5, 1]
    assert again == precision.quantised(model, chips[:2], tmp_path / "anew.json", keep)


def test_converted_students_are_not_converted_again(
    fp16: Converted, sidecar: Sidecar, chips: Image, tmp_path: Path
) -> None:
    path = tmp_path / "student.onnx"
    saved = precision.save(path, fp16, sidecar)
    with pytest.raises(DtdaError, match="fp16 already"):
        precision.convert(path, saved, "int8", chips)


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    for data in (b"", b"garbage" * 100):
        path.write_bytes(data)
        with pytest.raises(DtdaError, match="not a usable ONNX file") as caught:
            precision.load(path)
        assert "\n" not in str(caught.value)


def test_a_student_without_convolutions_is_refused_in_fp16(make_student: Callable[..., Path], tmp_path: Path) -> None:
    path = make_student(tmp_path)
    chips = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(DtdaError, match="no convolution"):
        precision.convert(path, read_sidecar(path), "fp16", chips)


def test_a_cue_map_stays_float32(tmp_path: Path) -> None:
    path = cue_student(tmp_path)
    chips = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    made = precision.convert(path, read_sidecar(path), "fp16", chips)
    assert types(made.model)["cue_map"] == onnx.TensorProto.FLOAT
    precision.save(tmp_path / "half.onnx", made, read_sidecar(path))
    assert ort.open_engine(tmp_path / "half.onnx").infer(chips).shape == (4,)


def cue_student(folder: Path) -> Path:
    """A student of one convolution with a cue map."""
    rng = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(rng.normal(0, 0.002, (1, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["x"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Sigmoid", ["y"], ["cue_map"]),
        onnx.helper.make_node("ReduceMean", ["cue_map"], ["p_live"], axes=[1, 2, 3], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "cues",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["N", 3, 32, 32])],
        [
            onnx.helper.make_tensor_value_info("p_live", onnx.TensorProto.FLOAT, ["N"]),
            onnx.helper.make_tensor_value_info("cue_map", onnx.TensorProto.FLOAT, ["N", 1, 32, 32]),
        ],
        [weights],
    )
    path = folder / "cues.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    shipped = read_sidecar(default_student())
    write_sidecar(path, shipped.model_copy(update={"sha256": sha256(path), "size": 32}))
    return path


def test_it_is_compared_on_other_variations_than_it_is_calibrated_on(
    parent: Path, sidecar: Sidecar, chips: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, Image] = {}

    def quantised(model: onnx.ModelProto, calibration: Image, *_: object) -> onnx.ModelProto:
        shown["calibration"] = calibration
        return model

    def judged(made: onnx.ModelProto, test: Image, *_: object) -> parity.Parity:
        shown["test"] = test
        return parity.judge(np.ones(1), np.ones(1), 0.5, 1, "none")

    monkeypatch.setattr(precision, "quantised", quantised)
    monkeypatch.setattr(precision, "_judge", judged)
    precision.convert(parent, sidecar, "int8", chips[:4])
    calibration, test = ({chip.tobytes() for chip in pictures} for pictures in shown.values())
    own = {chip.tobytes() for chip in chips[:4]}
    assert calibration & test == own
    assert len(calibration) == len(test) == len(own) * (1 + parity.VARIATIONS)


def test_depth_is_counted_along_each_branch() -> None:
    def conv(name: str, source: str) -> onnx.NodeProto:
        return onnx.helper.make_node("Conv", [source, "w"], [f"{name}_"], name)

    nodes = [
        conv("a1", "image"),
        conv("a2", "a1_"),
        conv("b1", "image"),
        onnx.helper.make_node("Relu", ["b1_"], ["b"]),
        onnx.helper.make_node("Add", ["a2_", "b"], ["both"]),
        conv("c", "both"),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "branches", [], []))
    assert precision._depths(model) == {"a1": 0, "a2": 1, "b1": 0, "c": 2}
