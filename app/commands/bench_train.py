"""`dtda bench-train`: what a training step costs with each term of the method, and whether the loader keeps up."""

from __future__ import annotations

import argparse
from pathlib import Path

from dtda.core.errors import DtdaError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file with the teachers of all rows")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    parser.add_argument("--row", action="append", metavar="NAME", help="only this row; repeatable, the first is 1")
    parser.add_argument("--steps", type=int, default=9, metavar="N", help="of each row; medians are shown (default: 9)")


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_extra, require_file
    from dtda.core.training.config import read_config

    config = read_config(args.config, args.overrides)
    for manifest in config.data.manifests:
        require_file(manifest, "make one with `dtda simulate` or `dtda prepare`")
    if args.steps < 1:
        raise DtdaError("--steps is at least 1.")
    require_extra()
    from dtda.core.training import speed
    from dtda.core.training.ablation_rows import ROWS

    print(speed.markdown(speed.measure(config, args.row or list(ROWS), args.steps, detector)))
    return 0
