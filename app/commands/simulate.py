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
    from dtda.core.simulate.config import SimulateConfig
    from dtda.core.types import Face, Image


def configure(parser: argparse.ArgumentParser) -> None:
    from dtda.core.simulate.ingredients import ABSENCES

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:<10}{absence.says}" for name, absence in ABSENCES.items()]
    parser.epilog = "\n".join(["causes that --without takes out of the simulator:", *lines])
    parser.add_argument("--faces", type=Path, metavar="DIR", help="folder of bona fide face photos")
    aim = parser.add_mutually_exclusive_group(required=True)
    aim.add_argument("--out", type=Path, metavar="DIR", help="folder of the new data set")
    aim.add_argument("--bench", action="store_true", help="render some portraits, keep nothing, print the speed")
    aim.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw a few crops of every domain beside each other (without "
        "--faces of a public-domain portrait)",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="simulator configuration (default: built in)")
    parser.add_argument("--seed", type=int, help="overrides the configuration's seed")
    parser.add_argument("--portraits", type=int, metavar="N", help="use N portraits spread over the folder")
    parser.add_argument("--live", type=int, metavar="N", help="live shots per portrait and domain")
    parser.add_argument("--attack", type=int, metavar="N", help="attack shots per portrait and domain")
    parser.add_argument("--clip", type=int, metavar="N", help="N frames of a moving clip for every shot")
    parser.add_argument(
        "--no-held-out", action="store_true", help="all identities in all domains, for leave-one-domain-out protocols"
    )
    parser.add_argument(
        "--without", action="append", choices=list(ABSENCES), metavar="NAME", help="take a cause out, see below; the "
        "pictures pair with those of the full set of the same seed (can be given more than once)",
    )  # fmt: skip
    parser.add_argument(
        "--people", action="append", choices=["train", "dev", "test"], metavar="SPLIT", help="people of this split alone: "
        "--people train --seed 1 renders more to train on (can be given more than once)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")


@functools.cache
def detector() -> Callable[[Image], list[Face]]:
    """One CenterFace per process."""
    from dtda.engines.detect import open_detector

    return open_detector("centerface").detect


def run(args: argparse.Namespace) -> int:
    from dtda.core.errors import DtdaError

    if args.faces is None and not args.sheet:
        raise DtdaError("name a folder of face photos with --faces.")
    config = _config(args)
    if args.sheet:
        return _sheet(args, config)
    if args.bench:
        return _bench(args, config)
    from tqdm import tqdm

    from dtda.core.simulate.dataset import simulate

    with tqdm(unit="photo", disable=None) as bar:
        report = simulate(args.faces, args.out, config, detector, args.workers, bar.update)
    for sentence in report.skipped:
        print(f"skipped: {sentence}", file=sys.stderr)
    print(f"{report.written} pictures in {args.out / 'manifest.csv'}, {len(report.skipped)} portraits skipped")
    return 0


def _config(args: argparse.Namespace) -> SimulateConfig:
    """The file's configuration with what the command line overrides."""
    from dtda.core.errors import DtdaError
    from dtda.core.simulate.config import SimulateConfig, read_config

    config = read_config(args.config)
    changes = {
        name: getattr(args, name) for name in ("seed", "portraits", "live", "attack", "clip", "without", "people")
    }
    changed = config.model_dump() | {name: value for name, value in changes.items() if value is not None}
    if args.no_held_out:
        changed["domains"] = [domain | {"held_out": False} for domain in changed["domains"]]
    try:
        return SimulateConfig.model_validate(changed)
    except ValueError as error:
        raise DtdaError(f"--{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.") from error  # type: ignore[attr-defined]


def _bench(args: argparse.Namespace, config: SimulateConfig) -> int:
    from dtda.core.simulate.dataset import bench

    if not args.portraits:
        config = config.model_copy(update={"portraits": 24})
    speed = bench(args.faces, config, detector, args.workers)
    print(
        f"{speed.pictures} pictures in {speed.seconds:.1f} s with {args.workers} processes: {speed.rate:.1f} pictures/s, "
        f"each with a crop of {speed.crop:.0f} px (median) at 2.7 face widths; {speed.processor_ms:.0f} ms of processor each"
    )
    return 0


def _sheet(args: argparse.Namespace, config: SimulateConfig) -> int:
    import cv2
    import numpy as np

    from dtda.core.errors import DtdaError
    from dtda.core.sidecar import write_atomic
    from dtda.core.simulate.portrait import list_portraits, load_portrait
    from dtda.core.simulate.sample import astronaut
    from dtda.core.simulate.sheet import draw_sheet_of

    if args.sheet.suffix.lower() not in (".png", ".jpg"):
        raise DtdaError(f"{args.sheet}: a sheet is written as .png or .jpg; name such a file.")
    people = [astronaut()]
    if args.faces:
        entries = list_portraits(args.faces)
        count = min(config.portraits or len(config.domains), len(entries))
        picked = np.linspace(0, len(entries) - 1, count).astype(int)
        people = [load_portrait(entries[index], detector()) for index in picked]
    sheet = draw_sheet_of(people, config)
    write_atomic(args.sheet, cv2.imencode(args.sheet.suffix, sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes())
    print(args.sheet)
    return 0
