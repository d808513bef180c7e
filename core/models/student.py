"""Students: a trunk, its pooled features, a head that gives one live logit, and optionally a cue map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from dtda.core.errors import DtdaError

MEAN = (0.485, 0.456, 0.406)  # ImageNet statistics, RGB
STD = (0.229, 0.224, 0.225)


class Student(nn.Module):
    """x float [B, 3, S, S] RGB in [0, 1] -> live logit [B].

    `features` is the pooled vector [B, width] that the domain discriminator and the teachers speak to. With a cue map the
    feature map [B, width, h, w] also gives a live logit for every cell of it (`cues`), trained with the label of the whole
    face as in pixel-wise binary supervision (George and Marcel, ICB 2019).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Module, width: int, dropout: float, cue_map: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width
        self.begun: tuple[str, ...] = ()  # how the names of the weights begin that did not start at random
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))
        self.cue_head = nn.Conv2d(width, 1, 1) if cue_map else None
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def feature_map(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] -> [B, width, h, w]."""
        return self.trunk((x - self.mean) / self.std)

    def features(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] -> [B, width]."""
        return self.feature_map(x).mean((2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """[B, width] -> live logit [B]."""
        return self.head(features).squeeze(1)

    @property
    def widths(self) -> list[int]:
        """Of the features of each branch of the trunk, in order; their sum is `width`."""
        known = getattr(self.trunk, "widths", [])
        rest = self.width - sum(known)
        return [*known, rest] if rest else [*known]

    def branches(self, features: Tensor) -> Tensor:
        """[B, width] -> [B, N], the part of the live logit, without the bias, of each of N branches of the trunk."""
        spoken = self.head[0](features) * self.head[1].weight[0]
        return torch.stack([part.sum(1) for part in spoken.split(self.widths, 1)], 1)

    def cues(self, feature_map: Tensor) -> Tensor:
        """[B, width, h, w] -> live logits [B, h, w]. Only with a cue map."""
        assert self.cue_head is not None
        return self.cue_head(feature_map).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def _mobile(weights: str) -> tuple[nn.Module, int]:
    """MobileNetV3-small (Howard et al. 2019) up to its last 576 channels; 0.93 M parameters."""
    net = _torchvision(torchvision.models.mobilenet_v3_small, weights)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1  # torchvision's 0.01 is for runs of 100 000 steps; the statistics of ours would lag
    return net.features, 576


def _resnet18(weights: str) -> tuple[nn.Module, int]:
    """ResNet-18 (He et al. 2016), the paper's backbone, up to its last 512 channels; 11.2 M parameters."""
    net = _torchvision(torchvision.models.resnet18, weights)
    layers = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return nn.Sequential(*(getattr(net, name) for name in layers)), 512


def _fasnets(weights: str, count: int, texture: Trunk | None = None, blocks: int = 0) -> tuple[nn.Module, int]:
    """The first `count` published MiniFASNets side by side, so many blocks of EfficientNet-Lite0, and a texture network;
    these two from random weights here."""
    from dtda.core.models.fasnet import V1SE, V2, Fasnet
    from dtda.core.models.lite import Lite, Moments

    if weights != "random":
        raise DtdaError(
            f"{weights}: MiniFASNets start from random weights or from a description of their networks (.json)."
        )
    middle, width = texture("random") if texture else (None, 0)
    whole = Moments(Lite(blocks)) if blocks else None
    trunk = Fasnet((V2, V1SE)[:count], middle, whole)
    return trunk, sum(trunk.widths) + width


Trunk = Callable[[str], tuple[nn.Module, int]]  # weights -> a trunk and the width of what it gives
FASNETS: dict[str, Trunk] = {
    "pair": lambda weights: _fasnets(weights, 2),  # 0.86 M parameters
    "pair-mobile": lambda weights: _fasnets(weights, 2, _mobile),  # 1.78 M
    "pair-lite": lambda weights: _fasnets(weights, 2, blocks=11),  # 1.55 M
    # 12.0 M, in FP16 what a student of 24 MB may weigh: with the second body or two more blocks it would be over that.
    "resnet18-lite": lambda weights: _fasnets(weights, 1, _resnet18, 9),
}
STUDENTS: dict[str, Trunk] = {"mobile": _mobile, "resnet18": _resnet18, **FASNETS}


def build_student(
    name: str,
    dropout: float = 0.2,
    weights: str = "random",
    cue_map: bool = False,
    texture: str = "random",
    frozen: int = 0,
) -> Student:
    """A student. weights: "random", "imagenet" (torchvision's for its trunk, downloaded once), or the path of a state dict:
    torchvision's, or a whole student's; of MiniFASNets, the description (`core.foreign`) of the networks they go on from.
    texture: of the EfficientNet-Lite0 of a "-lite" student: "random", or the path of its published state dict or of the
    checkpoint of another "-lite" student. frozen: blocks of it that training leaves as they are there.
    Raises DtdaError for an unknown name and for weights that cannot be had or do not fit."""
    if name not in STUDENTS:
        raise DtdaError(f"{name}: no such student; known are {', '.join(STUDENTS)}.")
    student = _build(name, dropout, weights, cue_map)
    if texture != "random" or frozen:
        from dtda.core.models.lite import Lite, read_lite

        net = next((part for part in student.modules() if isinstance(part, Lite)), None)
        if net is None:
            raise DtdaError(f"{name} has no EfficientNet-Lite0 to start or to keep as it is; pair-lite has.")
        if texture != "random":
            read_lite(net, Path(texture))
        net.freeze(frozen)
    return student


def _build(name: str, dropout: float, weights: str, cue_map: bool) -> Student:
    if weights in ("random", "imagenet"):
        student = Student(*STUDENTS[name](weights), dropout, cue_map)
        student.begun = ("trunk.",) if weights == "imagenet" else ()
        return student
    path = Path(weights)
    if not path.is_file():
        raise DtdaError(f"{path}: no such file of weights; use random, imagenet, or a state dict.")
    if name in FASNETS and path.suffix == ".json":
        student = Student(*STUDENTS[name]("random"), dropout, cue_map)
        _go_on(student, path)
        return student
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        whole = "student" in state  # a checkpoint of ours
        student = Student(*STUDENTS[name]("random" if whole else weights), dropout, cue_map)
        student.begun = ("trunk.",)
        if whole:
            student.load_state_dict(state["student"])
            student.begun = ("",)
    except DtdaError:
        raise
    except Exception as error:  # what is raised for foreign bytes differs by their first ones
        raise DtdaError(f"{path}: not weights of a {name} student{' with a cue map' if cue_map else ''}.") from error
    return student


def _go_on(student: Student, path: Path) -> None:
    """Bodies and head as the published networks have them; a third part has no say yet."""
    from dtda.core.foreign import read_foreign
    from dtda.core.models.fasnet import read_body

    foreign, bodies = read_foreign(path), student.trunk.bodies
    files = [network.file for network in foreign.networks]
    if len(files) != 2:
        raise DtdaError(f"{path}: a student goes on from two networks, this names {len(files)}.")
    if (foreign.classes, foreign.live) != (3, 1):
        raise DtdaError(f"{path}: a student goes on from networks of three classes, the second one live.")
    classes = [read_body(body, file) for body, file in zip(bodies, files, strict=False)]
    # The mean over the bodies of the live logit minus the mean of the others', near enough to begin with.
    known = torch.cat([(each[1] - (each[0] + each[2]) / 2) / len(bodies) for each in classes])
    with torch.no_grad():
        last = student.head[1]
        last.weight.zero_()
        last.weight[0, : len(known)].copy_(known)
        last.bias.zero_()
    student.begun = ("trunk.bodies.", "head.")


def _torchvision(build: Callable[..., nn.Module], weights: str) -> nn.Module:
    if weights == "imagenet":
        try:
            return build(weights="DEFAULT")
        except OSError as error:
            raise DtdaError(
                f"the ImageNet weights could not be downloaded ({error}); go online once, or name their file as weights."
            ) from error
    net = build(weights=None)
    if weights != "random":
        net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net
