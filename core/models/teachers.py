"""Frozen teachers: face networks from another task, each fed its own crop with its own normalisation.

`open_teacher` gives one; what it returns takes the student's chip and points and gives features. No gradient passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from dtda.core.errors import DtdaError
from dtda.core.foreign import read_foreign
from dtda.core.models.antispoof import Antispoof
from dtda.core.models.arcface import SIDE, IResNet
from dtda.core.models.frames import Frame, arcface_frame, celeba_frame, cut
from dtda.core.models.onnx_trunk import OnnxTrunk
from dtda.core.models.stargan import discriminator_of
from dtda.core.preprocess import BOX_SIZE, Crop

ARCFACE_HINT = "name the backbone.pth of insightface's ms1mv3_arcface_r18_fp16"
SQUEEZE: dict[Crop, float] = {"aligned": 1.0, "upright": float(BOX_SIZE[1] / BOX_SIZE[0])}
STARGAN_HINT = "name StarGAN's 200000-D.ckpt, or train one with `dtda train-teacher`"


class Teacher(nn.Module):
    """trunk: float [B, 3, size, size], normalised, to [B, width]. frame: its crop. mean, std: in units of [0, 1].

    Always in eval mode and without gradient, whatever is done to a module that holds it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Module, frame: Frame, mean: float, std: float, bgr: bool = False) -> None:
        super().__init__()
        self.trunk, self.frame, self.bgr = trunk, frame, bgr
        self.squeeze = 1.0  # of the chips it is shown, see `frames.cut`
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.requires_grad_(False)
        self.train(False)
        with torch.no_grad():
            self.width = int(trunk(torch.zeros(1, 3, frame.size, frame.size)).shape[1])

    def train(self, mode: bool = True) -> Teacher:
        """A parent's `train()` comes here: it stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def crop(self, x: Tensor, points: Tensor) -> Tensor:
        """What the trunk sees, float [B, 3, size, size]; arguments as in `forward`."""
        # A crop is at most about half of its chip's side. Where it is finer than the frame, the samples are too.
        fineness = max(1, round(x.shape[3] / (2 * self.frame.size)))
        with torch.autocast(x.device.type, enabled=False):  # in half precision a place would be off by a pixel
            face = (cut(x.detach().float(), points.float(), self.frame, fineness, self.squeeze) - self.mean) / self.std
        return face.flip(1) if self.bgr else face

    @torch.no_grad()
    def forward(self, x: Tensor, points: Tensor) -> Tensor:
        """x: float [B, 3, S, S] RGB in [0, 1], the student's chip. points: float [B, 5, 2] chip pixels, left being the
        left of the chip (so a mirrored chip has its pairs swapped). Returns float [B, width]."""
        return self.trunk(self.crop(x, points)).float()


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ArcfaceOptions(_Options):
    """None."""


class StarganOptions(_Options):
    """pool: mean of the trunk's map over places, or all places flattened.

    The mean is the default: the student's features it is compared with are pooled too, and know no places.
    """

    pool: Literal["mean", "flat"] = "mean"


class OnnxOptions(_Options):
    """size: side of the input, where the graph leaves it open. mean, std: in units of [0, 1]; default (x - 127) / 128 in
    code values. order: of its colours. margin: context around insightface's 112 px frame, 1 for none. output: its name,
    where there are several. threads: 0 as many as torch has. provider: of onnxruntime."""

    size: Annotated[int, Field(ge=16, le=1024)] | None = None
    mean: float = 127 / 255
    std: Annotated[float, Field(gt=0)] = 128 / 255
    order: Literal["rgb", "bgr"] = "rgb"
    margin: Annotated[float, Field(ge=0.5, le=6)] = 1.0
    output: str = ""
    threads: Annotated[int, Field(ge=0)] = 0
    provider: Literal["cpu", "cuda"] = "cpu"


def open_teacher(
    kind: str, file: Path, device: torch.device | str = "cpu", crop: Crop = "aligned", **options: Any
) -> Teacher | Antispoof:
    """kind: arcface, stargan, onnx or antispoof. file: its weights, or its description (`core.foreign`). crop: of the chips
    it will be shown. options: those of `ArcfaceOptions` and the like.

    Raises DtdaError when the file is of another network, cannot be read, or an option is wrong.
    """
    if kind not in OPENERS:
        raise DtdaError(f"{kind}: no such kind of teacher; known are {', '.join(OPENERS)}.")
    schema, opener = OPENERS[kind]
    try:
        chosen = schema.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name, known = first["loc"][0], ", ".join(schema.model_fields) or "none"
        raise DtdaError(f"option {name} of teacher {kind}: {first['msg']}; its options: {known}.") from error
    if not file.is_file():
        raise DtdaError(f"{file}: no such teacher file; docs/teachers.md says where to get one.")
    teacher = opener(file, chosen).to(device)
    teacher.squeeze = SQUEEZE[crop]
    return teacher


def _arcface(file: Path, _: ArcfaceOptions) -> Teacher:
    with torch.device("meta"):
        net = IResNet()
    fit(net, read_weights(file, ARCFACE_HINT), file, "an ArcFace IResNet-18", ARCFACE_HINT)
    return Teacher(net, arcface_frame(SIDE), 0.5, 0.5)


def _stargan(file: Path, options: StarganOptions) -> Teacher:
    state = read_weights(file, STARGAN_HINT)
    what = "a StarGAN discriminator"
    try:
        net = discriminator_of(state)
    except ValueError as error:
        raise DtdaError(f"{file}: not the weights of {what} ({error}); {STARGAN_HINT}.") from error
    fit(net, state, file, what, STARGAN_HINT)
    # The heads stay behind: they say real or not and which attributes, and only cost time here.
    pool = [nn.AdaptiveAvgPool2d(1)] if options.pool == "mean" else []
    return Teacher(nn.Sequential(net.main, *pool, nn.Flatten()), celeba_frame(net.size), 0.5, 0.5)


def _onnx(file: Path, options: OnnxOptions) -> Teacher:
    trunk = OnnxTrunk(file, options.size, options.output, options.threads, options.provider)
    frame = arcface_frame(trunk.size, options.margin)
    return Teacher(trunk, frame, options.mean, options.std, options.order == "bgr")


class AntispoofOptions(_Options):
    """threads: 0 as many as torch has. provider: of onnxruntime."""

    threads: Annotated[int, Field(ge=0)] = 0
    provider: Literal["cpu", "cuda"] = "cpu"


def _antispoof(file: Path, options: AntispoofOptions) -> Antispoof:
    return Antispoof(file, read_foreign(file), options.threads, options.provider)


OPENERS: dict[str, tuple[type[_Options], Any]] = {
    "arcface": (ArcfaceOptions, _arcface),
    "stargan": (StarganOptions, _stargan),
    "onnx": (OnnxOptions, _onnx),
    "antispoof": (AntispoofOptions, _antispoof),
}


def read_weights(file: Path, hint: str) -> Mapping[str, Tensor]:
    """A bare state dict, on the CPU; only tensors are read, never code. Raises DtdaError, ending with the hint."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what is raised for foreign bytes differs by their first ones
        raise DtdaError(f"{file}: not a readable PyTorch weights file; {hint}.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DtdaError(f"{file}: not a bare state dict, but something around or beside one; {hint}.")
    return state


def fit(module: nn.Module, state: Mapping[str, Tensor], file: Path, what: str, hint: str) -> None:
    """Give a module (on the meta device) the tensors of a state dict, as float32. Raises DtdaError at any difference."""
    wanted = module.state_dict()
    differences = [f"it has no {name}" for name in wanted if name not in state]
    differences += [f"{name} is unknown" for name in state if name not in wanted]
    differences += [
        f"{name} is {list(state[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    differences += [f"{name} is not finite" for name, tensor in state.items() if not tensor.isfinite().all()]
    if differences:
        raise DtdaError(f"{file}: not the weights of {what} ({differences[0]}); {hint}.")
    module.load_state_dict(state, assign=True)
    module.float()
