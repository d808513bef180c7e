"""Pre-training of a generative teacher: StarGAN (Choi et al. 2018) on attribute-labelled faces, with Wasserstein losses.

Read `train_teacher` from top to bottom. What a step does follows from the seed, its number and the weights alone, so a
killed run resumes to the bit. The discriminator is written in the official layout (`discriminator.pth`): a teacher.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dtda.core.errors import DtdaError
from dtda.core.models.stargan import Discriminator, Generator
from dtda.core.sidecar import write_atomic
from dtda.core.simulate.portrait import Detect
from dtda.core.training import checkpoint
from dtda.core.training.attributes import AttributeFaces, read_faces
from dtda.core.training.gan_config import RUNNING, GanConfig

KIND = "stargan training"
BETAS = (0.5, 0.999)
SHEET_ROWS, HEADER = 8, 14


def train_teacher(
    config: GanConfig,
    folder: Path,
    table: Path | None,
    out: Path,
    resume: bool,
    make_detector: Callable[[], Detect],
    stop_after: int | None = None,
) -> Path:
    """Train both networks; returns the path of `out/discriminator.pth`.

    folder, table: see `attributes.read_faces`. make_detector: called if a face has no points. stop_after: end after so
    many steps as a kill would, for tests. Raises DtdaError for unusable faces, a loss that is not finite, or an `out`
    that holds another run.
    """
    last = out / "last.ckpt"
    state = _starting_state(config, last, resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config.device)
    with tqdm(desc="faces", unit="picture", disable=None) as bar:
        faces = read_faces(folder, table, config.size, config.held_out, make_detector, bar.update)
    for sentence in faces.skipped:
        tqdm.write(f"skipped: {sentence}")
    digest = hashlib.sha256(faces.images.numpy().tobytes() + faces.labels.numpy().tobytes()).hexdigest()
    if state and state["faces"] != digest:
        raise DtdaError(f"{last}: was trained on other faces; resume with the same ones or name another --out.")

    torch.manual_seed(config.seed)
    count = len(faces.names)
    generator = Generator(config.generator_width, count, config.blocks).to(device)
    discriminator = Discriminator(config.size, config.width, count, int(math.log2(config.size)) - 1).to(device)
    painters = torch.optim.Adam(generator.parameters(), config.lr, BETAS)
    critics = torch.optim.Adam(discriminator.parameters(), config.lr, BETAS)
    parts: dict[str, Any] = {
        "generator": generator,
        "discriminator": discriminator,
        "painters": painters,
        "critics": critics,
    }
    first = 0
    if state:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]

    def snapshot(step: int) -> None:
        saved = {name: part.state_dict() for name, part in parts.items()}
        about = {"kind": KIND, "config": config.model_dump(mode="json"), "names": list(faces.names), "faces": digest}
        checkpoint.save(last, {**about, "step": step, **saved})

    out.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    with SummaryWriter(str(out), purge_step=first) as board:
        for step in tqdm(range(first, config.steps), initial=first, total=config.steps, desc="steps", disable=None):
            for optimizer in (painters, critics):
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * rate(step, config.steps)
            torch.manual_seed(int.from_bytes(hashlib.sha256(f"{config.seed} {step}".encode()).digest()[:7], "big"))
            batch = [tensor.to(device) for tensor in draw(faces, config.batch)]
            losses = criticise(discriminator, generator, critics, config, *batch)
            if (step + 1) % config.critic == 0:
                losses |= paint(discriminator, generator, painters, config, *batch)
            wrong = [name for name, value in losses.items() if not math.isfinite(value)]
            if wrong:
                raise DtdaError(f"{out}: the {wrong[0]} loss was {losses[wrong[0]]} in step {step + 1}; start again with "
                                "a smaller --lr.")  # fmt: skip
            done = step + 1
            if done % config.critic == 0:
                for name, value in losses.items():
                    board.add_scalar(name, value, done)
            if done % config.sheet_steps == 0:
                write_sheet(out / "sheets" / f"{done:06d}.png", generator, faces)
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                snapshot(done)
                saved = time.monotonic()
            if done == stop_after:
                snapshot(done)
                return last
    snapshot(config.steps)
    write_sheet(out / "sheet.png", generator, faces)
    about = {"attributes": list(faces.names), "config": config.model_dump(mode="json"), "train": len(faces.train),
             "held_out": attribute_figures(discriminator, faces, faces.held_out)}  # fmt: skip
    write_atomic(out / "teacher.json", (json.dumps(about, indent=2) + "\n").encode())
    return save_weights(out / "discriminator.pth", discriminator)


def draw(faces: AttributeFaces, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of training faces, each mirrored or not, with their labels and with another face's as what to paint.

    Returns float [B, 3, S, S] in [-1, 1], labels [B, C] (NaN unknown) and wanted [B, C]. Uses torch's global generator.
    """
    size = min(batch, len(faces.train))
    chosen = torch.tensor(faces.train)[torch.randperm(len(faces.train))[:size]]
    x = faces.images[chosen].float() / 127.5 - 1
    mirrored = torch.rand(size) < 0.5
    x[mirrored] = x[mirrored].flip(3)
    labels = faces.labels[chosen]
    return x, labels, labels[torch.randperm(size)]


