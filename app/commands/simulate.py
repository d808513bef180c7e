"""`dtda simulate`: a labelled data set of simulated attacks from a folder of face photos."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtda.core.types import Face, Image


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--faces", type=Path, required=True, metavar="DIR", help="folder of bona fide face photos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="simulator configuration (default: built in)")
    parser.add_argument("--seed", type=int, help="overrides the configuration's seed")
    parser.add_argument("--portraits", type=int, metavar="N", help="use N portraits spread over the folder")
    parser.add_argument("--live", type=int, metavar="N", help="live shots per portrait and domain")
    parser.add_argument("--attack", type=int, metavar="N", help="attack shots per portrait and domain")
    parser.add_argument(
        "--no-held-out", action="store_true", help="all identities in all domains, for leave-one-domain-out protocols"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")


@functools.cache
def detector() -> Callable[[Image], list[Face]]:
    """One CenterFace per process."""
    from dtda.engines.detect import open_detector

    return open_detector("centerface").detect


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dtda.core.errors import DtdaError
    from dtda.core.simulate.config import SimulateConfig, read_config
    from dtda.core.simulate.dataset import simulate

    config = read_config(args.config)
    changes = {name: getattr(args, name) for name in ("seed", "portraits", "live", "attack")}
    changed = config.model_dump() | {name: value for name, value in changes.items() if value is not None}
    if args.no_held_out:
        changed["domains"] = [domain | {"held_out": False} for domain in changed["domains"]]
    try:
        config = SimulateConfig.model_validate(changed)
    except ValueError as error:
        raise DtdaError(f"--{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.") from error  # type: ignore[attr-defined]
    with tqdm(unit="portrait", disable=None) as bar:
        report = simulate(args.faces, args.out, config, detector, args.workers, bar.update)
    for sentence in report.skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    print(f"{report.written} pictures in {args.out / 'manifest.csv'}, {len(report.skipped)} portraits skipped")
    return 0
