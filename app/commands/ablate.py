"""`dtda ablate`: what each term, teacher, student, crop rule or simulator ingredient is worth, over a protocol and seeds."""

from __future__ import annotations

import argparse
import contextlib
import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.core.training.ablation import Job
    from dtda.core.training.ablation_agreement import Reference

CONFIG = Path("scripts/train/ablation.toml")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help="e.g. sim-loo; see docs/datasets.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE.toml", help=f"with the teachers of all rows "
                        f"(default: {CONFIG})")  # fmt: skip
    parser.add_argument("--rows", type=Path, metavar="FILE.toml", help="rows that change anything else, see "
                        "docs/training.md (default: ERM, DAT, DAA, + perceptual, + generative, DTDA)")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of every row and fold (default: 3)")
    parser.add_argument("--row", action="append", metavar="NAME", help="only this row; repeatable")
    parser.add_argument("--fold", action="append", metavar="NAME", help="only this fold; repeatable")
    parser.add_argument("--warm", type=int, default=0, metavar="EPOCHS", help="every row starts from an ERM student of "
                        "its fold and seed that was trained so long (default: from scratch)")  # fmt: skip
    parser.add_argument("--by", choices=("fold", "type"), default="fold", help="columns of AUC: of each fold, or of each "
                        "attack type (default: fold)")  # fmt: skip
    parser.add_argument("--agree", metavar="NETWORK", help="also how far each row ranks test pictures as this network.json, "
                        "ONNX student or engine does")  # fmt: skip
    parser.add_argument("--unlabelled", metavar="PICTURES", help="with --agree: also these, a folder or a manifest")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (default: runs/ablate-<protocol>)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time (default: 1)")


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_extra, require_file
    from dtda.core.training.ablation_rows import ROWS, WARM, picked, read_rows, row_config
    from dtda.core.training.config import read_config

    config = read_config(args.config, args.overrides)
    known = read_rows(args.rows) if args.rows else ROWS
    rows = picked(args.row or list(known), known)
    for made in (config, *(row_config(config, row) for row in rows)):
        for manifest in made.data.manifests:
            require_file(manifest, "make one with `dtda simulate` or `dtda prepare`")
    if args.seeds < 1 or args.workers < 1:
        raise DtdaError("--seeds and --workers are at least 1.")
    if args.unlabelled and not args.agree:
        raise DtdaError("--unlabelled goes with --agree, which names the network to compare with.")
    require_extra()
    from tqdm import tqdm

    from dtda.core.training import ablation, ablation_table

    ablation.check(config, rows)
    out = args.out or Path("runs") / f"ablate-{args.protocol.rpartition(':')[2]}"
    folds = ablation.folds_of(config, args.protocol, detector)
    unknown = [name for name in args.fold or () if name not in folds]
    if unknown:
        raise DtdaError(f"protocol {args.protocol} has no fold {unknown[0]}; there are {', '.join(folds)}.")
    warm = read_config(args.config, [*args.overrides, f"optim.epochs={args.warm}"]) if args.warm else None
    jobs = ablation.jobs(config, args.protocol, args.fold or folds, rows, args.seeds, out, warm)
    ablation.check_people(jobs, detector)
    first = [job for job in jobs if job.row == WARM]
    jobs = [job for job in jobs if job.row != WARM]
    reference = _reference(args.agree, args.unlabelled, jobs, out) if args.agree else None
    with tqdm(total=len(first) + len(jobs), unit="run", desc="runs") as bar:
        _all(first, args.workers, bar)
        _all(jobs, args.workers, bar)
    done = [(job, ablation.do(job, detector)) for job in jobs]
    ranks = None
    if reference:
        from dtda.core.training.ablation_agreement import ranks as ranked

        ranks = ranked(jobs, reference, detector)
    lines = ablation_table.table(done, order=list(known), ranks=ranks)
    ablation_table.write(out, lines, args.by)
    print(ablation_table.markdown(lines, args.by))
    print(f"\n{out / 'ablation.md'}, {out / 'ablation.json'}; one folder for each run beside them")
    return 0


def _reference(spec: str, unlabelled: str | None, jobs: Sequence[Job], out: Path) -> Reference:
    """Before the runs: what is wrong with the network or the pictures is not to be known after days."""
    from dtda.app.commands.simulate import detector
    from dtda.core.benchmark import Contender
    from dtda.core.data.gather import gather
    from dtda.core.training.ablation_agreement import refer
    from dtda.engines.registry import open_engine, working_points

    data = gather(unlabelled) if unlabelled else None
    engine = open_engine(spec)
    try:
        info = engine.info
        network = Contender(info.name, info, engine.infer, working_points(Path(info.path)))
        return refer(network, jobs, data, out, detector)
    finally:
        engine.close()


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
