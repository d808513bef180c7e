"""The pair of MiniFASNets: what it reads from ONNX files is what they compute."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.functional import avg_pool2d

from dtda.core.errors import DtdaError
from dtda.core.models.fasnet import V1SE, V2, WIDTH, Body, read_body
from dtda.core.models.student import build_student
from dtda.core.training import calibration, checkpoint, loop
from dtda.core.training.calibration import blend
from dtda.core.training.config import TrainConfig
from dtda.core.training.method import Batch, Method
from dtda.core.training.optim import make_optimizer
from dtda.core.types import Label

pytestmark = pytest.mark.slow  # two exports


class Published(nn.Module):
    """As the files have it: a body, then the classes, without a bias."""

    def __init__(self, stages):
        super().__init__()
        self.body, self.classes = Body(stages), nn.Linear(128, 3, bias=False)
        for parameter in self.parameters():  # as if trained: nothing at its neutral value
            nn.init.normal_(parameter, 0.0, 0.15)
        nn.init.normal_(self.body.layers[0].weight, 0.0, 0.003)  # as the public files have these two
        nn.init.normal_(self.body.embed.weight, 0.0, 0.005)
        nn.init.normal_(self.body.norm.running_mean)
        nn.init.uniform_(self.body.norm.running_var, 0.5, 2)

    def forward(self, x):
        return self.classes(self.body(x))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two networks with random weights in the form of the public files, and their description."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    networks = []
    for name, stages, margin in (("v2", V2, 2.7), ("v1se", V1SE, 4.0)):
        net = Published(stages).eval()
        path = folder / f"{name}.onnx"
        torch.onnx.export(net, (torch.rand(1, 3, 80, 80),), path, input_names=["input"], dynamo=True, verbose=False,
                          optimize=False, external_data=False)  # fmt: skip
        networks.append({"file": path.name, "margin": margin, "size": 80, "order": "bgr", "std": 1.0})
        _plain(path, net)
    (folder / "network.json").write_text(json.dumps({"name": "p", "classes": 3, "live": 1, "networks": networks}))
    return folder


def _plain(path, net):
    """The public files have matrices [in, out] and slopes [C, 1, 1]; the exporter of today transposes and reshapes."""
    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Gemm":
            del node.attribute[:]
            node.op_type = "MatMul"
        if node.op_type == "Reshape" and node.input[0] in weights:
            slopes = numpy_helper.to_array(weights[node.input[0]]).reshape(-1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(slopes, node.output[0]))
            graph.node.remove(node)
    for name, matrix in (("body.embed.weight", net.body.embed.weight), ("classes.weight", net.classes.weight)):
        weights[name].CopyFrom(numpy_helper.from_array(matrix.detach().numpy().T.copy(), name))
    onnx.save(model, path)


@pytest.mark.parametrize(("name", "stages"), [("v2", V2), ("v1se", V1SE)])
def test_a_body_computes_what_its_file_does(published, name, stages):
    body = Body(stages)
    classes = read_body(body, published / f"{name}.onnx")
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 80, 80)).astype(np.float32)
    session = onnxruntime.InferenceSession(published / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"input": x})
    with torch.no_grad():
        found = body.eval()(torch.from_numpy(x) / 255) @ classes.T
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert sum(parameter.numel() for parameter in body.parameters()) == {"v2": 429_120, "v1se": 427_846}[name]


def test_no_layer_of_a_body_is_so_small_that_a_step_of_training_moves_it_by_percents(published):
    student = build_student("pair", 0.0, str(published / "network.json"))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-4, weight_decay=0.0)
    before = {name: value.clone() for name, value in student.trunk.bodies.state_dict().items()}
    x = torch.rand(4, 3, 80, 80)
    student(x).mul(torch.tensor([1.0, -1.0, 1.0, -1.0])).sum().backward()
    optimizer.step()
    for name, value in student.trunk.bodies.named_parameters():
        if value.ndim > 1:
            assert (value - before[name]).norm() < 0.01 * before[name].norm(), name


def test_a_pair_goes_on_from_both(published):
    student = build_student("pair", 0.0, str(published / "network.json")).eval()
    x = torch.rand(2, 3, 80, 80)
    pixels = x.flip(1)
    expected = torch.zeros(2)
    for name, stages in (("v2", V2), ("v1se", V1SE)):
        body = Body(stages).eval()
        classes = read_body(body, published / f"{name}.onnx")
        logits = body(pixels) @ classes.T
        expected = expected + (logits[:, 1] - (logits[:, 0] + logits[:, 2]) / 2) / 2
    torch.testing.assert_close(student(x), expected, rtol=1e-3, atol=1e-2)
    assert student.features(torch.rand(1, 3, 128, 128)).shape == (1, 256)
    student(x).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


@pytest.mark.parametrize(
    ("name", "bodies", "texture"),
    [("pair-mobile", [V2, V1SE], 576), ("resnet18-lite", [V2], 512)],
)
def test_a_texture_branch_has_no_say_at_first_and_sees_the_middle_of_the_chip(published, name, bodies, texture):
    student = build_student(name, 0.0, str(published / "network.json")).eval()
    x, known = torch.rand(2, 3, 240, 240), WIDTH * len(bodies)
    pixels, expected = avg_pool2d(x, 3).flip(1), torch.zeros(2)
    for stages in bodies:
        body = Body(stages).eval()
        classes = read_body(body, published / f"{'v2' if stages is V2 else 'v1se'}.onnx")
        logits = body(pixels) @ classes.T
        expected = expected + (logits[:, 1] - (logits[:, 0] + logits[:, 2]) / 2) / len(bodies)
    torch.testing.assert_close(student(x), expected, rtol=1e-3, atol=1e-2)
    elsewhere = x.clone()
    elsewhere[:, :, :60], elsewhere[:, :, :, 180:] = 0, 0
    before, after = student.features(x), student.features(elsewhere)
    assert torch.equal(before[:, -texture:], after[:, -texture:])
    assert not torch.equal(before[:, :-texture], after[:, :-texture])
    student(x).sum().backward()
    assert student.head[1].weight.grad[0, known:].abs().max() > 0


@pytest.mark.parametrize(("name", "branches"), [("mobile", 1), ("pair", 2), ("pair-lite", 3), ("resnet18-lite", 3)])
def test_the_logit_is_the_sum_of_what_the_branches_say(name, branches):
    student = build_student(name).eval()
    nn.init.normal_(student.head[1].weight)
    with torch.no_grad():
        features = student.features(torch.rand(2, 3, 160, 160))
        spoken = student.branches(features)
        assert spoken.shape == (2, branches)
        torch.testing.assert_close(spoken.sum(1) + student.head[1].bias, student.classify(features))
        if branches > 1:
            features[:, :WIDTH] = 0  # the first branch falls silent
            assert (student.branches(features)[:, 0] == 0).all()
            torch.testing.assert_close(student.branches(features)[:, 1:], spoken[:, 1:])


def test_with_a_loss_of_its_own_a_branch_learns_what_the_others_know_already(published):
    """The head is right by the first branch alone, and by far: the sum has nothing left to teach the second."""
    x, live = torch.rand(4, 3, 80, 80), torch.tensor([1.0, 0.0, 1.0, 0.0])
    gradients = {}
    for alone in (0.0, 1.0):
        torch.manual_seed(0)
        student = build_student("pair", 0.0, str(published / "network.json")).eval()
        with torch.no_grad():
            features = student.features(x)
            first = features[:, :WIDTH]
            student.head[1].weight[0, :WIDTH] = torch.linalg.lstsq(first, 80 * live - 40).solution
            student.head[1].weight[0, WIDTH:] = 0
            student.head[1].bias.zero_()
        method = Method(student, TrainConfig(data={"manifests": ["m.csv"]}, alone=alone), 2, {})
        batch = Batch(x, live, torch.tensor([0, 0, 1, 1]), torch.ones(4), torch.zeros(4, 5, 2))
        method(batch, None, {}, 0.0)[0].backward()
        gradients[alone] = student.head[1].weight.grad[0, WIDTH:].norm()
    assert gradients[0.0] < 0.1 * gradients[1.0]


def test_branches_are_calibrated_each_by_itself_and_one_that_knows_nothing_falls_silent(published, monkeypatch):
    student = build_student("pair-lite", 0.0, str(published / "network.json"))
    rng, live = np.random.default_rng(0), np.arange(400) % 2 == 0
    spoken = np.stack([30 * (live + rng.normal(0, 1, 400)), 0.1 * (live + rng.normal(0, 1, 400)), -1.0 * live], 1)
    records = [SimpleNamespace(label=Label.LIVE if each else Label.SPOOF) for each in live]
    material = SimpleNamespace(chips=SimpleNamespace(records=records), fold=SimpleNamespace(dev=range(400)))
    monkeypatch.setattr(calibration, "branches", lambda *_: spoken)
    before, bias = student.head[1].weight.detach().clone()[0], float(student.head[1].bias.detach())
    before[2 * WIDTH :] = student.head[1].weight.data[0, 2 * WIDTH :] = 1.0
    made = calibration.calibrate(student, material, alone=True)
    after = student.head[1].weight.detach()[0]
    loud, quiet, wrong = made["branches"]
    assert 200 < quiet / loud < 450  # both say the same, one of them 300 times as loud
    assert wrong == 0
    assert (after[2 * WIDTH :] == 0).all()
    torch.testing.assert_close(after[:WIDTH], before[:WIDTH] * loud * made["slope"])
    torch.testing.assert_close(after[WIDTH : 2 * WIDTH], before[WIDTH : 2 * WIDTH] * quiet * made["slope"])
    assert float(student.head[1].bias.detach()) == pytest.approx(made["intercept"])
    assert bias != made["intercept"]


@pytest.mark.parametrize("alone", [False, True])
def test_logits_that_differ_by_rounding_only_are_not_called_calibrated(published, monkeypatch, capsys, alone):
    student = build_student("pair", 0.0, str(published / "network.json"))
    live = np.arange(40) % 2 == 0
    records = [SimpleNamespace(label=Label.LIVE if each else Label.SPOOF) for each in live]
    material = SimpleNamespace(chips=SimpleNamespace(records=records), fold=SimpleNamespace(dev=range(40)))
    monkeypatch.setattr(calibration, "branches", lambda *_: np.stack([1e-9 * live, 2.0 + 0 * live], 1))
    before = student.head[1].weight.detach().clone()
    assert calibration.calibrate(student, material, alone) == {"slope": 1.0, "intercept": 0.0}
    assert torch.equal(student.head[1].weight, before)
    assert "not calibrated" in capsys.readouterr().err


def test_a_run_that_goes_on_from_published_bodies_ends_the_same_killed_or_not(textures, published, tmp_path):
    config = TrainConfig(
        student="pair-mobile",
        weights=str(published / "network.json"),
        alone=1.0,
        workers=0,
        threads=1,
        data={"manifests": [textures], "size": 96, "margin": 1.3, "crops": 1, "protocol": "sim-loo", "fold": "c"},
        optim={"epochs": 1, "batch": 8, "begun": 0.5, "keep": 0.3},
    )

    def run(name, resume=False, stop_after=None):
        return checkpoint.load(loop.train(config, tmp_path / name, resume, pytest.fail, stop_after))

    whole = run("whole")
    run("killed", stop_after=2)
    killed = run("killed", resume=True)
    for name, value in whole["ema"].items():
        assert torch.equal(value, killed["ema"][name]), name
    assert whole["calibration"] == killed["calibration"]
    assert len(whole["calibration"]["branches"]) == 3
    start = build_student(config.student, weights=config.weights).state_dict()
    assert not torch.equal(whole["ema"]["trunk.bodies.0.embed.weight"], start["trunk.bodies.0.embed.weight"])


def test_what_began_learns_at_its_own_rate_and_goes_back_by_its_share(published):
    start = build_student("pair-mobile", 0.0, str(published / "network.json"))
    config = TrainConfig(data={"manifests": ["m.csv"]}, weights="network.json", optim={"lr": 0.01, "begun": 0.1})
    groups = make_optimizer(Method(start, config, 2, {}), config).param_groups
    names = {parameter: name for name, parameter in start.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in groups for parameter in group["params"] if parameter in names}
    assert len(rates) == len(names) == sum(len(group["params"]) for group in groups)
    assert {name for name, lr in rates.items() if lr == 0.01} == {name for name in rates if ".texture." in name}
    assert all(lr == pytest.approx(0.001) for name, lr in rates.items() if ".texture." not in name)

    student = build_student("pair-mobile", 0.0)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    blend(student, start, 0.25)
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            share = 0.0 if ".texture." in name else 0.25
            torch.testing.assert_close(value, before[name].lerp(start.state_dict()[name], share))


def test_files_of_other_networks_are_refused(published, tmp_path):
    with pytest.raises(DtdaError, match="not the MiniFASNet it should be"):
        read_body(Body(V2), published / "v1se.onnx")
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(DtdaError, match="not a readable ONNX file"):
        read_body(Body(V2), tmp_path / "x.onnx")
    with pytest.raises(DtdaError, match="start from random"):
        build_student("pair", weights="imagenet")
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(DtdaError, match="start from random"):
        build_student("pair", weights=str(tmp_path / "x.pth"))
    one = json.loads((published / "network.json").read_text())
    (published / "other.json").write_text(json.dumps(one | {"live": 0}))
    with pytest.raises(DtdaError, match="three classes, the second one live"):
        build_student("pair", weights=str(published / "other.json"))
    one["networks"] = one["networks"][:1]
    (published / "one.json").write_text(json.dumps(one))
    with pytest.raises(DtdaError, match="two networks, this names 1"):
        build_student("pair", weights=str(published / "one.json"))
