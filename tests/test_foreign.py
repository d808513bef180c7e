"""Networks from elsewhere as engines: each on its own crop of the frame, as its description says; wrong ones are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from scipy.special import softmax

from dtda.app import inventory
from dtda.app.cli import main
from dtda.app.hosted import HostedEngine
from dtda.app.pipeline import Pipeline
from dtda.core.errors import DtdaError
from dtda.core.foreign import Foreign, Network
from dtda.core.preprocess import CropRule, rules, upright_box
from dtda.core.types import Floats, Frame, Image
from dtda.engines.detect import open_detector
from dtda.engines.parents import open_parent
from dtda.engines.registry import open_engine

GRID = 4  # the networks here see that many averages a side: where things are, and of what colour
WEIGHTS = np.random.default_rng(3).normal(0, 0.02, (3 * GRID * GRID, 3)).astype(np.float32)
PAIR = (
    {"margin": 2.7, "size": 24, "order": "bgr", "std": 1.0},
    {"margin": 4.0, "size": 16, "order": "rgb", "mean": [120.0, 110.0, 100.0], "std": [1.0, 2.0, 3.0]},
)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(*networks, **description) -> path of the description. The weights are WEIGHTS, the output three logits.

    Of a network, batch, kind and last are of its graph: faces at once, type of the input, whether colours come last.
    """

    def write(*networks: dict[str, Any], **changes: Any) -> Path:
        parts = []
        for number, network in enumerate(networks or PAIR):
            part: dict[str, Any] = dict(network)
            batch, kind, last = (
                part.pop("batch", 1),
                part.pop("kind", TensorProto.FLOAT),
                part.pop("last", False),
            )
            _save(tmp_path / f"{number}.onnx", part["size"], batch, kind, last)
            parts.append({"file": f"{number}.onnx", **part})
        described = {"name": "elsewhere", "networks": parts, "classes": 3, "live": 1, "licence": "MIT", **changes}
        path = tmp_path / "network.json"
        path.write_text(json.dumps(described))
        return path

    return write


def _save(path: Path, size: int, batch: int | str, kind: int, last: bool) -> None:
    step = size // GRID
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2] if last else [0, 1, 2, 3]),
        helper.make_node("AveragePool", ["planes"], ["grid"], kernel_shape=[step, step], strides=[step, step]),
        helper.make_node("Flatten", ["grid"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["classes"]),
    ]
    shape = [batch, size, size, 3] if last else [batch, 3, size, size]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("classes", kind, [batch, 3])],
        [numpy_helper.from_array(WEIGHTS.astype(dtype), "weights")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def by_hand(bgr: Image, points: Floats) -> float:
    """P(live) of PAIR as Silent-Face's own program would find it: cut at whole pixels, then cv2.resize."""
    scores = []
    for network in PAIR:
        x1, y1, x2, y2 = upright_box(points)
        height, width = bgr.shape[:2]
        scale = min(float(str(network["margin"])), width / (x2 - x1), height / (y2 - y1))
        half = scale * np.array([x2 - x1, y2 - y1]) / 2
        centre = np.clip([(x1 + x2) / 2, (y1 + y2) / 2], half, [width, height] - half)
        (left, top), (right, bottom) = (np.round(centre + sign * half).astype(int) for sign in (-1, 1))
        size = int(str(network["size"]))
        chip = cv2.resize(bgr[top:bottom, left:right], (size, size)).astype(np.float32)
        chip = chip if network["order"] == "bgr" else chip[:, :, ::-1]
        chip = (chip - np.array(network.get("mean", 0.0))) / np.array(network["std"])
        step = size // GRID
        pooled = chip.reshape(GRID, step, GRID, step, 3).mean((1, 3))
        scores.append(softmax(pooled.transpose(2, 0, 1).ravel() @ WEIGHTS)[1])
    return float(np.mean(scores))


def test_the_pipeline_scores_as_by_hand(make: Make, astronaut: Image) -> None:
    pipeline = Pipeline(open_detector("centerface"), open_engine(make()))
    seen = pipeline.process(Frame(0, 0.0, astronaut))
    (face,), (verdict,) = seen.aligned, seen.verdicts
    expected = by_hand(astronaut, face.face.points)
    assert 0.05 < expected < 0.95
    assert verdict.p_frame == pytest.approx(expected, abs=0.01)
    assert face.chip is not None
    assert face.chip.shape == (24, 24, 3)
    # What a wrong colour order or one crop for both would give is further off than that.
    engine = pipeline.engine
    swapped = [np.ascontiguousarray(batch[..., ::-1]) for batch in pipeline._chips(astronaut, seen.aligned)]
    assert abs(float(engine.infer(*swapped)[0]) - expected) > 0.03
    inner = cv2.resize(face.chip, (16, 16))
    assert abs(float(engine.infer(face.chip[None], inner[None])[0]) - expected) > 0.03
    pipeline.close()


def test_a_hosted_engine_takes_all_its_crops(make: Make) -> None:
    import threading

    there = threading.Event()
    description = make()
    hosted = HostedEngine(lambda: open_engine(description), lambda _: there.set())
    assert there.wait(10)
    chips = [np.full((2, rule.size, rule.size, 3), 90, np.uint8) for rule in rules(hosted.info)]
    with_it = open_engine(description)
    np.testing.assert_array_equal(hosted.infer(*chips), with_it.infer(*chips))
    hosted.close()
    with_it.close()
    with pytest.raises(ValueError, match="closed"):
        with_it.infer(*chips)


@pytest.mark.parametrize("variant", [{"batch": "N"}, {"last": True}, {"kind": TensorProto.FLOAT16}])
def test_graphs_of_other_shapes_give_the_same(make: Make, variant: dict[str, Any]) -> None:
    network = {"margin": 2.0, "size": 24}
    chips = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)
    expected = open_engine(make(network)).infer(chips)
    assert expected.shape == (5,)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(open_engine(make({**network, **variant})).infer(chips), expected, atol=2e-3)


