"""Anti-spoofing networks from elsewhere as teachers: their own crop of the chip, colours, range and classes."""

import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, save

from dtda.core.errors import DtdaError
from dtda.core.foreign import read_foreign
from dtda.core.models.teachers import open_teacher
from dtda.core.preprocess import TEMPLATE, CropRule, crop, crop_matrix


def make(folder, networks=({},), **changes):
    """A description of networks that give the means of their three input channels, and the files."""
    parts = []
    for number, network in enumerate(networks):
        size = network.get("size", 24)
        mean = helper.make_node("GlobalAveragePool", ["x"], ["pooled"])
        flat = helper.make_node("Reshape", ["pooled", "shape"], ["classes"])
        shape = numpy_helper.from_array(np.array([1, 3], np.int64), "shape")
        graph = helper.make_graph(
            [mean, flat],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
            [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [1, 3])],
            [shape],
        )
        path = folder / f"{number}.onnx"
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        parts.append({"file": path.name, "margin": 2.7, "size": size, "order": "bgr", "std": 1.0, **network})
    described = {"name": "foreign", "networks": parts, "classes": 3, "live": 1, **changes}
    (folder / "network.json").write_text(json.dumps(described))
    return folder / "network.json"


def tensor(bgr):
    return torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1].transpose(2, 0, 1))[None]).float() / 255


PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), (0, 0), 4)


@settings(max_examples=25)
@given(x=st.floats(20, 180), y=st.floats(20, 180), scale=st.floats(0.25, 1.2), margin=st.floats(1.2, 4))
def test_its_view_is_the_crop_an_engine_would_cut(tmp_path_factory, x, y, scale, margin):
    folder = tmp_path_factory.mktemp("foreign")
    teacher = open_teacher("antispoof", make(folder, [{"margin": margin}]))
    points = ((TEMPLATE - 56) * scale + (x, y)).astype(np.float32)
    part = read_foreign(folder / "network.json").networks[0]
    seen = teacher.view(tensor(PICTURE), torch.from_numpy(points)[None], part)[0]
    expected = crop(PICTURE, points, CropRule(24, margin, "upright"))[:, :, ::-1]  # to BGR
    assert np.abs(seen.numpy().transpose(1, 2, 0) - expected).mean() < 1.5  # of 255: OpenCV's places are of 1/32 pixel


def test_of_a_squeezed_chip_it_sees_what_it_would_of_the_picture(tmp_path):
    description = make(tmp_path, [{"margin": 2.0}])
    points = ((TEMPLATE - 56) @ np.array([[0.4, 0.1], [-0.1, 0.4]]) + (100, 100)).astype(np.float32)
    rule = CropRule(160, 3.0, "upright")
    chip = crop(PICTURE, points, rule)[:, :, ::-1]
    within = cv2.transform(points[None], crop_matrix(points, (200, 200), rule)).astype(np.float32)
    part = read_foreign(description).networks[0]
    expected = crop(PICTURE, points, CropRule(24, 2.0, "upright"))[:, :, ::-1].astype(float)
    off = {}
    for kind in ("upright", "aligned"):
        teacher = open_teacher("antispoof", description, crop=kind)
        seen = teacher.view(tensor(chip), torch.from_numpy(within), part)[0].numpy().transpose(1, 2, 0)
        off[kind] = np.abs(seen - expected).mean()
    assert off["upright"] < 1.5 < off["aligned"]


def test_classes_are_means_of_probabilities_with_live_first(tmp_path):
    description = make(tmp_path, [{"mean": [0, 0, 0]}, {"mean": [2.0, 0, 1.0], "size": 16}])
    teacher = open_teacher("antispoof", description)
    x = torch.ones(2, 3, 64, 64) * torch.tensor([3.0, 1.0, 2.0]).view(3, 1, 1) / 255  # B, G, R: 2, 1, 3
    found = teacher(x, torch.from_numpy(TEMPLATE).expand(2, 5, 2) * 64 / 112)
    first, second = torch.tensor([2.0, 1, 3]).softmax(0), torch.tensor([0.0, 1, 2]).softmax(0)
    mean = (first + second) / 2
    torch.testing.assert_close(found[1], mean[[1, 0, 2]].log(), rtol=1e-4, atol=1e-4)
    assert teacher.width == 3
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"live": 3}, "index of one of 3 classes"),
        ({"classes": 4}, "gives 3 classes, not the 4"),
        ({"classes": 1, "live": 0, "activation": "sigmoid"}, "one output cannot teach"),
        ({"activation": "sigmoid"}, "made probabilities by softmax"),
        ({"threshold": 2}, "threshold"),
        ({"networks": []}, "networks"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, changes, words):
    with pytest.raises(DtdaError, match=words):
        open_teacher("antispoof", make(tmp_path, **changes))


def test_missing_files_are_named(tmp_path):
    description = make(tmp_path)
    (tmp_path / "0.onnx").unlink()
    with pytest.raises(DtdaError, match=r"0\.onnx, which is not there"):
        read_foreign(description)
    with pytest.raises(DtdaError, match="no such"):
        read_foreign(tmp_path / "none.json")
    description.write_bytes(b"\xff\x00")
    with pytest.raises(DtdaError, match="not a description"):
        read_foreign(description)
