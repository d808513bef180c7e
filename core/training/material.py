"""What a run trains and is judged on: the chips of its manifests, and the fold of its protocol."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from dtda.core.data.balance import overlap_weights
from dtda.core.data.chips import Chips, cut_chips
from dtda.core.data.manifest import read_manifest
from dtda.core.data.protocols import Fold, resolve
from dtda.core.errors import DtdaError
from dtda.core.preprocess import CropRule
from dtda.core.simulate.portrait import Detect
from dtda.core.training.config import DataPart
from dtda.core.types import Floats


@dataclass(frozen=True)
class Material:
    """fold: indices into the records of chips. others: test people of the source domains that the fold leaves aside."""

    chips: Chips
    fold: Fold
    others: tuple[int, ...]

    @cached_property
    def key(self) -> str:
        """Of who trains, sets the threshold and tests, whatever folder it lies in. Sizes of files tell pictures of the same
        names apart, as a set that was rendered anew has them."""
        told = [
            [part, r.domain, r.subject, r.label.value, r.attack_type, r.path.name, r.path.stat().st_size]
            for part in ("train", "dev", "test")
            for r in (self.chips.records[number] for number in getattr(self.fold, part))
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def trained_on(self) -> list[str]:
        """People of the training part; no evaluation may be on them."""
        return sorted({self.chips.records[number].subject for number in self.fold.train})

    @cached_property
    def weights(self) -> Floats:
        """float32 [len(fold.train)]: weights under which cues tell neither bona fide nor any attack type, by domain."""
        records = [self.chips.records[number] for number in self.fold.train]
        weights = np.ones(len(records), np.float32)
        for domain in self.fold.sources:
            mine = np.array([record.domain == domain for record in records])
            groups = [r.attack_type or r.label.value for r in records if r.domain == domain]
            weights[mine] = overlap_weights(self.chips.cues[np.array(self.fold.train)[mine]], groups)
        return weights


def load_chips(data: DataPart, make_detector: Callable[[], Detect]) -> Chips:
    """Chips of all manifests of a configuration, from its cache or cut now.

    make_detector: called if a picture has no facial points.
    """
    records = [record for manifest in data.manifests for record in read_manifest(manifest)]
    rule = CropRule(data.size, data.margin, data.crop)
    detect = make_detector() if any(record.points is None for record in records) else None
    folder = data.cache or data.manifests[0].parent / "chips"
    with tqdm(total=len(records), desc="chips", unit="picture", disable=None) as bar:
        chips = cut_chips(records, rule, data.crops, folder, detect, bar.update)
    for sentence in chips.skipped:
        tqdm.write(f"skipped: {sentence}", file=sys.stderr)
    return chips


def load(data: DataPart, make_detector: Callable[[], Detect]) -> Material:
    """Raises DtdaError for unusable data and for a protocol with several folds of which none is named."""
    chips = load_chips(data, make_detector)
    folds = resolve(data.protocol, chips.records, data.fold)
    if len(folds) > 1:
        raise DtdaError(
            f"protocol {data.protocol} has the folds {', '.join(fold.name for fold in folds)}; name one as data.fold."
        )
    fold = folds[0]
    known = {chips.records[i].subject for i in (*fold.train, *fold.dev)}
    tested = set(fold.test)
    others = [
        number
        for number, record in enumerate(chips.records)
        if record.split == "test"
        and record.domain in fold.sources
        and record.subject not in known
        and number not in tested
    ]
    return Material(chips, fold, tuple(others))
