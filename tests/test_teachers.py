"""Teachers: official files load, wrong ones are refused, each sees its own crop and normalisation, none learns."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from torch import nn

from dtda.core.data.chips import jittered
from dtda.core.errors import DtdaError
from dtda.core.models.arcface import IResNet
from dtda.core.models.frames import arcface_frame, celeba_frame, cut, similarity
from dtda.core.models.stargan import Discriminator
from dtda.core.models.student import MEAN, STD
from dtda.core.models.teachers import SQUEEZE, Teacher, open_teacher
from dtda.core.preprocess import TEMPLATE, CropRule, crop, crop_matrix
from dtda.core.preprocess import similarity as frame_similarity

DATA = Path(__file__).parent / "data"
# The astronaut's face in conftest's portrait, by eye.
POINTS = np.array([[253, 127], [308, 128], [283, 155], [258, 181], [303, 182]], np.float32)


@pytest.fixture(scope="module")
def arcface(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("arcface") / "backbone.pth"
    torch.save(IResNet().state_dict(), path)
    return path


@pytest.fixture
def stargan(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "200000-D.ckpt"
    # As old as the official file: before torch 1.6 checkpoints were not zip files.
    torch.save(Discriminator(32, 4, 5, 4).state_dict(), path, _use_new_zipfile_serialization=False)
    return path


class _Seen(nn.Module):
    """A trunk whose features are what it is fed."""

    def forward(self, x):
        return x.flatten(1)


def _chip(bgr, points, rule, cut_at=None):
    """float [1, 3, S, S] and points in it; `cut_at`: the points the chip is cut by, if others."""
    cut_at = points if cut_at is None else cut_at
    matrix = crop_matrix(cut_at, bgr.shape[:2], rule)
    chip = crop(bgr, cut_at, rule)
    x = torch.from_numpy(chip.transpose(2, 0, 1)[None].copy()).float() / 255
    return x, torch.from_numpy(points @ matrix[:, :2].T + matrix[:, 2])[None].float()


def test_arcface_has_the_official_names_and_shapes(arcface):
    official = json.loads((DATA / "arcface_iresnet18.json").read_text())["shapes"]
    with torch.device("meta"):
        net = IResNet()
    assert {name: list(value.shape) for name, value in net.state_dict().items()} == official
    assert sum(p.numel() for p in net.parameters()) == 24_025_600  # the 24.0 M of IResNet-18


def test_arcface_computes_with_the_files_weights(arcface):
    teacher = open_teacher("arcface", arcface)
    with torch.device("meta"):
        net = IResNet()
    net.load_state_dict(torch.load(arcface), assign=True)
    x, points = torch.rand(2, 3, 112, 112), torch.from_numpy(TEMPLATE).expand(2, 5, 2)
    with torch.no_grad():
        expected = net.eval()(2 * x - 1)
    assert teacher.width == 512
    torch.testing.assert_close(teacher(x, points), expected, rtol=1e-3, atol=1e-4)


def test_stargan_gives_its_trunk_without_heads(stargan):
    state = torch.load(stargan)
    flat, mean = open_teacher("stargan", stargan, pool="flat"), open_teacher("stargan", stargan)
    assert (flat.frame.size, flat.width, mean.width) == (32, 32 * 4, 32)
    held = {id(value) for value in mean.parameters()}
    assert len(held) == len(state) - 2  # conv1 and conv2, the heads, are not there
    net = Discriminator(32, 4, 5, 4)
    net.load_state_dict(state)
    x = torch.rand(2, 3, 64, 64)
    points = torch.from_numpy(TEMPLATE).expand(2, 5, 2) * 64 / 112
    seen = flat.crop(x, points)
    with torch.no_grad():
        expected = net.features(seen)
    torch.testing.assert_close(flat(x, points), expected.flatten(1))
    torch.testing.assert_close(mean(x, points), expected.mean((2, 3)))


def test_the_official_discriminator_has_2048_wide_features():
    assert Discriminator().features(torch.zeros(1, 3, 128, 128)).shape == (1, 2048, 2, 2)


def test_half_precision_files_become_float32(stargan, tmp_path):
    path = tmp_path / "half.pth"
    torch.save({name: value.half() for name, value in torch.load(stargan).items()}, path)
    half, whole = _features(open_teacher("stargan", path)), _features(open_teacher("stargan", stargan))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("kind", ["arcface", "stargan", "onnx"])
def test_each_teacher_has_its_own_normalisation(kind, arcface, stargan, tmp_path):
    file = {"arcface": arcface, "stargan": stargan, "onnx": _onnx(tmp_path)}[kind]
    teacher = open_teacher(kind, file)
    grey = torch.full((1, 3, 64, 64), 200 / 255)
    points = torch.from_numpy(TEMPLATE)[None] * 64 / 112
    seen = teacher.crop(grey, points)
    expected = {"arcface": 200 / 127.5 - 1, "stargan": 200 / 127.5 - 1, "onnx": (200 - 127) / 128}[kind]
    torch.testing.assert_close(seen, torch.full_like(seen, expected))
    for mean, std in zip(MEAN, STD, strict=True):
        assert abs(expected - (200 / 255 - mean) / std) > 0.5  # not the student's


@pytest.mark.parametrize("kind", ["arcface", "stargan", "onnx"])
def test_teachers_stay_frozen_below_a_training_parent(kind, arcface, stargan, tmp_path):
    file = {"arcface": arcface, "stargan": stargan, "onnx": _onnx(tmp_path)}[kind]
    teacher = open_teacher(kind, file)
    parent = nn.Sequential(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    parent.train()
    assert not any(part.training for part in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    found = teacher(x, torch.from_numpy(TEMPLATE).expand(2, 5, 2) * 64 / 112)
    assert not found.requires_grad
    (x.sum() * found.sum()).backward()  # features may stand in a student's loss
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name  # no batch statistics were gathered


def test_of_an_upright_chip_a_face_teacher_sees_the_same_face(portrait):
    teacher = open_teacher_of(_Seen(), "upright")
    x, points = _chip(portrait, POINTS, CropRule(320, 2.5, "upright"))
    expected = cv2.warpAffine(portrait, frame_similarity(POINTS), (112, 112))[:, :, ::-1].astype(int)
    seen = (teacher.crop(x, points)[0] * 255).numpy().transpose(1, 2, 0)
    assert np.abs(seen - expected)[4:-4, 4:-4].mean() < 3
    squeezed = (open_teacher_of(_Seen(), "aligned").crop(x, points)[0] * 255).numpy().transpose(1, 2, 0)
    assert np.abs(squeezed - expected)[4:-4, 4:-4].mean() > 6


def open_teacher_of(trunk, kind):
    teacher = Teacher(trunk, arcface_frame(112), 0.0, 1.0)
    teacher.squeeze = SQUEEZE[kind]
    return teacher


def test_similarity_is_the_live_pipelines():
    rng = np.random.default_rng(0)
    points = np.stack([jittered(TEMPLATE * scale + 20, rng) for scale in (0.5, 1, 3)])
    found = similarity(torch.from_numpy(points).double(), arcface_frame())
    for one, expected in zip(found.numpy(), points, strict=True):
        np.testing.assert_allclose(one, frame_similarity(expected), atol=1e-5)


@pytest.mark.parametrize("size", [112, 256])
def test_a_teachers_crop_of_the_chip_is_the_alignment_of_the_frame(portrait, size):
    """Same pixels as insightface's norm_crop would cut from the frame: upright, not mirrored, RGB."""
    teacher = Teacher(_Seen(), arcface_frame(112), 0.0, 1.0)
    expected = cv2.warpAffine(portrait, frame_similarity(POINTS), (112, 112))[:, :, ::-1].astype(int)
    rng = np.random.default_rng(0)
    for cut_at in (POINTS, jittered(POINTS, rng), jittered(POINTS, rng)):
        x, points = _chip(portrait, POINTS, CropRule(size, 2.5), cut_at)
        seen = (teacher.crop(x, points)[0] * 255).numpy().transpose(1, 2, 0)
        off = {name: np.abs(other - expected)[4:-4, 4:-4].mean() for name, other in
               (("same", seen), ("mirrored", seen[:, ::-1]), ("bgr", seen[:, :, ::-1]))}  # fmt: skip
        assert off["same"] < (3.0 if size == 256 else 6.0), off
        assert off["mirrored"] > 3 * off["same"]
        assert off["bgr"] > 2 * off["same"]