def condition(labels: Tensor) -> Tensor:
    """What the generator is told: labels, one half where unknown."""
    return labels.nan_to_num(0.5)


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over known attributes, mean over faces; unknown ones (NaN) are left out."""
    known = ~labels.isnan()
    losses = binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none")
    return (losses * known).sum() / len(labels)


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|d D(x) / dx| - 1)^2 at random points between real and fake (Gulrajani et al. 2017); patches are summed."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    x = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x)[0].sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def criticise(
    discriminator: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, config: GanConfig,
    x: Tensor, labels: Tensor, wanted: Tensor,
) -> dict[str, float]:  # fmt: skip
    """One step of the discriminator. Returns its losses; a loss that is not finite changes nothing."""
    with torch.no_grad():
        fake = generator(x, condition(wanted))
    real_score, logits = discriminator(x)
    distance = real_score.mean() - discriminator(fake)[0].mean()
    classes = attribute_loss(logits, labels)
    penalty = gradient_penalty(discriminator, x, fake)
    _update(optimizer, -distance + config.classes * classes + config.penalty * penalty)
    return _floats({"critic/distance": distance, "critic/classes": classes, "critic/penalty": penalty})


def paint(
    discriminator: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, config: GanConfig,
    x: Tensor, labels: Tensor, wanted: Tensor,
) -> dict[str, float]:  # fmt: skip
    """One step of the generator: look real, have the wanted attributes, and be turned back into the same face."""
    fake = generator(x, condition(wanted))
    score, logits = discriminator(fake)
    classes = attribute_loss(logits, wanted)
    back = (x - generator(fake, condition(labels))).abs().mean()
    _update(optimizer, -score.mean() + config.classes * classes + config.reconstruction * back)
    return _floats({"painter/score": score.mean(), "painter/classes": classes, "painter/back": back})


def _floats(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    if not math.isfinite(float(loss.detach())):
        return
    mine = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, slope in zip(mine, torch.autograd.grad(loss, mine), strict=True):
        parameter.grad = slope  # of these alone: the generator's step leaves no gradient in the discriminator
    optimizer.step()


def rate(step: int, steps: int) -> float:
    """Factor on the learning rate: one, from half of the steps on linear to zero."""
    return min(1.0, 2 * (1 - step / steps))


@torch.no_grad()
def write_sheet(path: Path, generator: Generator, faces: AttributeFaces) -> None:
    """A PNG with one row per face, held-out ones if there are any: itself, its reconstruction, each attribute turned."""
    chosen = list(faces.held_out or faces.train)
    chosen = [chosen[number] for number in np.linspace(0, len(chosen) - 1, min(SHEET_ROWS, len(chosen))).astype(int)]
    device = next(generator.parameters()).device
    x = (faces.images[chosen].float() / 127.5 - 1).to(device)
    labels = condition(faces.labels[chosen]).to(device)
    columns = [x, generator(x, labels)]
    for number in range(labels.shape[1]):
        turned = labels.clone()
        turned[:, number] = (labels[:, number] < 0.75).float()  # unknown becomes 1
        columns.append(generator(x, turned))
    sheet = torch.stack(columns, 1).add(1).mul(127.5).round().clamp(0, 255).byte()
    rows, across, _, side, _ = sheet.shape
    rgb = sheet.permute(0, 3, 1, 4, 2).reshape(rows * side, across * side, 3).cpu().numpy()
    picture = np.vstack([np.zeros((HEADER, across * side, 3), np.uint8), rgb[:, :, ::-1]])
    for number, name in enumerate(("face", "rebuilt", *faces.names)):
        cv2.putText(picture, name, (number * side + 2, HEADER - 4), cv2.FONT_HERSHEY_PLAIN, 0.7, (255, 255, 255))
    write_atomic(path, cv2.imencode(".png", picture)[1].tobytes())


@torch.no_grad()
def attribute_figures(
    discriminator: Discriminator, faces: AttributeFaces, numbers: tuple[int, ...]
) -> dict[str, dict[str, float | None]]:
    """By attribute: faces with and without it, and the mean of the two shares that the attribute head gets right, None
    without faces of both."""
    if not numbers:
        return {}
    device = next(discriminator.parameters()).device
    batches = torch.tensor(numbers).split(64)
    logits = torch.cat([discriminator((faces.images[b].float() / 127.5 - 1).to(device))[1].cpu() for b in batches])
    figures: dict[str, dict[str, float | None]] = {}
    for column, name in enumerate(faces.names):
        labels, said = faces.labels[list(numbers), column], logits[:, column]
        having, lacking = said[labels == 1], said[labels == 0]
        both = len(having) > 0 and len(lacking) > 0
        accuracy = float(((having > 0).float().mean() + (lacking <= 0).float().mean()) / 2) if both else None
        figures[name] = {"with": len(having), "without": len(lacking), "balanced_accuracy": accuracy}
    return figures


def save_weights(path: Path, module: nn.Module) -> Path:
    """A bare state dict, whole or not at all."""
    data = io.BytesIO()
    torch.save({name: value.cpu() for name, value in module.state_dict().items()}, data)
    write_atomic(path, data.getvalue())
    return path


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        raise DtdaError(
            f"device {name} cannot be used here ({str(error).splitlines()[0]}); use cpu or auto."
        ) from error


def _starting_state(config: GanConfig, last: Path, resume: bool) -> dict[str, Any] | None:
    if not resume:
        if last.exists():
            raise DtdaError(f"{last}: this run exists; go on with --resume or name another --out.")
        return None
    if not last.is_file():
        raise DtdaError(f"{last}: no such checkpoint; leave --resume out to start a run.")
    try:
        state = torch.load(last, map_location="cpu", weights_only=True)
        before = GanConfig.model_validate(state["config"]) if state["kind"] == KIND else None
    except ValidationError as error:
        raise DtdaError(f"{last}: was made by another version of this program; start again.") from error
    except Exception as error:  # what is raised for foreign bytes differs by their first ones
        raise DtdaError(f"{last}: not a readable checkpoint of `dtda train-teacher`.") from error
    if before is None or before.model_dump(exclude=RUNNING) != config.model_dump(exclude=RUNNING):
        raise DtdaError(f"{last}: was trained with other options; resume with the same ones or name another --out.")
    return state
