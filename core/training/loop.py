"""The training loop: read `train` from top to bottom.

What a step minimises is in method.py. A killed run goes on from its last checkpoint, to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dtda.core.errors import DtdaError
from dtda.core.models.student import build_student
from dtda.core.simulate.portrait import Detect
from dtda.core.training import checkpoint, results
from dtda.core.training.calibration import blend, calibrate
from dtda.core.training.config import TrainConfig, same_run
from dtda.core.training.material import Material, load
from dtda.core.training.method import Batch, Method
from dtda.core.training.optim import make_optimizer, make_schedule
from dtda.core.training.parallel import open_fabric, shared_statistics
from dtda.core.training.projection import show_features
from dtda.core.training.revision import git_revision
from dtda.core.training.samples import EpochBatches, Samples, loader, ready


@dataclass
class Progress:
    """Where a run stands. batch: of the epoch, the next one to do. sums: of its figures so far. history: one row per epoch.
    revision: of the code."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    revision: str = ""


def train(
    config: TrainConfig,
    out: Path,
    resume: bool,
    make_detector: Callable[[], Detect],
    stop_after: int | None = None,
    material: Material | None = None,
) -> Path:
    """Train a student; returns the path of its checkpoint, `out/last.ckpt`.

    make_detector: called if a picture has no facial points. stop_after: end cleanly after so many steps, as a kill
    would, for tests. material: if already loaded. Raises DtdaError for unusable data, a NaN loss, an `out` that holds
    another run.
    """
    last = out / "last.ckpt"
    state = _starting_state(config, last, resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = open_fabric(config)
    material = material or load(config.data, make_detector)
    fold = material.fold
    if config.optim.batch < 2 * len(fold.sources):
        raise DtdaError(f"optim.batch is {config.optim.batch}; live and attack of {len(fold.sources)} domains need "
                        f"{2 * len(fold.sources)}.")  # fmt: skip

    run = Run(config, fabric, material)
    finished = bool(state and "calibration" in state)
    progress = Progress(revision=git_revision())
    if state:
        progress = run.restore(state, progress.revision)
    samples = Samples(material, config)
    batches = EpochBatches(samples, config, fabric.global_rank, fabric.world_size)
    steps = config.optim.epochs * batches.batches
    run.schedule = make_schedule(run.optimizer, config.optim, steps, state and state["schedule"])
    batches.epoch, batches.start = progress.epoch, progress.batch

    out.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    with open_board(out, progress.step + 1, fabric.is_global_zero) as board:
        data = loader(samples, batches, config.workers)
        while progress.epoch < config.optim.epochs:
            bar = tqdm(data, desc=f"epoch {progress.epoch + 1}/{config.optim.epochs}", unit="batch",
                       disable=None if fabric.is_global_zero else True)  # fmt: skip
            for batch in bar:
                losses = run.step(ready(batch, fabric.device), progress.step / steps)
                for name in ("loss", "gradient"):
                    if not math.isfinite(losses[name]):
                        where = f"{last} holds the run before it" if last.exists() else "nothing was saved yet"
                        raise DtdaError(f"the {name} is {losses[name]} at step {progress.step} ({where}); start again "
                                        "with a lower optim.lr.")  # fmt: skip
                progress.step, progress.batch = progress.step + 1, progress.batch + 1
                for name, value in losses.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                    board.add_scalar(f"train/{name}", value, progress.step)
                bar.set_postfix(loss=f"{losses['loss']:.3f}")
                due = time.monotonic() - saved > 60 * config.checkpoint_minutes
                if run.agree(due) or progress.step == stop_after:
                    run.save(last, progress)
                    saved = time.monotonic()
                if progress.step == stop_after:
                    return last
            row = {name: value / progress.batch for name, value in progress.sums.items()}
            row |= run.everywhere(lambda: results.of_epoch(run.average.module, material, config.track_target))
            progress.history.append(row)
            for name, value in row.items():
                board.add_scalar(f"epoch/{name}", value, progress.epoch + 1)
            if board.writer:
                show_features(board.writer, run.average.module, material, progress.epoch + 1)
                tqdm.write(f"epoch {progress.epoch + 1}: " + ", ".join(f"{k} {v:.4f}" for k, v in row.items()))
            progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
            batches.epoch, batches.start = progress.epoch, 0
            run.save(last, progress)
        if not finished:  # or a finished run that is resumed would be calibrated twice
            run.save(last, progress, run.everywhere(run.finish))
    return last


class Run:
    """All that learns, on this process's device."""

    schedule: torch.optim.lr_scheduler.LRScheduler

    def __init__(self, config: TrainConfig, fabric: Fabric, material: Material) -> None:
        self.config, self.fabric, self.material, self.fold = config, fabric, material, material.fold
        torch.manual_seed(config.seed)
        teachers = {}
        if config.teachers:
            from dtda.core.models.teachers import open_teacher
        for name, part in config.teachers.items():
            teacher = open_teacher(part.kind, part.file, crop=config.data.crop, **part.options).to(fabric.device)
            teachers[name] = (teacher, teacher.width)
        student = build_student(
            config.student, config.dropout, config.weights, config.cue_map > 0, config.texture, config.frozen
        )
        method = Method(student, config, len(material.fold.sources), teachers)
        self.method = shared_statistics(method, fabric).to(fabric.device, memory_format=torch.channels_last)
        self.average = AveragedModel(
            self.method.student, multi_avg_fn=get_ema_multi_avg_fn(config.optim.ema), use_buffers=True
        )
        self.trainee, self.optimizer = fabric.setup(self.method, make_optimizer(self.method, config))
        torch.manual_seed(config.seed + fabric.global_rank)  # dropout differs between processes, weights do not
        self.updates = 0
        self.trained_on = sorted({*material.trained_on, *checkpoint.people_of(config)})

    def step(self, batch: Batch, share_done: float) -> dict[str, float]:
        """One update. Returns its losses and figures, means over all processes; NaN changes nothing."""
        self.method.train()
        with record_function("attack"), self.fabric.autocast():
            attacked = self.method.attacked(batch)
        with record_function("teachers"):
            targets = self.method.known(batch, attacked)
        with record_function("losses"):
            loss, parts = self.trainee(batch, attacked, targets, share_done)
        figures = self.fabric.all_reduce({"loss": loss.detach(), **parts}, reduce_op="mean")
        values = {name: float(value) for name, value in figures.items()}
        if not math.isfinite(values["loss"]):
            return values
        self.optimizer.zero_grad(set_to_none=True)
        with record_function("gradients"):
            self.fabric.backward(loss)
        with record_function("update"):
            gradient = self._update()
        return values | {"gradient": gradient, "lr": self.schedule.get_last_lr()[0]}

    def _update(self) -> float:
        """Returns the student's gradient norm before clipping; where any norm is no number nothing changes."""
        method, clip = self.method, self.config.optim.clip
        norm = self.fabric.clip_gradients(method.student, self.optimizer, max_norm=clip, error_if_nonfinite=False)
        norms = [math.nan if norm is None else float(norm)]
        # Each by itself, or a discriminator's gradient would shorten the student's step.
        for part in (method.discriminator, method.adapters):
            if part:
                norms.append(float(torch.nn.utils.clip_grad_norm_(part.parameters(), clip)))
        gradient = norms[0] if all(map(math.isfinite, norms)) else math.nan
        scaled = self.config.precision == "16-mixed"  # its scaler passes such a step over and lowers the scale
        if not scaled and not math.isfinite(gradient):
            return gradient
        self.optimizer.step()
        self.schedule.step()
        # A young average follows the weights closely, so that short runs are not judged by their first steps.
        decay = min(self.config.optim.ema, (1 + self.updates) / (10 + self.updates))
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.update_parameters(self.method.student)
        self.updates += 1
        return gradient if math.isfinite(gradient) else 0.0

    def agree(self, due: bool) -> bool:
        """The first process's word: clocks differ, and saving needs all."""
        return due if self.fabric.world_size == 1 else bool(self.fabric.broadcast(due))

    def everywhere(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do it in the first process and give every process what came out."""
        return self.fabric.broadcast(work() if self.fabric.is_global_zero else {})

    def finish(self) -> dict[str, Any]:
        """In the first process: join the averaged student with what it started from, calibrate and measure it."""
        student, part = self.average.module, self.config
        if part.optim.keep:
            blend(student, build_student(part.student, part.dropout, part.weights, part.cue_map > 0), part.optim.keep)
        return {
            "calibration": calibrate(student, self.material, part.alone > 0),
            **results.final(student, self.material),
        }

    def save(self, path: Path, progress: Progress, extra: Mapping[str, Any] | None = None) -> None:
        """Called by all processes; the first one writes."""
        draws = {"cpu": torch.get_rng_state()}
        if self.fabric.device.type == "cuda":
            draws["cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        gathered: list[Any] = [draws]
        if self.fabric.world_size > 1:
            gathered = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(gathered, draws)
        if self.fabric.is_global_zero:
            checkpoint.save(
                path,
                {
                    "config": self.config.model_dump(mode="json"),
                    "student": self.method.student.state_dict(),
                    "ema": self.average.module.state_dict(),
                    "averaged": int(self.average.n_averaged),
                    "parts": _parts(self.method),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "scaler": self.fabric.strategy.precision.state_dict(),
                    "rng": gathered,
                    "epoch": progress.epoch,
                    "batch": progress.batch,
                    "step": progress.step,
                    "sums": progress.sums,
                    "history": progress.history,
                    "fold": self.fold.name,
                    "sources": list(self.fold.sources),
                    "targets": list(self.fold.targets),
                    "trained_on": self.trained_on,
                    "material": self.material.key,
                    "git_revision": progress.revision,
                    **(extra or {}),
                },
            )
        self.fabric.barrier()

    def restore(self, state: Mapping[str, Any], revision: str) -> Progress:
        """Everything as it was saved, but for the schedule."""
        if len(state["rng"]) != self.fabric.world_size:
            raise DtdaError(
                f"the run was trained by {len(state['rng'])} processes and would go on with {self.fabric.world_size}; "
                "start it with as many."
            )
        if state["material"] != self.material.key:
            raise DtdaError(
                "the data is not that of the run any more (pictures, people or domains changed); start a new one."
            )
        self.method.student.load_state_dict(state["student"])
        self.average.module.load_state_dict(state["ema"])
        self.average.n_averaged.fill_(state["averaged"])
        self.method.load_state_dict(state["parts"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        draws = state["rng"][self.fabric.global_rank]
        torch.set_rng_state(draws["cpu"])
        if "cuda" in draws and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(draws["cuda"], self.fabric.device)
        self.updates = state["step"]
        if state["git_revision"] != revision:
            revision = f"{state['git_revision']}, resumed with {revision}"
        return Progress(state["epoch"], state["batch"], state["step"], state["sums"], state["history"], revision)


@contextmanager
def open_board(out: Path, step: int, first_process: bool) -> Iterator[Board]:
    """TensorBoard's writer in the first process, nothing in the others. step: where a run that goes on begins."""
    if not first_process:
        yield Board(None)
        return
    with SummaryWriter(out, purge_step=step) as writer:
        yield Board(writer)


@dataclass(frozen=True)
class Board:
    writer: SummaryWriter | None

    def add_scalar(self, name: str, value: float, step: int) -> None:
        if self.writer:
            self.writer.add_scalar(name, value, step)


def _parts(method: Method) -> dict[str, Tensor]:
    """What is trained beside the student: discriminator and adapters."""
    return {name: value for name, value in method.state_dict().items() if not name.startswith("student.")}


def _starting_state(config: TrainConfig, last: Path, resume: bool) -> dict[str, Any] | None:
    if not resume:
        if last.exists():
            raise DtdaError(f"{last}: this run exists; go on with --resume or name another --out.")
        return None
    state = checkpoint.load(last)
    before = checkpoint.configuration(last, state)
    if not same_run(before, config):
        raise DtdaError(
            f"{last}: was trained with another configuration; resume with the same one or name another --out."
        )
    return state