def test_half_precision_training_moves_no_crop(portrait):
    teacher = Teacher(_Seen(), arcface_frame(112), 0.5, 0.5)
    x, points = _chip(portrait, POINTS, CropRule(256, 2.5))
    expected = teacher.crop(x, points)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(teacher.crop(x, points), expected)
        torch.testing.assert_close(teacher(x, points), expected.flatten(1))


def test_a_mirrored_chip_with_swapped_points_gives_the_mirrored_crop(portrait):
    x, points = _chip(portrait, POINTS, CropRule(128, 2.5))
    mirrored = points[:, [1, 0, 2, 4, 3]].clone()
    mirrored[..., 0] = 127 - mirrored[..., 0]
    symmetric = arcface_frame(112)
    template = (
        symmetric.template + torch.tensor([111.0, 0]) + symmetric.template[[1, 0, 2, 4, 3]] * torch.tensor([-1, 1])
    ) / 2
    frame = type(symmetric)(112, symmetric.anchors, template)
    torch.testing.assert_close(cut(x.flip(3), mirrored, frame), cut(x, points, frame).flip(3), atol=2e-3, rtol=0)


def test_a_chip_at_the_border_gives_the_same_crop(portrait):
    frame = arcface_frame(112)
    near = portrait[60:260, 200:370].copy()  # the chip's square is moved and shrunk here
    for bgr, points in ((portrait, POINTS), (near, POINTS - np.float32([200, 60]))):
        x, where = _chip(bgr, points, CropRule(256, 2.5))
        seen = cut(x, where, frame)
        if bgr is portrait:
            expected = seen
    assert float((seen - expected).abs()[..., 8:-8, 8:-8].mean()) < 0.02


