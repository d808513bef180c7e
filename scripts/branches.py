#!/usr/bin/env python
"""What each branch of a student says by itself: one that training destroyed, or never used, hides behind the others.

python scripts/branches.py runs/student-r18/last.ckpt

The live logit is a sum over branches. For each one, on dev people and on the held-out domain of the checkpoint's own data:
the standard deviation of its part of the logit, which is how much say it has, and the AUC of that part alone; a table in
Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import numpy as np
from sklearn.metrics import roc_auc_score

from dtda.core.errors import DtdaError
from dtda.core.models.fasnet import WIDTH, Fasnet
from dtda.core.models.student import Student
from dtda.core.training.checkpoint import load_student
from dtda.core.training.material import load
from dtda.core.training.scoring import features
from dtda.core.types import Label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--dev", type=int, default=1200, help="pictures of the dev people")
    args = parser.parse_args()
    try:
        show(args)
    except DtdaError as error:
        raise SystemExit(f"branches: {error}") from error


def show(args: argparse.Namespace) -> None:
    trained = load_student(args.checkpoint)
    student = trained.student
    spans = branches(student)
    material = load(trained.config.data, lambda: _no_detector(args.checkpoint))
    dev = np.random.default_rng(0).permutation(np.array(material.fold.dev))[: args.dev].tolist()
    weights = student.head[1].weight[0].detach().numpy()
    print("| branch | pictures | say | AUC alone % |\n|---|---|---|---|")
    for part, numbers in (("dev", dev), ("held out", list(material.fold.test))):
        live = np.array([material.chips.records[number].label is Label.LIVE for number in numbers])
        said = features(student, material.chips, numbers) * weights
        for name, span in {**spans, "all": slice(None)}.items():
            logits = said[:, span].sum(1)
            print(f"| {name} | {part} | {logits.std():.2f} | {100 * roc_auc_score(live, logits):.1f} |")


def branches(student: Student) -> dict[str, slice]:
    """Where in the features each branch has its own. Raises DtdaError for a student of one branch."""
    trunk = student.trunk
    if not isinstance(trunk, Fasnet):
        raise DtdaError("this student has one branch only.")
    widths = {f"body {number}": WIDTH for number in range(1, len(trunk.bodies) + 1)}
    if trunk.whole is not None:
        widths["whole chip"] = trunk.whole.width
    if trunk.texture is not None:
        widths["middle"] = student.width - sum(widths.values())
    ends = np.cumsum([0, *widths.values()]).tolist()
    return {name: slice(start, end) for name, start, end in zip(widths, ends, ends[1:], strict=False)}


def _no_detector(checkpoint: Path) -> NoReturn:
    raise DtdaError(f"the pictures of {checkpoint} have no facial points any more; train it anew.")


if __name__ == "__main__":
    main()
