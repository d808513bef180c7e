"""The training loop: empirical risk minimisation with binary cross-entropy over balanced batches of several domains.

Read `train` from top to bottom. A killed run goes on from its last checkpoint with the same data order.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dtda.core import metrics
from dtda.core.data.chips import Chips, cut_chips
from dtda.core.data.manifest import read_manifest
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.models.student import build_student
from dtda.core.preprocess import CropRule
from dtda.core.simulate.portrait import Detect
from dtda.core.training import checkpoint
from dtda.core.training.config import TrainConfig
from dtda.core.training.samples import EpochBatches, Samples, loader
from dtda.core.training.scoring import numbers_of, score, table
from dtda.core.types import Label


def train(
    config: TrainConfig, out: Path, resume: bool, make_detector: Callable[[], Detect], stop_after: int | None = None
) -> Path:
    """Train a student; returns the path of its checkpoint, `out/last.ckpt`.

    make_detector: called if a picture has no facial points. stop_after: end cleanly after so many steps, as a kill
    would, for tests. Raises DtdaError for unusable data, a NaN loss, or an `out` that holds another run.
    """
    last = out / "last.ckpt"
    state = _starting_state(config, last, resume)
    revision = git_revision()
    if state and state["git_revision"] != revision:
        revision = f"{state['git_revision']}, resumed with {revision}"
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = _device(config.device)

    chips = load_chips(config, out, make_detector)
    domains = sorted({record.domain for record in chips.records})
    for name in config.data.held_out:
        if name not in domains:
            raise DtdaError(f"held-out domain {name} is not in the data; there are {', '.join(domains)}.")
    sources = [domain for domain in domains if domain not in config.data.held_out]
    train_numbers, dev_numbers = numbers_of(chips, "train", sources), numbers_of(chips, "dev", sources)
    for split, numbers in (("train", train_numbers), ("dev", dev_numbers)):
        labels = {chips.records[number].label for number in numbers}
        if len(labels) < 2:
            raise DtdaError(f"the {split} split of {', '.join(sources)} needs live and spoof pictures; it has "
                            f"{', '.join(label.value for label in labels) or 'none'}.")  # fmt: skip

    pairs = 2 * len(sources)
    if config.optim.batch < pairs:
        raise DtdaError(f"optim.batch is {config.optim.batch}; live and attack of {len(sources)} domains need {pairs}.")
    student = build_student(config.student, config.dropout).to(device, memory_format=torch.channels_last)
    average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(config.optim.ema), use_buffers=True)
    optimizer = _optimizer(student, config)
    samples = Samples(chips, train_numbers, config)
    batches = EpochBatches(samples, config)
    steps = config.optim.epochs * batches.batches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, config.optim.warmup))
    epoch, start, step, history = 0, 0, 0, []
    if state:
        student.load_state_dict(state["student"])
        average.module.load_state_dict(state["ema"])
        average.n_averaged.fill_(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        if device.type == "cuda" and state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        epoch, start, step, history = state["epoch"], state["batch"], state["step"], state["history"]

    def snapshot(epoch: int, batch: int, extra: dict[str, Any] | None = None) -> None:
        checkpoint.save(
            last,
            {
                "config": config.model_dump(mode="json"),
                "student": student.state_dict(),
                "ema": average.module.state_dict(),
                "averaged": int(average.n_averaged),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state_all() if device.type == "cuda" else [],
                "epoch": epoch,
                "batch": batch,
                "step": step,
                "history": history,
                "sources": sources,
                "git_revision": revision,
                **(extra or {}),
            },
        )

    out.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    with SummaryWriter(out, purge_step=step) as board:
        batches.epoch, batches.start = epoch, start
        data = loader(samples, batches, config.workers)
        while batches.epoch < config.optim.epochs:
            student.train()
            bar = tqdm(data, desc=f"epoch {batches.epoch + 1}/{config.optim.epochs}", unit="batch", disable=None)
            total, done = 0.0, batches.start
            for images, labels, weights in bar:
                loss = _step(student, optimizer, config, images.to(device), labels.to(device), weights.to(device))
                if not math.isfinite(loss):
                    where = f"{last} holds the run before it" if last.exists() else "nothing was saved yet"
                    raise DtdaError(f"the loss is {loss} at step {step} ({where}); start again with a lower optim.lr.")
                schedule.step()
                # A young average follows the weights closely, so that short runs are not judged by their first steps.
                average.multi_avg_fn = get_ema_multi_avg_fn(min(config.optim.ema, (1 + step) / (10 + step)))
                average.update_parameters(student)
                step, done, total = step + 1, done + 1, total + loss
                board.add_scalar("train/loss", loss, step)
                board.add_scalar("train/lr", schedule.get_last_lr()[0], step)
                bar.set_postfix(loss=f"{loss:.3f}")
                if time.monotonic() - saved > 60 * config.checkpoint_minutes or step == stop_after:
                    snapshot(batches.epoch, done)
                    saved = time.monotonic()
                if step == stop_after:
                    return last
            scores = score(average.module, chips, dev_numbers)
            live = _live(chips, dev_numbers)
            row = {"loss": total / max(1, done - batches.start), "dev_auc": metrics.auc(scores, live),
                   "dev_eer": metrics.eer(scores, live).rate}  # fmt: skip
            history.append(row)
            for name, value in row.items():
                board.add_scalar(f"epoch/{name}", value, batches.epoch + 1)
            tqdm.write(f"epoch {batches.epoch + 1}: " + ", ".join(f"{name} {value:.4f}" for name, value in row.items()))
            batches.epoch, batches.start = batches.epoch + 1, 0
            snapshot(batches.epoch, 0)
        results = evaluate(average.module, chips, sources, config)
        snapshot(batches.epoch, 0, results)
    return last


def load_chips(config: TrainConfig, out: Path, make_detector: Callable[[], Detect]) -> Chips:
    """Chips of all manifests of a configuration, from its cache or cut now."""
    records = [record for manifest in config.data.manifests for record in read_manifest(manifest)]
    resolve("splits", records)
    rule = CropRule(config.data.size, config.data.margin)
    detect = make_detector() if any(record.points is None for record in records) else None
    with tqdm(total=len(records), desc="chips", unit="picture", disable=None) as bar:
        chips = cut_chips(records, rule, config.data.crops, config.data.cache or out / "chips", detect, bar.update)
    for sentence in chips.skipped:
        tqdm.write(f"skipped: {sentence}")
    return chips


def evaluate(student: torch.nn.Module, chips: Chips, sources: list[str], config: TrainConfig) -> dict[str, Any]:
    """Thresholds from the dev identities of the source domains, figures on test identities, source and held out."""
    dev = numbers_of(chips, "dev", sources)
    scores, live = score(student, chips, dev), _live(chips, dev)  # type: ignore[arg-type]
    where = f"dev identities of {', '.join(sources)} ({int(live.sum())} live, {int((~live).sum())} attack pictures)"
    found = {
        "default": (metrics.eer(scores, live).threshold, "equal error rate"),
        "bpcer_1": (metrics.threshold_at_bpcer(scores, live, 0.01), "BPCER 1 %"),
        "bpcer_5": (metrics.threshold_at_bpcer(scores, live, 0.05), "BPCER 5 %"),
    }
    thresholds = {name: {"value": value, "rule": rule, "split": where} for name, (value, rule) in found.items()}
    results = {}
    for title, split, domains in (
        ("dev identities, source domains", "dev", sources),
        ("test identities, source domains", "test", sources),
        ("test identities, held-out domains", "test", config.data.held_out),
    ):
        numbers = numbers_of(chips, split, domains)
        if numbers:
            results[title] = table(score(student, chips, numbers), chips, numbers, found["default"][0])  # type: ignore[arg-type]
    return {"thresholds": thresholds, "results": results}


def _device(name: str) -> torch.device:
    """auto: the first NVIDIA GPU, else the CPU. Raises DtdaError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        raise DtdaError(
            f"device {name} cannot be used here ({str(error).splitlines()[0]}); use cpu or auto."
        ) from error