def test_celeba_frame_is_that_of_the_aligned_pictures(portrait):
    """Align as CelebA's authors do (their three points, counted from 1), crop the middle, resize as StarGAN does."""
    source = np.stack([POINTS[0], POINTS[1], POINTS[3:].mean(0)])
    target = np.array([[70.745, 112], [108.237, 112], [89.432, 153.514]]) - 1
    z, w = source @ [1, 1j], target @ [1, 1j]
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    b = w.mean() - a * z.mean()
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    aligned = cv2.warpAffine(portrait, matrix, (178, 218), borderMode=cv2.BORDER_REPLICATE)
    expected = cv2.resize(aligned[20:198], (128, 128), interpolation=cv2.INTER_AREA)[:, :, ::-1].astype(int)
    x, points = _chip(portrait, POINTS, CropRule(256, 2.5))
    seen = (cut(x, points, celeba_frame(128), 2)[0] * 255).numpy().transpose(1, 2, 0)
    assert np.abs(seen - expected)[4:-4, 4:-4].mean() < 3.0
    assert np.abs(seen[:-2] - expected[2:])[4:-4, 4:-4].mean() > 3.0  # two rows off is seen
    small = (cut(x, points, celeba_frame(64), 2)[0] * 255).numpy().transpose(1, 2, 0)
    halved = cv2.resize(expected.astype(np.uint8), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small - halved)[2:-2, 2:-2].mean() < 4.0


def test_a_fine_chip_does_not_alias():
    chequer = (torch.arange(256)[:, None] + torch.arange(256)[None]) % 2
    x = chequer.float().expand(1, 3, 256, 256)
    points = arcface_frame(256, 2.5).template[None] + 0.3
    seen = Teacher(_Seen(), arcface_frame(64), 0.0, 1.0).crop(x, points)
    coarse = cut(x, points, arcface_frame(64))
    assert float((seen - 0.5).abs().mean()) < 0.5 * float((coarse - 0.5).abs().mean())


