"""Keep single cues and unequal groups from deciding: sample weights and balanced batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dtda.core.types import Floats


def overlap_weights(cues: Floats, groups: Sequence[str]) -> Floats:
    """Weights under which all groups have nearly the same mean cues and squared cues.

    cues: float32 [N, C]. groups: N names, e.g. live and the attack types of one domain. Returns float32 [N], mean 1 in
    every group. Generalised overlap weights, w_g(x) = (1 / e_g) / sum_j (1 / e_j), with e from a multinomial logistic
    regression (Li and Li, Annals of Applied Statistics 2019): exact for two groups, near for more.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    names = sorted(set(groups))
    index = np.array([names.index(group) for group in groups])
    if len(names) < 2:
        return np.ones(len(index), np.float32)
    scaled = StandardScaler().fit_transform(cues)
    features = np.hstack([scaled, np.clip(scaled, -3, 3) ** 2])
    chance = LogisticRegression(C=10.0, max_iter=2000).fit(features, index).predict_proba(features)
    inverse = 1 / np.clip(chance, 1e-4, 1)
    weights = inverse[np.arange(len(index)), index] / inverse.sum(1)
    for _ in range(3):  # a few pictures must not carry a group; capping moves the mean, so again
        for number in range(len(names)):
            mine = index == number
            weights[mine] = np.minimum(weights[mine] / weights[mine].mean(), 6.0)
    return np.asarray(weights, np.float32)


def balanced_batches(
    groups: Sequence[tuple[str, bool]], batch: int, rng: np.random.Generator, batches: int
) -> Iterator[list[int]]:
    """Batches of indices with as equal numbers as can be from every (domain, is live) pair.

    Each pair is shuffled and walked through again and again. Raises ValueError when `batch` is below the number of pairs.
    """
    pairs = sorted(set(groups))
    if batch < len(pairs):
        raise ValueError(f"a batch of {batch} cannot hold {len(pairs)} groups")
    members = {pair: np.flatnonzero([group == pair for group in groups]) for pair in pairs}
    queues: dict[tuple[str, bool], list[int]] = {pair: [] for pair in pairs}
    for number in range(batches):
        chosen = []
        for place in range(batch):
            pair = pairs[(place + number) % len(pairs)]
            if not queues[pair]:
                queues[pair] = rng.permutation(members[pair]).tolist()
            chosen.append(queues[pair].pop())
        yield chosen
