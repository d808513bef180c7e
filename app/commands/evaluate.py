"""`dtda evaluate`: figures of a checkpoint on a labelled data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dtda.core.errors import DtdaError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("protocol", type=Path, metavar="PROTOCOL", help="a manifest.csv with labels and splits")
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test", help="identities (default: test)")
    parser.add_argument("--domain", action="append", metavar="NAME", help="only this domain; repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures there as well")


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_file, require_torch

    require_file(args.checkpoint, "train one with `dtda train`")
    require_file(args.protocol, "name the manifest.csv of a data set")
    require_torch()
    from dtda.core.sidecar import write_atomic
    from dtda.core.training.checkpoint import load_student
    from dtda.core.training.loop import load_chips
    from dtda.core.training.scoring import numbers_of, score, table

    trained = load_student(args.checkpoint)
    if "thresholds" not in trained.state:
        raise DtdaError(
            f"{args.checkpoint}: its training has not finished, so it has no threshold; go on with --resume."
        )
    data = trained.config.data.model_copy(update={"manifests": [args.protocol]})
    config = trained.config.model_copy(update={"data": data})
    chips = load_chips(config, args.checkpoint.parent, detector)
    present = sorted({record.domain for record in chips.records})
    for name in args.domain or ():
        if name not in present:
            raise DtdaError(f"{args.protocol}: has no domain {name}; there are {', '.join(present)}.")
    numbers = numbers_of(chips, args.split, args.domain or present)
    if not numbers:
        raise DtdaError(f"{args.protocol}: has no {args.split} pictures of {', '.join(args.domain or present)}.")
    threshold = trained.state["thresholds"]["default"]["value"]
    rows = table(score(trained.student, chips, numbers), chips, numbers, threshold)
    print(format_table(rows, threshold))
    if args.out:
        write_atomic(args.out, (json.dumps({"threshold": threshold, "rows": rows}, indent=2) + "\n").encode())
    return 0


def format_table(rows: dict[str, dict[str, float]], threshold: float) -> str:
    """Markdown, rates in per cent; LIVE means P(live) >= threshold."""
    lines = [
        f"threshold {threshold:.3f} (from training's dev split)",
        "",
        "| pictures | live | attack | AUC % | EER % | BPCER % | APCER % | ACER % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [f"{100 * row[key]:.1f}" for key in ("auc", "eer", "bpcer", "apcer", "acer")]
        for place, key in ((0, "auc"), (1, "eer")):
            if f"{key}_low" in row:
                cells[place] += f" ({100 * row[f'{key}_low']:.1f}-{100 * row[f'{key}_high']:.1f})"
        lines.append(f"| {name} | {int(row['live'])} | {int(row['attack'])} | {' | '.join(cells)} |")
    return "\n".join(lines)
