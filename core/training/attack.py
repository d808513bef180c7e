"""Domain adversarial attack (DAA): change the pictures, not the network, until their domains cannot be told apart.

That the inputs are attacked is known of the paper; objectives, steps and strengths are our reconstruction
(sign-gradient steps in an L-infinity ball, Madry et al., ICLR 2018), each a field of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dtda.core.models.student import Student
from dtda.core.training.config import AttackPart


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside; everything as it was afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    wanted = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    try:
        for module in modules:
            module.eval()
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter in wanted:
            parameter.requires_grad_(True)


def domain_attack(student: Student, discriminator: nn.Module, x: Tensor, domain: Tensor, part: AttackPart) -> Tensor:
    """Adversarial pictures float [B, 3, S, S] in [0, 1], within `part.eps` of x.

    x: float [B, 3, S, S] RGB in [0, 1]. domain: int64 [B]. "confuse" descends KL(uniform || D(E(x))), "untargeted"
    ascends CE(D(E(x)), domain). Student and discriminator are frozen meanwhile, batch-norm statistics included.
    """
    step = part.eps if part.alpha is None and part.steps == 1 else (part.alpha or 2 * part.eps / part.steps)
    delta = torch.zeros_like(x)
    if part.start == "noise":
        delta.uniform_(-part.eps, part.eps)
    with frozen(student, discriminator), torch.enable_grad():
        for _ in range(part.steps):
            moved = (x + delta).clamp_(0, 1).requires_grad_()
            logits = discriminator(student.features(moved)).float()
            # Half precision would round the small gradients of pictures to zero; their sign knows no scale.
            (gradient,) = torch.autograd.grad(256 * harm(logits, domain, part.objective), moved)
            delta = (delta + step * gradient.sign()).clamp_(-part.eps, part.eps)
    return (x + delta).clamp_(0, 1).detach()


def harm(logits: Tensor, domain: Tensor, objective: str) -> Tensor:
    """What the attack ascends, a scalar. Summed over the batch, so that no picture's step depends on the others."""
    if objective == "untargeted":
        return cross_entropy(logits, domain, reduction="sum")
    # KL(uniform || p) = -mean_k log p_k - log K
    return logits.log_softmax(1).mean(1).sum()
