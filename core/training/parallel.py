"""Devices, precision and processes through Lightning Fabric: one code path for a CPU, a GPU, and torchrun."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from dtda.core.errors import DtdaError
from dtda.core.memory import keep_memory
from dtda.core.training.config import TrainConfig


def open_fabric(config: TrainConfig) -> Fabric:
    """One process, or, below torchrun, this process's part of all. Raises DtdaError for a device that is not there."""
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    kind, _, number = config.device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=config.device if config.device != "auto" else kind)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        raise DtdaError(
            f"device {config.device} cannot be used here ({str(error).splitlines()[0]}); use cpu or auto."
        ) from error
    if config.optim.batch % world:
        raise DtdaError(f"optim.batch is {config.optim.batch}, which {world} processes cannot share evenly.")
    if config.precision == "16-mixed" and kind == "cpu":
        raise DtdaError("precision 16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed.")
    if kind == "cpu":
        keep_memory()
    devices: int | list[int] = [int(number)] if number and world == 1 else local
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def shared_statistics(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Batch normalisation over the global batch when there are several processes, so that their number changes nothing."""
    if fabric.world_size == 1:
        return module
    if fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for part in module.modules():
        if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d):
            part.__class__ = CrossNorm
    return module


def mean_over_processes(x: Tensor) -> Tensor:
    """x, or its mean over all processes where there are several. No gradient passes."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
        x /= dist.get_world_size()
    return x


class CrossNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of vectors or maps whose training statistics are those of all processes; torch's own does this on
    GPUs only."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() / x.shape[1] * dist.get_world_size()
        values = x.float()  # sums over a batch are beyond half precision
        shape, rest = (-1, *(1,) * (x.ndim - 2)), (0, *range(2, x.ndim))
        mean = _Sum.apply(values.sum(rest)) / count
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(rest)) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
