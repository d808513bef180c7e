"""`dtda sample`: short live, print and screen clips from a public-domain portrait."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for live.avi, print.avi, screen.avi"
    )


def run(args: argparse.Namespace) -> int:
    from dtda.core.simulate.sample import CLIPS, render_clip

    for name in CLIPS:
        path = args.out / f"{name}.avi"
        render_clip(name, path)
        print(path)
    return 0