def test_the_live_class_and_the_output_are_as_described(make: Make) -> None:
    network = {"margin": 2.0, "size": 24, "std": 1.0}
    chips = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    shares = [open_engine(make(network, live=live)).infer(chips) for live in range(3)]
    np.testing.assert_allclose(np.sum(shares, 0), 1, atol=1e-5)
    assert open_engine(make(network)).infer(chips[:0]).shape == (0,)


def test_what_is_known_of_it_is_shown(make: Make) -> None:
    info = open_engine(make(threshold=0.7, threshold_rule="BPCER 1 % on my camera", source="someone/else")).info
    assert info.threshold == 0.7
    text = "\n".join(info.notes)
    for words in ("someone/else", "licence: MIT", "BPCER 1 % on my camera", "mean of 2 networks", "upright 4, 16 px"):
        assert words in text
    assert open_engine(make(threshold=0.6)).info.sha256 != info.sha256  # another threshold is another student


@pytest.mark.parametrize(
    ("network", "changes", "words"),
    [
        ({"size": 32, "of": 24}, {}, "not 3 x 32 x 32; correct `size`"),
        ({"batch": 4}, {}, "takes 4 faces at once"),
        ({"kind": TensorProto.UINT8}, {}, "only float and float16"),
        ({"output": "logits"}, {}, "has the outputs classes; name one"),
        ({}, {"classes": 2}, "gives 3 values for a face, not the 2 of `classes`"),
        ({"std": [1.0, 0.0, 1.0]}, {}, "std.*greater than 0"),
        ({"mean": -500.0, "std": 1.0}, {"activation": "none"}, r"outside \[0, 1\]; set `activation`"),
    ],
)
def test_descriptions_that_do_not_fit_are_one_sentence(
    make: Make, tmp_path: Path, network: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    of = network.pop("of", None)
    if network.get("kind") == TensorProto.UINT8:
        path = make({"margin": 2.0, "size": 24}, **changes)
        _cast(tmp_path / "0.onnx")
    else:
        path = make({"margin": 2.0, "size": 24, **network}, **changes)
    if of:
        _save(tmp_path / "0.onnx", of, 1, TensorProto.FLOAT, False)
    with pytest.raises(DtdaError, match=words) as caught:
        open_engine(path)
    assert "\n" not in str(caught.value)


def _cast(path: Path) -> None:
    """A network of uint8."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 24, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 24, 24])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_a_sidecar_and_a_damaged_network_are_named(make: Make, student: Path, tmp_path: Path) -> None:
    with pytest.raises(DtdaError, match=r"sidecar of a student; name .*student\.onnx instead"):
        open_engine(student.with_name("student.onnx.json"))
    path = make()
    (tmp_path / "1.onnx").write_bytes(b"no network")
    with pytest.raises(DtdaError, match=r"1\.onnx is not a usable ONNX file"):
        open_engine(path)


@pytest.mark.parametrize("command", [["engine", "bench"], ["engine", "convert", "--precision", "fp16"]])
def test_tensorrt_and_conversions_are_for_students(
    make: Make, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(make())]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "networks from elsewhere" in line
    with pytest.raises(DtdaError, match="run on onnxruntime only; engines are built from students"):
        open_parent(str(make()), 8)


def test_the_engine_menu_offers_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import surveys

    path = make()
    monkeypatch.setattr("dtda.engines.probe.probe", lambda refresh: surveys.NO_GPU)
    row = inventory.survey([str(path)]).row(str(path))
    assert row is not None
    assert (row.spec, row.student, row.state, row.is_engine) == (str(path), "elsewhere", "ready", False)
    assert row.runs(open_engine(path).info)
    assert "·  ·" not in row.title


def test_the_commands_take_it(make: Make, astronaut: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), astronaut)
    assert main(["score", str(picture), "--engine", str(make())]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split(",")[4]) == pytest.approx(
        by_hand(astronaut, open_detector("centerface").detect(astronaut)[0].points), abs=0.01
    )
    out = tmp_path / "score.json"
    assert main(["score", str(picture), "--engine", str(make()), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["engine"]["further"] == [{"size": 16, "margin": 4.0, "kind": "upright"}]


def test_the_example_of_the_documentation_is_a_description() -> None:
    text = (Path(__file__).parent.parent / "docs" / "third-party.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    described = Foreign.model_validate_json(example)
    assert [part.rule for part in described.networks] == [CropRule(80, 2.7, "upright"), CropRule(80, 4.0, "upright")]
    fields = {*Foreign.model_fields, *Network.model_fields} - {"format"}
    assert all(f"`{name}`" in text for name in fields)
