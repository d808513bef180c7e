"""`dtda ablate`: the table ERM, DAT, DAA, + perceptual, + generative, DTDA over a protocol and several seeds."""

from __future__ import annotations

import argparse
import contextlib
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.core.training.ablation import Job

CONFIG = Path("scripts/train/ablation.toml")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help="e.g. sim-loo; see docs/datasets.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE.toml", help=f"with the teachers of all rows "
                        f"(default: {CONFIG})")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of every row and fold (default: 3)")
    parser.add_argument("--row", action="append", metavar="NAME", help="only this row; repeatable")
    parser.add_argument("--fold", action="append", metavar="NAME", help="only this fold; repeatable")
    parser.add_argument("--warm", type=int, default=0, metavar="EPOCHS", help="every row starts from an ERM student of "
                        "its fold and seed that was trained so long (default: from scratch)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (default: runs/ablate-<protocol>)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time (default: 1)")


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_file, require_torch
    from dtda.core.training.config import read_config

    config = read_config(args.config, args.overrides)
    for manifest in config.data.manifests:
        require_file(manifest, "make one with `dtda simulate` or `dtda prepare`")
    if args.seeds < 1 or args.workers < 1:
        raise DtdaError("--seeds and --workers are at least 1.")
    require_torch()
    from tqdm import tqdm

    from dtda.core.training import ablation

    rows = args.row or list(ablation.ROWS)
    ablation.check(config, rows)
    out = args.out or Path("runs") / f"ablate-{args.protocol.rpartition(':')[2]}"
    folds = ablation.folds_of(config, args.protocol, detector)
    unknown = [name for name in args.fold or () if name not in folds]
    if unknown:
        raise DtdaError(f"protocol {args.protocol} has no fold {unknown[0]}; there are {', '.join(folds)}.")
    warm = read_config(args.config, [*args.overrides, f"optim.epochs={args.warm}"]) if args.warm else None
    jobs = ablation.jobs(config, args.protocol, args.fold or folds, rows, args.seeds, out, warm)
    first = [job for job in jobs if job.row == ablation.WARM]
    jobs = [job for job in jobs if job.row != ablation.WARM]
    with tqdm(total=len(first) + len(jobs), unit="run", desc="runs") as bar:
        _all(first, args.workers, bar)
        _all(jobs, args.workers, bar)
    lines = ablation.table([(job, ablation.do(job, detector)) for job in jobs])
    ablation.write(out, lines)
    print(ablation.markdown(lines))
    print(f"\n{out / 'ablation.md'}, {out / 'ablation.json'}; one folder for each run beside them")
    return 0


def _all(jobs: list[Job], workers: int, bar: object) -> None:
    from dtda.core.data.crew import mapped

    for _ in mapped(_one, jobs, workers):
        bar.update()  # type: ignore[attr-defined]


def _one(job: Job) -> None:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import untold
    from dtda.core.training import ablation

    threading.excepthook = untold
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # one bar for all runs
        ablation.do(job, detector)
