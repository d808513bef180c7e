"""EfficientNet-Lite0: what it reads from a state dict with batch norms is what such a network computes."""

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from dtda.core.errors import DtdaError
from dtda.core.models.lite import STAGES, Lite, Moments, read_lite
from dtda.core.models.student import build_student
from dtda.core.training import checkpoint
from dtda.core.training.config import TrainConfig, read_config
from dtda.core.training.loop import train


def _published():
    """A state dict in the order of the published one, with names of its kind: (convolution, batch norm) for each layer."""
    layers = [nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32)]
    channels = 32
    for stage in STAGES:
        for _ in range(stage.count):
            inner = channels * stage.expand
            if stage.expand > 1:
                layers += [nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)]
            layers += [nn.Conv2d(inner, inner, stage.side, groups=inner, bias=False), nn.BatchNorm2d(inner)]
            layers += [nn.Conv2d(inner, stage.width, 1, bias=False), nn.BatchNorm2d(stage.width)]
            channels = stage.width
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):  # as if trained: nothing at its neutral value
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.3)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.1, 0.4)  # so small that a wrong epsilon shows
    return nn.Sequential(*layers)


def _as_tensorflow(layers, x, blocks=11):
    """[B, 3, S, S] -> [B, 112, s, s] as TensorFlow does it: SAME padding, batch norms, ReLU6, identities around blocks."""
    parts = iter(zip(layers[::2], layers[1::2], strict=True))

    def layer(x, stride=1, bounded=True):
        conv, norm = next(parts)
        side = conv.kernel_size[0]
        total = max((-(-x.shape[2] // stride) - 1) * stride + side - x.shape[2], 0)
        x = pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
        x = nn.functional.conv2d(x, conv.weight, None, stride, groups=conv.groups)
        x = nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)
        return x.clamp(0, 6) if bounded else x

    x = layer(x, 2)
    numbered = [(stage, number) for stage in STAGES for number in range(stage.count)]
    for stage, number in numbered[:blocks]:
        before = x
        x = layer(x) if stage.expand > 1 else x
        x = layer(x, stage.stride if number == 0 else 1)
        x = layer(x, bounded=False)
        if number > 0:
            x = x + before
    return x


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    torch.manual_seed(0)
    layers = _published().eval()
    path = tmp_path_factory.mktemp("lite") / "lite0.pth"
    rest = {"_conv_head.weight": torch.rand(1280, 320, 1, 1), "_fc.weight": torch.rand(1000, 1280)}
    torch.save(layers.state_dict() | rest, path)
    return layers, path


@pytest.mark.parametrize("side", [64, 160])
def test_it_computes_what_the_published_network_does(published, side):
    layers, path = published
    net = Lite().eval()
    read_lite(net, path)
    x = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        expected = _as_tensorflow(layers, x)
        found = net(x)
    assert found.shape == (2, net.width, side // 16, side // 16)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert sum(parameter.numel() for parameter in net.parameters()) == 692_688


@pytest.mark.parametrize(
    ("name", "blocks", "bodies", "middle", "limit"),
    [("pair-lite", 11, 256, 0, 3_000_000), ("resnet18-lite", 9, 128, 512, 12_000_000)],
)
def test_a_student_sees_the_whole_chip_as_it_is(published, name, blocks, bodies, middle, limit):
    layers, path = published
    student = build_student(name, 0.0, texture=str(path)).eval()
    x = torch.rand(2, 3, 240, 240)
    with torch.no_grad():
        maps = _as_tensorflow(layers, (x * 255 - 127) / 128, blocks).double()
        found = student.features(x)
    assert found.shape == (2, bodies + 2 * 112 + middle)
    assert sum(parameter.numel() for parameter in student.parameters()) < limit
    expected = torch.cat([maps.mean((2, 3)), (maps.var((2, 3), correction=0) + 1e-3).sqrt()], 1).float()
    norm = student.trunk.whole.norm  # as it begins, it changes nothing but for its own epsilon
    assert (norm.running_mean == 0).all()
    seen = found[:, bodies : bodies + 224]
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    student(x).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_student_goes_on_from_the_blocks_of_another(published, tmp_path):
    larger, path = build_student("pair-lite", texture=str(published[1])), tmp_path / "last.ckpt"
    torch.save({"ema": larger.state_dict()}, path)
    student = build_student("resnet18-lite", texture=str(path))
    for name, value in student.trunk.whole.lite.state_dict().items():
        assert torch.equal(value, larger.trunk.whole.lite.state_dict()[name])
    torch.save({"ema": student.state_dict()}, path)
    with pytest.raises(DtdaError, match="its student has no EfficientNet-Lite0 of so many blocks"):
        build_student("pair-lite", texture=str(path))
    torch.save({"ema": build_student("mobile").state_dict()}, path)
    with pytest.raises(DtdaError, match="its student has no EfficientNet-Lite0"):
        build_student("pair-lite", texture=str(path))


def test_what_is_frozen_is_as_it_began_after_an_attack_and_a_step(published, textures, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        student = "pair-lite"
        weights = "random"
        texture = "{published[1]}"
        frozen = 2
        workers = 0
        data = {{manifests = ["{textures}"], size = 80, margin = 1.3, crops = 1, protocol = "sim-loo", fold = "c"}}
        optim = {{epochs = 1, batch = 8, warmup = 0.0}}
        domain = {{adversary = "daa"}}
        """
    )
    state = checkpoint.load(train(read_config(path), tmp_path / "run", False, None, stop_after=2))["student"]
    start = Lite()
    read_lite(start, published[1])
    same = {name for name, value in start.state_dict().items() if torch.equal(value, state["trunk.whole.lite." + name])}
    frozen = {f"{place}.{name}" for place in range(4) for name in start.layers[place].state_dict()}
    assert len(frozen) == 2 + 4 + 6
    assert same == {f"layers.{name}" for name in frozen}


def test_moments_have_a_gradient_where_nothing_differs():
    net = Moments(Lite(1))
    torch.nn.init.zeros_(net.lite.layers[-1].layers[-1].weight)  # every place says the same
    net(torch.rand(3, 3, 32, 32)).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_only_what_was_learned_can_be_frozen():
    with pytest.raises(ValueError, match="frozen is about weights to start from"):
        TrainConfig(data={"manifests": ["m.csv"]}, student="pair-lite", frozen=1)


def test_files_of_other_networks_are_refused(published, tmp_path):
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(DtdaError, match="not EfficientNet-Lite0, its convolution 1"):
        read_lite(Lite(), tmp_path / "x.pth")
    torch.save(build_student("mobile").state_dict(), tmp_path / "x.pth")
    with pytest.raises(DtdaError, match="not EfficientNet-Lite0"):
        read_lite(Lite(), tmp_path / "x.pth")
    (tmp_path / "x.pth").write_text(json.dumps({}))
    with pytest.raises(DtdaError, match="not a readable state dict"):
        read_lite(Lite(), tmp_path / "x.pth")
    with pytest.raises(DtdaError, match="no such file of weights"):
        read_lite(Lite(), tmp_path / "missing.pth")
    with pytest.raises(DtdaError, match="pair-mobile has no EfficientNet-Lite0"):
        build_student("pair-mobile", texture=str(published[1]))
    with pytest.raises(DtdaError, match="mobile has no EfficientNet-Lite0 to start or to keep as it is"):
        build_student("mobile", frozen=1)
