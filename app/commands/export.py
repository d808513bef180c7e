"""`dtda export`: turn a checkpoint into an ONNX student with its sidecar."""

from __future__ import annotations

import argparse
from pathlib import Path

from dtda.core.errors import DtdaError

LICENCE = "Apache-2.0"
CHIPS = 64  # source dev faces on which torch and onnxruntime are compared


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="STUDENT.onnx")
    parser.add_argument(
        "--training-data", metavar="TEXT", help="what it was trained on (default: how much of which manifests)"
    )
    parser.add_argument(
        "--licence", default=LICENCE, metavar="TEXT", help=f"licence of the weights (default {LICENCE})"
    )
    parser.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a sentence for the user; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_extra, require_file

    if args.out.suffix != ".onnx":
        raise DtdaError(f"{args.out}: the name of a student ends in .onnx.")
    require_file(args.checkpoint, "train one with `dtda train`")
    require_extra()
    import numpy as np

    from dtda.core.export import export
    from dtda.core.training.checkpoint import load_student
    from dtda.core.training.material import load

    config = load_student(args.checkpoint).config
    material = load(config.data, detector)
    chips, fold = material.chips, material.fold
    some = chips.images[sorted(np.random.default_rng(0).permutation(fold.dev)[:CHIPS].tolist()), 0]
    manifests = ", ".join(map(str, config.data.manifests))
    data = args.training_data or f"{len(fold.train)} pictures of {manifests}"
    difference = export(args.checkpoint, args.out, np.asarray(some), data, args.licence, args.note)
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: {size:.1f} MB; max |dp| to torch {difference:.1e} on {len(some)} face chips")
    return 0
