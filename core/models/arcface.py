"""ArcFace's IResNet (Deng et al., "ArcFace", CVPR 2019; blocks of Han et al., "Deep Pyramidal Residual Networks", 2017).

Named and shaped as insightface's `recognition/arcface_torch`, whose `backbone.pth` files it reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

SIDE = 112
WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    """Normalise, convolve, normalise, PReLU, convolve, normalise; no activation after the sum. The stride is the second
    convolution's."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(self.bn1(x))
        found = self.bn3(self.conv2(self.prelu(self.bn2(found))))
        return found + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """x float [B, 3, 112, 112] RGB in [-1, 1] -> identity features float [B, width], compared by cosine.

    depths: blocks of each of the four stages; (2, 2, 2, 2) is IResNet-18. Dropout, 0 in the official recipes, is left out.
    """

    def __init__(self, depths: Sequence[int] = (2, 2, 2, 2), width: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        before = WIDTHS[0]
        for number, (after, depth) in enumerate(zip(WIDTHS, depths, strict=True), 1):
            blocks = [_Block(before if place == 0 else after, after, 2 if place == 0 else 1) for place in range(depth)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = after
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * (SIDE // 16) ** 2, width)
        self.features = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        found = self.prelu(self.bn1(self.conv1(x)))
        for number in range(1, len(WIDTHS) + 1):
            found = getattr(self, f"layer{number}")(found)
        return self.features(self.fc(self.bn2(found).flatten(1)))
