"""Training samples: a chip, augmented, with its label, domain and weight. Reproducible whatever process makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from dtda.core.data.balance import balanced_batches, overlap_weights
from dtda.core.data.chips import Chips
from dtda.core.training.config import AugmentPart, TrainConfig
from dtda.core.types import Label


def augmentation(part: AugmentPart) -> v2.Compose:
    """uint8 [3, S, S] RGB -> uint8 [3, S, S]. Tone, blur, noise and compression vary for both classes alike."""

    def sometimes(transform: torch.nn.Module, chance: float) -> torch.nn.Module:
        return v2.RandomApply([transform], p=chance)

    colour = v2.ColorJitter(part.brightness, part.contrast, part.saturation, part.hue)
    noise = [v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise(sigma=0.03), v2.ToDtype(torch.uint8, scale=True)]
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(part.flip),
            sometimes(colour, part.colour),
            v2.RandomGrayscale(part.grey),
            sometimes(v2.GaussianBlur(5, (0.3, 1.2)), part.blur),
            v2.RandomApply(noise, p=part.noise),
            sometimes(v2.JPEG((40, 95)), part.jpeg),
            v2.RandomErasing(part.erase, scale=(0.02, 0.15), value=127),
        ]
    )


class Samples(Dataset):
    """Items (uint8 [3, S, S] RGB, y 1.0 live or 0.0, weight). An index is (epoch, number), so that augmentation is a
    function of seed, epoch and number alone."""

    def __init__(self, chips: Chips, numbers: Sequence[int], config: TrainConfig) -> None:
        self.chips, self.numbers, self.seed = chips, list(numbers), config.seed
        self.transform = augmentation(config.augment)
        self.records = [chips.records[number] for number in self.numbers]
        self.weights = np.ones(len(self.numbers), np.float32)
        if config.data.balance_cues:
            for domain in {record.domain for record in self.records}:
                mine = np.array([record.domain == domain for record in self.records])
                groups = [r.attack_type or r.label.value for r in self.records if r.domain == domain]
                self.weights[mine] = overlap_weights(chips.cues[np.array(self.numbers)[mine]], groups)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, float, float]:
        epoch, number = index
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, epoch, number)) % 2**63)
            crops = self.chips.images[self.numbers[number]]
            crop = crops[int(torch.randint(len(crops), ()))]
            image = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
            return (
                self.transform(image),
                float(self.records[number].label is Label.LIVE),
                float(self.weights[number]),
            )


class EpochBatches(Sampler):
    """Balanced batches of one epoch from a given batch on; the order follows from seed and epoch."""

    def __init__(self, samples: Samples, config: TrainConfig) -> None:
        self.groups = [(record.domain, record.label is Label.LIVE) for record in samples.records]
        self.config, self.epoch, self.start = config, 0, 0
        self.batches = max(1, len(samples) // config.optim.batch)

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self.config.seed, self.epoch))
        walk = balanced_batches(self.groups, self.config.optim.batch, rng, self.batches)
        for number, batch in enumerate(walk):
            if number >= self.start:
                yield [(self.epoch, index) for index in batch]


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


def _collate(items: list[tuple[Tensor, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [B, 3, S, S], float [B], float [B]."""
    images, labels, weights = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels), torch.tensor(weights)
