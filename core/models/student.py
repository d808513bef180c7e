"""Students: a backbone, its pooled features, and a head that gives one live logit."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from dtda.core.errors import DtdaError

MEAN = (0.485, 0.456, 0.406)  # ImageNet statistics, RGB
STD = (0.229, 0.224, 0.225)


class Student(nn.Module):
    """x float [B, 3, S, S] RGB in [0, 1] -> live logit [B]. `features` is the pooled vector the teachers speak to."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] -> [B, width]."""
        return self.backbone((x - self.mean) / self.std)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).squeeze(1)


def _mobile() -> tuple[nn.Module, int]:
    """MobileNetV3-small (Howard et al. 2019) up to its pooled 576 channels; 0.93 M parameters."""
    net = torchvision.models.mobilenet_v3_small(weights=None)
    return nn.Sequential(net.features, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 576


def _resnet18() -> tuple[nn.Module, int]:
    """ResNet-18 (He et al. 2016), the paper's backbone, up to its pooled 512 channels."""
    net = torchvision.models.resnet18(weights=None)
    net.fc = nn.Identity()
    return net, 512


STUDENTS = {"mobile": _mobile, "resnet18": _resnet18}


def build_student(name: str, dropout: float = 0.2) -> Student:
    """A student with random weights. Raises DtdaError for an unknown name."""
    if name not in STUDENTS:
        raise DtdaError(f"{name}: no such student; known are {', '.join(STUDENTS)}.")
    backbone, width = STUDENTS[name]()
    return Student(backbone, width, dropout)