def test_wrong_torch_files_are_refused_in_a_sentence(arcface, stargan, tmp_path):
    broken = tmp_path / "broken.pth"
    for content in (b"", b"not weights", b"PK\x03\x04"):
        broken.write_bytes(content)
        with pytest.raises(DtdaError, match=r"not a readable PyTorch weights file; name the backbone\.pth"):
            open_teacher("arcface", broken)
    with pytest.raises(DtdaError, match=r"not the weights of an ArcFace IResNet-18 \(it has no conv1\.weight\)"):
        _refused("arcface", {"x": torch.zeros(1)}, broken)
    with pytest.raises(DtdaError, match=r"it has no bn1\.weight"):
        open_teacher("arcface", stargan)
    with pytest.raises(DtdaError, match=r"not the weights of a StarGAN discriminator.*200000-D\.ckpt"):
        open_teacher("stargan", arcface)
    # Numbers stretched to a shape take no space in a file.
    state = {name: torch.zeros(()).expand(value.shape) for name, value in torch.load(arcface).items()}
    with pytest.raises(DtdaError, match=r"fc\.weight is \[512, 25000\], not \[512, 25088\]"):
        _refused("arcface", state | {"fc.weight": torch.zeros(()).expand(512, 25000)}, broken)
    with pytest.raises(DtdaError, match=r"layer1\.2\.bn1\.weight is unknown"):  # a deeper IResNet
        _refused("arcface", state | {"layer1.2.bn1.weight": torch.zeros(64)}, broken)
    with pytest.raises(DtdaError, match=r"fc\.bias is not finite"):
        _refused("arcface", state | {"fc.bias": torch.full((512,), torch.nan)}, broken)
    with pytest.raises(DtdaError, match="not a bare state dict"):
        _refused("arcface", {"state_dict": state}, broken)
    with pytest.raises(DtdaError, match="not a bare state dict"):
        _refused("stargan", [1, 2], broken)
    state = torch.load(stargan)
    with pytest.raises(DtdaError, match=r"main\.2\.weight is unknown|main\.2\.weight is"):
        _refused("stargan", state | {"main.2.weight": torch.zeros(9, 4, 4, 4)}, broken)
    with pytest.raises(DtdaError, match="wrong shapes"):
        _refused("stargan", state | {"conv2.weight": torch.zeros(5)}, broken)
    with pytest.raises(DtdaError, match="no such teacher file"):
        open_teacher("arcface", tmp_path / "gone.pth")


def _refused(kind, content, path):
    torch.save(content, path)
    open_teacher(kind, path)


def test_wrong_kinds_and_options_are_named(arcface, tmp_path):
    with pytest.raises(DtdaError, match="no such kind of teacher; known are arcface, stargan, onnx"):
        open_teacher("facenet", arcface)
    with pytest.raises(DtdaError, match="option pool of teacher arcface"):
        open_teacher("arcface", arcface, pool="mean")
    with pytest.raises(DtdaError, match=r"option order of teacher onnx.*'rgb' or 'bgr'"):
        open_teacher("onnx", _onnx(tmp_path), order="gbr")
    with pytest.raises(DtdaError, match="option std of teacher onnx"):
        open_teacher("onnx", _onnx(tmp_path), std=0)


