"""Optimiser and learning rate schedule of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from dtda.core.training.config import OptimPart, TrainConfig
from dtda.core.training.method import Method


def make_optimizer(method: Method, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; biases and normalisation are not decayed; the discriminator, and weights that
    did not start at random, have their own rates."""
    part = config.optim
    begun = tuple(f"student.{prefix}" for prefix in method.student.begun)
    groups = []
    for factor, mine in (
        (1.0, lambda name: not name.startswith(("discriminator.", *begun))),
        (part.begun, lambda name: bool(begun) and name.startswith(begun)),
        (config.domain.lr, lambda name: name.startswith("discriminator.")),
    ):
        for decayed in (True, False):
            chosen = [p for name, p in method.named_parameters() if mine(name) and (p.ndim > 1) == decayed]
            decay = part.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "weight_decay": decay, "lr": factor * part.lr})
    groups = [group for group in groups if group["params"]]
    if part.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=part.lr, momentum=part.momentum, nesterov=part.momentum > 0)
    return torch.optim.AdamW(groups, lr=part.lr)


def make_schedule(
    optimizer: torch.optim.Optimizer, part: OptimPart, steps: int, state: Mapping[str, Any] | None
) -> torch.optim.lr_scheduler.LambdaLR:
    """Stepped once per update. state: of a run that goes on."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, part))
    if state:
        schedule.load_state_dict(dict(state))
        for group, lr in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = lr  # making a schedule sets the rate of its first step
    return schedule


def rate(step: int, steps: int, part: OptimPart) -> float:
    """Factor on the learning rate: linear warm-up, then cosine to zero or a tenth after each milestone."""
    first = max(1, round(part.warmup * steps))
    if step < first:
        return (step + 1) / first
    if part.schedule == "step":
        return 0.1 ** sum(step >= milestone * steps for milestone in part.milestones)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(1, steps - first))))
