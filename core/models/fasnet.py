"""MiniFASNet bodies, so that a student can start from the anti-spoofing networks of Silent-Face-Anti-Spoofing.

Structure and widths are those of the two published networks (minivision-ai, Apache-2.0; 2.7_80x80_MiniFASNetV2 and
4_0_0_80x80_MiniFASNetV1SE), which are MobileFaceNets (Chen et al. 2018) with pruned widths. The batch norms are folded
into the convolutions, as in the ONNX files the weights are read from; what is distilled from them or goes on from them is
bound by their licence, with attribution.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from dtda.core.errors import DtdaError
from dtda.core.models.lite import Moments
from dtda.core.models.student import MEAN, STD

SIDE = 80
WIDTH = 128  # of the features of one body
# The published first convolution sees code values 0 to 255, with weights of 0.003, and `embed`, before a batch norm, has
# 0.005. Adam moves every weight by the same step, and at a rate that suits the others these two are gone in a few dozen.
# So weights are held at the size of the others, for pixels in [0, 1] and a larger embedding: the same function.
PIXELS = 255
EMBEDDING = 8


class Stage(NamedTuple):
    """A halving block from `expand` to `width` channels, then residual blocks of these inner widths; with `squeeze` the last
    one weighs its channels (Hu et al. 2018) through width / 4 of them."""

    expand: int
    width: int
    inner: tuple[int, ...]
    squeeze: bool = False


V2 = (Stage(103, 64, (13, 13, 13, 13)), Stage(231, 128, (231, 52, 26, 77, 26, 26)), Stage(308, 128, (26, 26)))
V1SE = (
    Stage(103, 64, (13, 26, 13, 52), True),
    Stage(231, 128, (154, 52, 26, 52, 26, 26), True),
    Stage(308, 128, (26, 26), True),
)


class Body(nn.Module):
    """x: float [B, 3, 80, 80] BGR in [0, 1] -> float [B, 128]."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv(3, 32, 3, 2), *_conv(32, 32, 3, 1, 32)]
        channels = 32
        for stage in stages:
            layers.append(_block(channels, stage.expand, stage.width, 2))
            channels = stage.width
            for number, inner in enumerate(stage.inner, 1):
                last = stage.squeeze and number == len(stage.inner)
                layers.append(Residual(channels, inner, last))
        layers += [*_conv(channels, 512, 1), nn.Conv2d(512, 512, 5, groups=512), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.embed = nn.Linear(512, WIDTH, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.embed(self.layers(x)))


class Residual(nn.Module):
    def __init__(self, channels: int, inner: int, weighs: bool) -> None:
        super().__init__()
        self.block = _block(channels, inner, channels, 1)
        self.weigh = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, channels // 4, 1),
                nn.ReLU(),
                nn.Conv2d(channels // 4, channels, 1),
                nn.Sigmoid(),
            )
            if weighs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + (y if self.weigh is None else y * self.weigh(y))


class Fasnet(nn.Module):
    """The trunk of a student, [B, 3, S, S] normalised as `Student` does -> [B, width, 1, 1]: bodies on the whole chip
    shrunk to 80 px, for context; `whole` on the chip as it is, since what an EfficientNet brings from ImageNet is of hands,
    frames and edges as much as of texture; and `texture` on its middle half as it is."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        bodies: tuple[tuple[Stage, ...], ...],
        texture: nn.Module | None = None,
        whole: Moments | None = None,
    ) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(Body(stages) for stages in bodies)
        self.texture = texture
        self.whole = whole
        # Of the features of its branches, but for the texture's.
        self.widths = [WIDTH] * len(bodies) + ([whole.width] if whole else [])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[2]
        pixels = x * self.std + self.mean
        small = pixels.flip(1)
        if side % SIDE:
            small = interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)
        elif side > SIDE:
            small = avg_pool2d(small, side // SIDE)
        parts = [body(small) for body in self.bodies]
        if self.whole is not None:
            parts.append(self.whole((pixels * 255 - 127) / 128))
        if self.texture is not None:
            edge = side // 4
            parts.append(self.texture(x[:, :, edge : side - edge, edge : side - edge]).mean((2, 3)))
        return torch.cat(parts, 1)[:, :, None, None]


def read_body(body: Body, path: Path) -> Tensor:
    """Give a body the weights of its published ONNX file, and return those of the classes, float [3, 128].

    Raises DtdaError for a file of another network.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's own exception, and OSError
        raise DtdaError(f"{path}: not a readable ONNX file.") from error
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kinds = ("Conv", "PRelu", "MatMul", "BatchNormalization")
    given = [
        [constants[name] for name in node.input if name in constants] for node in graph.node if node.op_type in kinds
    ]
    parts: list[list[Tensor]] = [
        [value for value in (module.weight, module.bias) if value is not None]
        if isinstance(module, nn.Conv2d)
        else [module.weight]
        for module in body.layers.modules()
        if isinstance(module, (nn.Conv2d, nn.PReLU))
    ]
    norm = body.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    parts += [[body.embed.weight], [norm.weight, norm.bias, norm.running_mean, norm.running_var]]
    classes = given.pop() if given else []
    try:
        with torch.no_grad():
            for targets, values in zip(parts, given, strict=True):
                for target, value in zip(targets, values, strict=True):
                    target.copy_(torch.from_numpy(_like(value, tuple(target.shape))))
            parts[0][0].mul_(PIXELS)  # of the first convolution
            body.embed.weight.mul_(EMBEDDING)
            norm.running_mean.mul_(EMBEDDING)
            norm.running_var.mul_(EMBEDDING**2)
        (found,) = classes
        return torch.from_numpy(_like(found, (3, WIDTH)))
    except ValueError as error:
        raise DtdaError(f"{path}: not the MiniFASNet it should be ({error}); see docs/third-party.md.") from error


def _like(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A weight in torch's layout: matrices are transposed, slopes [C, 1, 1] flattened."""
    turned = value.T if value.ndim == 2 else value.reshape(len(value)) if value.shape[1:] == (1, 1) else value
    if turned.shape != shape:
        raise ValueError(f"{list(value.shape)} where {list(shape)} belongs")
    return turned.copy()


def _conv(channels: int, width: int, side: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, side, stride, side // 2, groups=groups), nn.PReLU(width)]


def _block(channels: int, inner: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*_conv(channels, inner, 1), *_conv(inner, inner, 3, stride, inner), nn.Conv2d(inner, width, 1))