def _onnx(folder, batch=1, colours=3, side=16, dtype=TensorProto.FLOAT, body="face", outputs=1):
    """A model of width 4: a fixed convolution, its mean over places, and a reshape; or what `body` says instead."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([1 if batch == 1 else 0, 4], np.int64), "shape"),
    ]
    nodes = {
        "face": [
            helper.make_node("Conv", ["x", "w"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
        ],
        "map": [helper.make_node("Conv", ["x", "w"], ["features"])],
        "coupled": [
            helper.make_node("Conv", ["x", "w"], ["maps"]),
            helper.make_node("ReduceMean", ["maps"], ["middle"], axes=[0], keepdims=1),
            helper.make_node("Add", ["maps", "middle"], ["both"]),
            helper.make_node("GlobalAveragePool", ["both"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
        ],
        "nan": [
            helper.make_node("Conv", ["x", "w"], ["maps"]),
            helper.make_node("Sqrt", ["maps"], ["roots"]),
            helper.make_node("GlobalAveragePool", ["roots"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
        ],
        "integer": [
            helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["pixels", "w"], ["features"]),
        ],
        "grey": [helper.make_node("Flatten", ["x"], ["features"])],
    }[body]
    given = helper.make_tensor_value_info("x", dtype, [batch, colours, side, side])
    taken = [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)]
    if outputs == 2:
        taken.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "face", [given], taken, weights)
    path = folder / "face.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def _features(teacher, count=3):
    torch.manual_seed(0)
    x = torch.rand(count, 3, 40, 40)
    points = torch.from_numpy(TEMPLATE).expand(count, 5, 2) * 40 / 112
    found = teacher(x, points)
    alone = torch.cat([teacher(x[i : i + 1], points[i : i + 1]) for i in range(count)])
    torch.testing.assert_close(found, alone)
    return found


def test_a_graph_for_one_picture_takes_batches_at_once(tmp_path):
    teacher = open_teacher("onnx", _onnx(tmp_path), threads=1)
    assert teacher.trunk.dynamic
    found = _features(teacher)
    teacher.trunk.dynamic = False
    torch.testing.assert_close(_features(teacher), found)
    assert teacher.width == 4
    assert found.std(0).min() > 0
    assert open_teacher("onnx", _onnx(tmp_path, batch="N")).trunk.dynamic


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_graph_whose_pictures_mix_is_run_one_by_one(tmp_path, batch):
    teacher = open_teacher("onnx", _onnx(tmp_path, batch=batch, body="coupled"))
    assert not teacher.trunk.dynamic
    _features(teacher)


def test_onnx_options_reach_the_picture(tmp_path):
    path = _onnx(tmp_path, side="S")
    with pytest.raises(DtdaError, match="leaves the size of its input open"):
        open_teacher("onnx", path)
    plain = open_teacher("onnx", path, size=24)
    x, points = torch.rand(1, 3, 40, 40), torch.from_numpy(TEMPLATE)[None] * 40 / 112
    assert plain.crop(x, points).shape == (1, 3, 24, 24)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    assert plain.crop(red, points)[0, :, 9, 9].argmax() == 0
    swapped = open_teacher("onnx", path, size=24, order="bgr")
    assert swapped.crop(red, points)[0, :, 9, 9].argmax() == 2
    torch.testing.assert_close(swapped.crop(x, points), plain.crop(x, points).flip(1))
    scaled = open_teacher("onnx", path, size=24, mean=0.0, std=1.0)
    torch.testing.assert_close(scaled.crop(x, points), plain.crop(x, points) * 128 / 255 + 127 / 255)
    # With twice the margin the inner half is what the plain frame shows.
    torch.testing.assert_close(
        similarity(points, arcface_frame(112, 2.0))[0, :, :2], similarity(points, arcface_frame(112))[0, :, :2] / 2
    )
    middle = torch.tensor([56.0, 56.0])
    torch.testing.assert_close(arcface_frame(112, 2.0).template - middle, (arcface_frame(112).template - middle) / 2)


def test_wrong_onnx_files_are_refused_in_a_sentence(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(DtdaError, match="not a usable ONNX file"):
        open_teacher("onnx", broken)
    for options, words in (
        ({"body": "map"}, r"gives \[1, 4, 14, 14\] for 1 faces; a teacher must give \[N, width\]"),
        ({"body": "nan"}, "finite features"),
        ({"body": "grey", "colours": 1}, r"takes pictures of \[1, 16, 16\]"),
        ({"body": "integer", "dtype": TensorProto.UINT8}, "takes one float tensor"),
        ({"outputs": 2}, "several outputs; choose with option output one of features, pooled"),
    ):
        with pytest.raises(DtdaError, match=words):
            open_teacher("onnx", _onnx(tmp_path, **options))
    two = _onnx(tmp_path, outputs=2)
    assert open_teacher("onnx", two, output="features").width == 4
    with pytest.raises(DtdaError, match="has no output logits; it has features, pooled"):
        open_teacher("onnx", two, output="logits")
    with pytest.raises(DtdaError, match="takes 16 px, not the 32 of option size"):
        open_teacher("onnx", _onnx(tmp_path), size=32)
    with pytest.raises(DtdaError, match="onnxruntime cannot use cuda here"):
        open_teacher("onnx", _onnx(tmp_path), provider="cuda")
