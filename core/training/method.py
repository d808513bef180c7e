"""What one step of training minimises: classification, domain term, and distillation, each switched by the configuration.

Known of DTDA (Kong et al., arXiv 2401.01102): adversarial pictures go to student and teachers, two frozen teachers that
never saw an attack, a multi-task student. The weights and distances are our reconstruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    kl_div,
    mse_loss,
    normalize,
)

from dtda.core.models.discriminator import Discriminator, reverse_gradient
from dtda.core.models.student import Student
from dtda.core.training.attack import domain_attack
from dtda.core.training.config import TrainConfig
from dtda.core.training.parallel import mean_over_processes

TeacherCall = Callable[[Tensor, Tensor], Tensor]


class Batch(NamedTuple):
    """x: float [B, 3, S, S] RGB in [0, 1]. live: float [B], 1 bona fide. domain: int64 [B]. weight: float [B], mean 1 over
    the global batch. points: float [B, 5, 2] chip pixels."""

    x: Tensor
    live: Tensor
    domain: Tensor
    weight: Tensor
    points: Tensor

    def first(self, count: int) -> Batch:
        return Batch(*(values[:count] for values in self))


class Method(nn.Module):
    """Student, discriminator and adapters, trained together; `forward` gives the losses of a batch.

    teachers: name -> (features of chips without gradient, their width). They are not part of the module: nothing of
    theirs is trained, saved, or sent between processes.
    """

    def __init__(
        self, student: Student, config: TrainConfig, domains: int, teachers: Mapping[str, tuple[TeacherCall, int]]
    ) -> None:
        super().__init__()
        self.config = config
        self.student = student
        adversary = config.domain.adversary
        self.discriminator = (
            None if adversary == "none" else Discriminator(student.width, domains, config.domain.hidden)
        )
        self.teachers = {name: call for name, (call, _) in teachers.items()}
        # Of the classes of an anti-spoofing teacher live is the student's own logit; the adapter tells the others apart.
        self.adapters = nn.ModuleDict(
            {name: nn.Linear(student.width, width - self._judges(name)) for name, (_, width) in teachers.items()}
        )
        self.centres = nn.ModuleDict({name: Centre(width) for name, (_, width) in teachers.items()})

    def attacked(self, batch: Batch) -> Tensor | None:
        """The first pictures of the batch, its share, after the domain adversarial attack; None without it."""
        if self.config.domain.adversary != "daa":
            return None
        assert self.discriminator is not None
        part = self.config.domain.attack
        chosen = batch.first(_share(len(batch.x), part.share))
        return domain_attack(self.student, self.discriminator, chosen.x, chosen.domain, part)

    def known(self, batch: Batch, attacked: Tensor | None) -> dict[str, Tensor]:
        """What the teachers say of the batch, its attacked part first: [b, width] each, b the share of it they see."""
        seen = batch.x if attacked is None else torch.cat([attacked, batch.x[len(attacked) :]])
        targets = {}
        for name, call in self.teachers.items():
            count = _share(len(seen), self.config.teachers[name].share)
            target = call(seen[:count], batch.points[:count]).float()
            centred = self.config.teachers[name].centre and not self._judges(name)
            targets[name] = self.centres[name](target) if centred else target
        return targets

    def _judges(self, name: str) -> bool:
        return self.config.teachers[name].kind == "antispoof"

    def forward(
        self, batch: Batch, attacked: Tensor | None, targets: Mapping[str, Tensor], progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss and its parts, detached. progress: share of the run done, for DAT's ramp."""
        config, student = self.config, self.student
        maps = student.feature_map(batch.x)
        features = maps.mean((2, 3))
        parts = {"live": classification(student.classify(features), batch, config.optim.smoothing)}
        total = parts["live"]
        if student.cue_head is not None:
            parts["cues"] = classification(student.cues(maps), batch, config.optim.smoothing)
            total = total + config.cue_map * parts["cues"]
        if config.alone:
            spoken = student.branches(features)
            each = spoken.shape[1] * spoken + student.head[1].bias  # the student's logit is their mean
            parts["alone"] = classification(each, batch, config.optim.smoothing)
            total = total + config.alone * parts["alone"]
        adversarial = features
        if attacked is not None:
            adversarial = student.features(attacked)
            chosen = batch.first(len(attacked))
            parts["attacked"] = classification(student.classify(adversarial), chosen, config.optim.smoothing)
            total = total + config.domain.attack.weight * parts["attacked"]
        if self.discriminator is not None:
            if config.domain.adversary == "dat":
                logits = self.discriminator(reverse_gradient(features, config.domain.reversal * ramp(progress)))
            else:
                # The discriminator never pushes into the student: that separates the attack from DAT.
                logits = self.discriminator(features.detach())
            parts["domain"] = cross_entropy(logits.float(), batch.domain)
            total = total + parts["domain"]
            parts |= self._fooled(logits.detach(), adversarial.detach(), batch.domain)
        known = features if attacked is None else torch.cat([adversarial, features[len(adversarial) :]])
        for name, target in targets.items():
            teacher = config.teachers[name]
            seen = known[: len(target)]
            found = self.adapters[name](seen)
            if self._judges(name):
                parts[name] = divergence(student.classify(seen), found, target, teacher.temperature)
            else:
                parts[name] = distance(found, target, teacher.distance)
            total = total + teacher.weight * parts[name]
        return total, {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def _fooled(self, clean: Tensor, adversarial: Tensor, domain: Tensor) -> dict[str, Tensor]:
        """Accuracy of the discriminator before and after the attack, and the share of its right answers that turned."""
        assert self.discriminator is not None
        right = clean.argmax(1) == domain
        figures = {"domain_accuracy": right.float().mean()}
        if self.config.domain.adversary == "daa":
            count = len(adversarial)
            after = self.discriminator(adversarial).argmax(1) == domain[:count]
            figures["domain_accuracy_attacked"] = after.float().mean()
            figures["attack_success"] = (right[:count] & ~after).sum() / right[:count].sum().clamp(min=1)
        return figures


class Centre(nn.Module):
    """Features minus their running mean [width]. Features of different faces may be all but parallel (mean cosine 0.975 for
    a small StarGAN discriminator): a constant would then imitate them, and nothing be learned."""

    mean: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """[b, width] -> [b, width]. In training the mean, over all processes, moves first: plainly, later by 2 %."""
        if self.training:
            self.count += 1
            self.mean.lerp_(mean_over_processes(features.mean(0)), (1 / self.count).clamp(min=0.02))
        return features - self.mean


def classification(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Weighted binary cross-entropy with smoothed labels; logits [B] or, of branches and cue maps, [B, ...]."""
    target = batch.live * (1 - smoothing) + smoothing / 2
    shape = (-1, *(1,) * (logits.ndim - 1))
    losses = binary_cross_entropy_with_logits(
        logits.float(), target.view(shape).expand_as(logits).float(), reduction="none"
    )
    return (losses * batch.weight.view(shape)).mean()


def distance(found: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean over the batch of 1 - cosine, or of the squared distance of the L2-normalised vectors over their width."""
    found, target = found.float(), target.float()
    if kind == "cosine":
        return (1 - cosine_similarity(found, target, dim=1)).mean()
    return mse_loss(normalize(found, dim=1), normalize(target, dim=1))


def divergence(live: Tensor, others: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence of softened class probabilities, times temperature squared (Hinton et al. 2015).

    live: logits [b]. others: logits [b, C - 1] that only share out what is not live. target: log probabilities [b, C],
    live first. The student's probability of live is sigmoid(live), as when it runs.
    """
    found = torch.cat([live.float().unsqueeze(1), others.float().log_softmax(1)], 1) / temperature
    wanted = (target.float() / temperature).log_softmax(1)
    return kl_div(found.log_softmax(1), wanted, reduction="batchmean", log_target=True) * temperature**2


def ramp(progress: float) -> float:
    """0 to 1 as 2 / (1 + exp(-10 p)) - 1 (Ganin et al. 2016, section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def _share(count: int, share: float) -> int:
    return max(1, round(share * count))
