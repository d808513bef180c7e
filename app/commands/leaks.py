"""`dtda leaks`: does one cue alone (brightness, sharpness, noise, ...) tell live from attack in a labelled set?"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtda.core.data.manifest import Record


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.csv", help="of `dtda simulate` or `dtda prepare`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there: .csv or .md")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a cue is outside 0.4..0.6")
    parser.add_argument("--sample", type=int, metavar="N", help="survey N pictures spread over the set")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")


def run(args: argparse.Namespace) -> int:
    import numpy as np
    from tqdm import tqdm

    from dtda.app.commands.train import require_extra
    from dtda.core.data.crew import mapped
    from dtda.core.data.manifest import read_manifest
    from dtda.core.errors import DtdaError
    from dtda.core.sidecar import write_atomic
    from dtda.core.simulate import leaks

    require_extra(("sklearn",))
    if args.out and args.out.suffix.lower() not in (".csv", ".md"):
        raise DtdaError(f"{args.out}: the table is written as .csv or .md; name such a file.")
    records = read_manifest(args.manifest)
    if args.sample and args.sample < len(records):
        order = np.random.default_rng(0).permutation(len(records))[: args.sample]
        records = [records[index] for index in sorted(order)]
    found = dict(tqdm(mapped(_one, list(enumerate(records)), args.workers), total=len(records), disable=None))
    good = [index for index in range(len(records)) if isinstance(found[index], dict)]
    for index in range(len(records)):
        if index not in set(good):
            print(f"skipped: {found[index]}", file=sys.stderr)
    cells = leaks.table([records[index] for index in good], [found[index] for index in good])
    text = leaks.markdown(cells)
    print(text)
    leaking = [cell for cell in cells if cell.leaks]
    print(f"\n{len(leaking)} of {len(cells)} cells are outside {leaks.LOW}..{leaks.HIGH} beyond their sampling error")
    if args.out:
        write_atomic(args.out, (leaks.as_csv(cells) if args.out.suffix.lower() == ".csv" else text + "\n").encode())
    return 1 if args.check and leaking else 0


def _one(task: tuple[int, Record]) -> tuple[int, dict[str, float] | str]:
    from dtda.core.simulate.leaks import surveyed

    return task[0], surveyed(task[1])
