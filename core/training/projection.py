"""Features of the student in TensorBoard's projector: do domains or labels lie apart?"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from dtda.core.models.student import Student
from dtda.core.training.material import Material
from dtda.core.training.scoring import features

POINTS = 400  # a projection of more is slow to load and no clearer


def show_features(board: SummaryWriter, student: Student, material: Material, epoch: int) -> None:
    """At most POINTS source dev and target test pictures, named by domain, label and attack type."""
    numbers = np.array([*material.fold.dev, *material.fold.test])
    if len(numbers) > POINTS:
        numbers = np.sort(np.random.default_rng(0).permutation(numbers)[:POINTS])
    records = [material.chips.records[number] for number in numbers]
    names = [[r.domain, r.label.value, r.attack_type or "-"] for r in records]
    vectors = torch.from_numpy(features(student, material.chips, numbers.tolist()))
    board.add_embedding(vectors, names, tag="features", global_step=epoch, metadata_header=["domain", "label", "type"])
