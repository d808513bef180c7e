"""An anti-spoofing network from elsewhere as a teacher: what it says of each class, each of its networks on its own crop.

Unlike the face teachers it has seen real attacks. It is not part of DTDA, and its licence binds what is distilled from it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from dtda.core.errors import DtdaError
from dtda.core.foreign import Foreign, Network
from dtda.core.models.frames import arcface_frame, similarity
from dtda.core.models.onnx_trunk import OnnxTrunk
from dtda.core.preprocess import BOX_CENTRE, BOX_SIZE

TINY = 1e-6  # the least probability: its logarithm is a target


class Antispoof(nn.Module):
    """x: float [B, 3, S, S] RGB in [0, 1], the student's chip, and points float [B, 5, 2] chip pixels, to the logarithms of
    the mean probabilities, float [B, classes], the live class first. Never any gradient.

    squeeze: see `frames.cut`. A crop wider than the chip is shrunk to it, as at the border of a picture: give students
    that learn from wide crops a wide margin.
    """

    def __init__(self, path: Path, foreign: Foreign, threads: int, provider: str) -> None:
        super().__init__()
        if foreign.classes < 2:
            raise DtdaError(
                f"{path}: a network with one output cannot teach; name one with a class for live and others."
            )
        self.width, self.squeeze = foreign.classes, 1.0
        self._foreign = foreign
        self.trunks = nn.ModuleList(
            OnnxTrunk(part.file, part.size, part.output, threads, provider) for part in foreign.networks
        )
        for part, trunk in zip(foreign.networks, self.trunks, strict=True):
            if part.crop != "upright":
                raise DtdaError(f"{path}: a teacher's crop must be upright.")
            found = trunk(torch.zeros(1, 3, part.size, part.size)).shape[1]
            if found != foreign.classes:
                raise DtdaError(
                    f"{part.file}: gives {found} classes, not the {foreign.classes} of {path}; correct `classes`."
                )

    @torch.no_grad()
    def forward(self, x: Tensor, points: Tensor) -> Tensor:
        x, points = x.detach().float(), points.float()
        total = torch.zeros(len(x), self.width, device=x.device)
        for part, trunk in zip(self._foreign.networks, self.trunks, strict=True):
            found = trunk(self.view(x, points, part))
            total += found.softmax(1) if self._foreign.activation == "softmax" else found
        live = self._foreign.live
        mean = total / len(self.trunks)
        return torch.cat([mean[:, live : live + 1], mean[:, :live], mean[:, live + 1 :]], 1).clamp(min=TINY).log()

    @torch.no_grad()
    def view(self, x: Tensor, points: Tensor, part: Network) -> Tensor:
        """What one network sees: its upright crop of the chip, `preprocess._upright` for a batch, normalised."""
        height, width = x.shape[2:]
        shape = torch.tensor([1.0, self.squeeze]).to(x)
        limits = torch.tensor([float(width), float(height)]).to(x)
        fit = similarity(points.to(x) * shape, arcface_frame())
        scale = fit[:, 0, 0].square() + fit[:, 0, 1].square()
        box = torch.tensor(BOX_SIZE).to(x) / scale.sqrt()[:, None] / shape
        towards = torch.tensor(BOX_CENTRE).to(x) - fit[:, :, 2]
        centre = (towards.unsqueeze(1) @ fit[:, :, :2]).squeeze(1) / scale[:, None] / shape + 0.5
        margin = (limits / box).amin(1).clamp(max=part.margin).clamp(min=1.0)
        side = margin[:, None] * box
        inside = centre.clamp(min=side / 2).minimum((limits - side / 2).maximum(side / 2))
        centre = torch.where(side <= limits + 1e-3, inside, centre)
        step = (torch.arange(part.size).to(x) + 0.5) / part.size - 0.5
        place = (centre[:, None] + step[:, None] * side[:, None]) / limits * 2 - 1  # [B, size, 2]
        grid = torch.stack(
            [
                place[:, None, :, 0].expand(-1, part.size, -1),
                place[:, :, None, 1].expand(-1, -1, part.size),
            ],
            -1,
        )
        found = grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False) * 255
        if part.order == "bgr":
            found = found.flip(1)
        mean, std = (torch.tensor(value).to(x).view(-1, 1, 1) for value in (part.mean, part.std))
        return (found - mean) / std
