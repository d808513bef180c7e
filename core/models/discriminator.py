"""Domain discriminator, and the gradient reversal through which domain adversarial training speaks to the student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Discriminator(nn.Sequential):
    """features [B, width] -> domain logits [B, K]. One hidden layer; features are normalised first, so that a student
    cannot escape by shrinking them."""

    def __init__(self, width: int, domains: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, domains))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """x unchanged; its gradient is multiplied by -strength (Ganin et al., JMLR 2016, section 4.2)."""
    return _Reversal.apply(x, strength)
