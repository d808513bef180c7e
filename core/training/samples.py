"""Training samples: a chip, augmented, with its label, domain and weight. Reproducible whatever process makes it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from dtda.core.data.balance import balanced_batches
from dtda.core.training.config import AugmentPart, TrainConfig
from dtda.core.training.material import Material
from dtda.core.training.method import Batch
from dtda.core.types import Floats, Image, Label


def augmentation(part: AugmentPart) -> v2.Compose:
    """uint8 [3, S, S] RGB -> uint8 [3, S, S]. Tone, blur, noise and compression vary for both classes alike."""

    def sometimes(transform: torch.nn.Module, chance: float) -> torch.nn.Module:
        return v2.RandomApply([transform], p=chance)

    colour = v2.ColorJitter(part.brightness, part.contrast, part.saturation, part.hue)
    noise = [v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise(sigma=0.03), v2.ToDtype(torch.uint8, scale=True)]
    return v2.Compose(
        [
            sometimes(colour, part.colour),
            v2.RandomGrayscale(part.grey),
            sometimes(v2.GaussianBlur(5, (0.3, 1.2)), part.blur),
            v2.RandomApply(noise, p=part.noise),
            sometimes(v2.JPEG((40, 95)), part.jpeg),
            v2.RandomErasing(part.erase, scale=(0.02, 0.15), value=127),
        ]
    )


class Item(NamedTuple):
    """image: uint8 [3, S, S] RGB. live: 1 bona fide, 0 attack. domain: its place among the fold's sources. weight: mean 1
    over the global batch. points: float32 [5, 2] chip pixels."""

    image: Tensor
    live: float
    domain: int
    weight: float
    points: Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """A sample to be drawn: its epoch, its number among the training samples, and the mean weight of its batch."""

    epoch: int
    number: int
    mean_weight: float


class Samples(Dataset):
    """`Item`s. Augmentation is a function of seed, epoch and number alone, whatever process makes it."""

    def __init__(self, material: Material, config: TrainConfig) -> None:
        fold = material.fold
        self.chips, self.numbers, self.seed = material.chips, list(fold.train), config.seed
        self.flip, self.transform = config.augment.flip, augmentation(config.augment)
        self.records = [self.chips.records[number] for number in self.numbers]
        self.domains = [fold.sources.index(record.domain) for record in self.records]
        self.weights = material.weights if config.data.balance_cues else np.ones(len(self.numbers), np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: Place) -> Item:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which formats a stack trace and asks every kind of device: half the cost of a sample.
            torch.default_generator.manual_seed(hash((self.seed, place.epoch, place.number)) % 2**63)
            crops = self.chips.images[self.numbers[place.number]]
            drawn = int(torch.randint(len(crops), ()))
            chip, points = crops[drawn], self.chips.points[self.numbers[place.number], drawn].copy()
            if float(torch.rand(())) < self.flip:
                chip, points = flipped(chip, points)
            image = self.transform(torch.from_numpy(np.ascontiguousarray(chip.transpose(2, 0, 1))))
        return Item(
            image,
            float(self.records[place.number].label is Label.LIVE),
            self.domains[place.number],
            float(self.weights[place.number] / place.mean_weight),
            torch.from_numpy(points),
        )


def flipped(chip: Image, points: Floats) -> tuple[Image, Floats]:
    """Mirror a chip uint8 [S, S, 3] with its points float32 [5, 2]; the left eye becomes the right one."""
    mirrored = points[[1, 0, 2, 4, 3]].copy()
    mirrored[:, 0] = chip.shape[1] - 1 - mirrored[:, 0]
    return chip[:, ::-1], mirrored


class EpochBatches(Sampler):
    """Balanced batches of one epoch from a given batch on, this process's share of each; seed and epoch fix the order.

    rank, world: of this process and of all; together they see the batch that one process would see.
    """

    def __init__(self, samples: Samples, config: TrainConfig, rank: int = 0, world: int = 1) -> None:
        self.groups = [(record.domain, record.label is Label.LIVE) for record in samples.records]
        self.weights, self.config = samples.weights, config
        self.epoch, self.start = 0, 0
        self.batches = max(1, len(samples) // config.optim.batch)
        # In turns, so that the first shares of all processes are the first share of the whole batch.
        self.share = slice(rank, None, world)

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        rng = np.random.default_rng((self.config.seed, self.epoch))
        walk = balanced_batches(self.groups, self.config.optim.batch, rng, self.batches)
        for number, batch in enumerate(walk):
            if number >= self.start:
                mean = float(self.weights[batch].mean())
                yield [Place(self.epoch, index, mean) for index in batch[self.share]]


def loader(samples: Samples, batches: EpochBatches, workers: int) -> DataLoader:
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread if workers else None,
        multiprocessing_context="forkserver" if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # its own, or starting an epoch would shift the dropout masks of a resumed run
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Torch's own watch asks for the parent's id, which below a forkserver never changes: a killed run left these behind.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _collate(items: list[Item]) -> Batch:
    """The uint8 pictures of a batch with what is known of them; `ready` makes them floats on the device."""
    images, live, domains, weights, points = zip(*items, strict=True)
    return Batch(
        torch.stack(images),
        torch.tensor(live),
        torch.tensor(domains),
        torch.tensor(weights, dtype=torch.float32),
        torch.stack(points),
    )


def ready(batch: Batch, device: torch.device) -> Batch:
    """A collated batch on the device, pictures as float [B, 3, S, S] in [0, 1]."""
    x, *rest = (tensor.to(device, non_blocking=True) for tensor in batch)
    return Batch(x.to(memory_format=torch.channels_last).float().div_(255), *rest)
