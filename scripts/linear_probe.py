#!/usr/bin/env python
"""What EfficientNet-Lite0 as published, never trained on a face, already says of attacks: the start of a student, measured.

python scripts/linear_probe.py data/sim/manifest.csv data/teachers/efficientnet-lite0.pth --side 240

A logistic regression on its features of some training pictures, with and without their deviation over places
(`core.models.lite.Moments`), AUC on dev people and on the held-out domain; a table in Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dtda.core.data.manifest import read_manifest
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.models.lite import Inverted, Lite, read_lite
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, crop

BATCH = 32
BLOCKS = (8, 9, 10, 11)  # 80, 112, 112 and 112 channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--side", type=int, default=240, help="of the chip, a multiple of 8")
    parser.add_argument("--margin", type=float, default=2.7, help="of the chip over the face's box")
    parser.add_argument("--train", type=int, default=3000, help="pictures to fit on")
    parser.add_argument("--dev", type=int, default=1200, help="pictures of the dev people")
    parser.add_argument("--fold", default="kiosk", help="the domain left out")
    args = parser.parse_args()
    try:
        probe(args)
    except DtdaError as error:
        raise SystemExit(f"linear_probe: {error}") from error


def probe(args: argparse.Namespace) -> None:
    net = Lite().eval()
    read_lite(net, args.weights)
    records = read_manifest(args.manifest)
    (fold,) = resolve("sim-loo", records, args.fold)
    rng = np.random.default_rng(0)
    parts = {
        "train": rng.permutation(fold.train)[: args.train],
        "dev": rng.permutation(fold.dev)[: args.dev],
        "held out": np.array(fold.test),
    }
    chosen = [records[index] for index in np.concatenate(list(parts.values()))]
    live = np.array([record.label.value == "live" for record in chosen])
    rule = CropRule(args.side, args.margin, "upright")
    pieces = []
    for start in tqdm(range(0, len(chosen), BATCH), unit="batch"):
        chips = [crop(read_picture(each.path), each.points, rule) for each in chosen[start : start + BATCH]]
        x = (torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() - 127) / 128
        pieces.append(features(net, x))
    first, second = len(parts["train"]), len(parts["train"]) + len(parts["dev"])
    print("| blocks | features | dev AUC % | held out AUC % |\n|---|---|---|---|")
    for block in BLOCKS:
        found = np.concatenate([piece[block] for piece in pieces])
        for name, width in (("mean", found.shape[1] // 2), ("mean and deviation", found.shape[1])):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
            model.fit(found[:first, :width], live[:first])
            scores = model.decision_function(found[:, :width])
            spans = (slice(first, second), slice(second, None))
            aucs = [f"{roc_auc_score(live[span], scores[span]):.1%}"[:-1] for span in spans]
            print(f"| {block} | {name} | {' | '.join(aucs)} |")
    print(f"{' + '.join(f'{len(indices)} {name}' for name, indices in parts.items())} pictures")


@torch.inference_mode()
def features(net: Lite, x: torch.Tensor) -> dict[int, np.ndarray]:
    """float [B, 3, S, S] -> for each number of blocks float [B, 2 * width]: mean and standard deviation over places."""
    made, count = {}, 0
    for layer in net.layers:
        x = layer(x)
        count += isinstance(layer, Inverted)
        if isinstance(layer, Inverted) and count in BLOCKS:
            made[count] = torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], 1).numpy()
    return made


if __name__ == "__main__":
    main()