def _starting_state(config: TrainConfig, last: Path, resume: bool) -> dict[str, Any] | None:
    if not resume:
        if last.exists():
            raise DtdaError(f"{last}: this run exists; go on with --resume or name another --out.")
        return None
    state = checkpoint.load(last)
    before = checkpoint.configuration(last, state)
    # How a run is executed may change; what it computes may not.
    running = {"workers", "threads", "device", "checkpoint_minutes"}
    if before.model_dump(exclude=running) != config.model_dump(exclude=running):
        raise DtdaError(
            f"{last}: was trained with another configuration; resume with the same one or name another --out."
        )
    return state


def _optimizer(student: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; biases and normalisation are not decayed."""
    decayed = [p for p in student.parameters() if p.ndim > 1]
    rest = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.optim.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.optim.lr)


def _rate(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up, then cosine to zero."""
    first = max(1, round(warmup * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(1, steps - first))))


def _step(
    student: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    images: Tensor,
    labels: Tensor,
    weights: Tensor,
) -> float:
    """One update. images: uint8 [B, 3, S, S]; labels: [B], 1 live; weights: [B]. Returns the loss; NaN changes nothing."""
    x = images.to(memory_format=torch.channels_last).float().div_(255)
    smooth = config.optim.smoothing
    target = labels * (1 - smooth) + smooth / 2
    loss = (binary_cross_entropy_with_logits(student(x), target, reduction="none") * weights).sum() / weights.sum()
    value = float(loss.detach())
    if not math.isfinite(value):
        return value
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), config.optim.clip)
    optimizer.step()
    return value


def _live(chips: Chips, numbers: list[int]) -> metrics.Labels:
    return np.array([chips.records[number].label is Label.LIVE for number in numbers])


def git_revision() -> str:
    """Revision of the checkout this code runs from, "unknown" where it is installed outside of one."""
    here = Path(__file__)
    try:
        subprocess.run(["git", "ls-files", "--error-unmatch", here.name], **_quiet(here), check=True)
        found = subprocess.run(["git", "describe", "--always", "--dirty"], **_quiet(here), check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return str(found.stdout).strip()


def _quiet(here: Path) -> dict[str, Any]:
    return {"cwd": here.parent, "capture_output": True, "text": True, "timeout": 10}
