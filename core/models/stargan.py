"""StarGAN's two networks (Choi et al., "StarGAN", CVPR 2018, tables 4 and 5), named and shaped as the official ones.

The discriminator is the generative teacher; the generator is needed only to train one (training/teacher.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

SLOPE = 0.01


class Discriminator(nn.Module):
    """Strided convolutions, then two heads: is this patch real, and which attributes does the face have.

    size: side of the input; a multiple of 2**repeats. width: channels of the first convolution, doubled by each of the
    `repeats`. attributes: how many. The official one is (128, 64, 5, 6).
    """

    def __init__(self, size: int = 128, width: int = 64, attributes: int = 5, repeats: int = 6) -> None:
        super().__init__()
        self.size, self.attributes = size, attributes
        channels = [3, *(width * 2**number for number in range(repeats))]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.main = nn.Sequential(*layers)
        self.width = channels[-1]
        self.conv1 = nn.Conv2d(self.width, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(self.width, attributes, size // 2**repeats, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """[B, 3, size, size] RGB in [-1, 1] -> [B, width, h, h], the trunk before both heads."""
        return self.main(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Realness of each patch [B, 1, h, h], unbounded; attribute logits [B, attributes]."""
        found = self.main(x)
        return self.conv1(found), self.conv2(found).flatten(1)


def discriminator_of(state: Mapping[str, Tensor]) -> Discriminator:
    """The discriminator, with random weights, whose shapes a state dict has. Raises ValueError when it is of none."""
    try:
        width = state["main.0.weight"].shape[0]
        attributes, _, kernel, _ = state["conv2.weight"].shape
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"no usable {error}" if isinstance(error, KeyError) else "wrong shapes") from error
    repeats = sum(name.startswith("main.") and name.endswith(".weight") for name in state)
    with torch.device("meta"):  # foreign shapes must not cost memory
        found = Discriminator(kernel * 2**repeats, width, attributes, repeats)
    return found


class _Norm(nn.InstanceNorm2d):
    """Normalises by the picture's own statistics in every mode; the running ones exist only to fit official files.

    The official generator is never put into eval mode either: with running statistics it makes grey pictures.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.main = nn.Sequential(first, _Norm(width), nn.ReLU(inplace=True), second, _Norm(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Generator(nn.Module):
    """Paints a face with other attributes. width: channels of the first convolution. blocks: residual blocks."""

    def __init__(self, width: int = 64, attributes: int = 5, blocks: int = 6) -> None:
        super().__init__()
        wide, wider = 2 * width, 4 * width
        self.main = nn.Sequential(
            *_layer(nn.Conv2d(3 + attributes, width, 7, padding=3, bias=False), width),
            *_layer(nn.Conv2d(width, wide, 4, stride=2, padding=1, bias=False), wide),
            *_layer(nn.Conv2d(wide, wider, 4, stride=2, padding=1, bias=False), wider),
            *(_Residual(wider) for _ in range(blocks)),
            *_layer(nn.ConvTranspose2d(wider, wide, 4, stride=2, padding=1, bias=False), wide),
            *_layer(nn.ConvTranspose2d(wide, width, 4, stride=2, padding=1, bias=False), width),
            nn.Conv2d(width, 3, 7, padding=3, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: Tensor, wanted: Tensor) -> Tensor:
        """x: [B, 3, S, S] RGB in [-1, 1], S a multiple of 4. wanted: [B, attributes] in [0, 1]. Returns [B, 3, S, S]."""
        planes = wanted[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.main(torch.cat([x, planes], 1))


def _layer(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, _Norm(width), nn.ReLU(inplace=True)]
