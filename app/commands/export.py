"""`dtda export`: turn a checkpoint into an ONNX student with its sidecar."""

from __future__ import annotations

import argparse
from pathlib import Path

from dtda.core.errors import DtdaError

LICENCE = "Apache-2.0"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="STUDENT.onnx")
    parser.add_argument(
        "--training-data", metavar="TEXT", help="what it was trained on (default: the manifests' names)"
    )
    parser.add_argument(
        "--licence", default=LICENCE, metavar="TEXT", help=f"licence of the weights (default {LICENCE})"
    )
    parser.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a sentence for the user; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_file, require_torch

    if args.out.suffix != ".onnx":
        raise DtdaError(f"{args.out}: the name of a student ends in .onnx.")
    require_file(args.checkpoint, "train one with `dtda train`")
    require_torch()
    import numpy as np

    from dtda.core.export import export
    from dtda.core.training.checkpoint import load_student
    from dtda.core.training.material import load_chips

    config = load_student(args.checkpoint).config
    chips = load_chips(config.data, detector)
    dev = [number for number, record in enumerate(chips.records) if record.split == "dev"]
    some = chips.images[sorted(np.random.default_rng(0).permutation(dev)[:64].tolist()), 0]
    data = args.training_data or f"{len(chips.records)} pictures of {', '.join(map(str, config.data.manifests))}"
    difference = export(args.checkpoint, args.out, np.asarray(some), data, args.licence, args.note)
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: {size:.1f} MB; max |dp| to torch {difference:.1e} on {len(some)} face chips")
    return 0
