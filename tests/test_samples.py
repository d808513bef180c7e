"""Training samples: points follow a mirrored chip, and processes share every batch without overlap."""

import numpy as np
import torch

from dtda.core.training import material
from dtda.core.training.config import read_config
from dtda.core.training.samples import EpochBatches, Place, Samples


def _samples(textures, tmp_path, *overrides):
    path = tmp_path / "train.toml"
    path.write_text(
        f"""
        [data]
        manifests = ["{textures}"]
        size = 32
        margin = 1.3
        crops = 1
        protocol = "sim-loo"
        fold = "c"
        [optim]
        batch = 16
        [augment]
        colour = 0.0
        grey = 0.0
        blur = 0.0
        noise = 0.0
        jpeg = 0.0
        erase = 0.0
        """
    )
    config = read_config(path, overrides)
    return Samples(material.load(config.data, None), config), config


def test_a_mirrored_sample_brings_mirrored_points(textures, tmp_path):
    plain, _ = _samples(textures, tmp_path, "augment.flip=0.0")
    mirrored, _ = _samples(textures, tmp_path, "augment.flip=1.0")
    for number in (0, 5):
        one, other = plain[Place(0, number, 1.0)], mirrored[Place(0, number, 1.0)]
        assert torch.equal(other.image, one.image.flip(2))
        expected = one.points[[1, 0, 2, 4, 3]].clone()
        expected[:, 0] = 31 - expected[:, 0]
        torch.testing.assert_close(other.points, expected)
        assert other.points[0, 0] < other.points[1, 0]


def test_processes_see_together_what_one_sees_and_nothing_twice(textures, tmp_path):
    samples, config = _samples(textures, tmp_path)
    whole = list(EpochBatches(samples, config))
    for world in (2, 4):
        shares = zip(*(EpochBatches(samples, config, rank, world) for rank in range(world)), strict=True)
        for batch, parts in zip(whole, shares, strict=True):
            # In turns: the first of every process together are the first of the batch.
            assert [place for turn in zip(*parts, strict=True) for place in turn] == batch
    weights = np.array([[samples.weights[place.number] / place.mean_weight for place in batch] for batch in whole])
    np.testing.assert_allclose(weights.mean(1), 1, rtol=1e-5)
