"""`dtda evaluate`: figures, plots and a score file of a checkpoint on a protocol, or the figures of a score file again."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app.commands.train import require_extra, require_file
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.core.evaluate import Report
    from dtda.core.scores import ScoreTable


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="CKPT|SCORES.csv", help="a checkpoint, or a score file of one")
    parser.add_argument(
        "protocol",
        nargs="?",
        metavar="PROTOCOL",
        help="a protocol's name (default: that of the checkpoint), or a manifest.csv to score one split of",
    )
    parser.add_argument("--manifest", type=Path, action="append", metavar="FILE",
                        help="data of the protocol; repeatable (default: the checkpoint's)")  # fmt: skip
    parser.add_argument("--fold", metavar="NAME", help="of the protocol (default: the checkpoint's)")
    parser.add_argument("--split", choices=("train", "dev", "test"), help="of a manifest.csv (default: test)")
    parser.add_argument("--domain", action="append", metavar="NAME", help="test on this domain only; repeatable")
    parser.add_argument("--level", choices=("video", "picture"), default="video", help="what a score is of")
    parser.add_argument("--units", choices=("auto", "subject", "video", "picture"), default="auto",
                        help="what the bootstrap draws (default: subjects if known and enough, else videos)")  # fmt: skip
    parser.add_argument("--draws", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    parser.add_argument("--no-plots", action="store_true", help="figures only")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="folder of the report (default: beside a checkpoint; none for a score file)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.draws < 1:
        raise DtdaError(f"--draws is {args.draws}; it takes at least 1.")
    if args.out and (args.out.suffix in (".json", ".csv", ".md") or args.out.is_file()):
        raise DtdaError(f"--out {args.out}: name a folder; report.json, report.csv and report.md are written in it.")
    if args.source.suffix == ".csv":
        return _of_scores(args)
    require_file(args.source, "train one with `dtda train`, or name a score file ending in .csv")
    if args.protocol and args.protocol.endswith(".csv"):
        require_file(Path(args.protocol), "name the manifest.csv of a data set, or a protocol")
    require_extra()
    from dtda.app.commands.simulate import detector
    from dtda.core.evaluate import evaluate
    from dtda.core.training.judging import Task, judge

    task = Task(args.protocol, args.fold, args.manifest or (), args.split, args.domain or ())
    judged = judge(args.source, task, detector)
    report = evaluate(judged.table, args.level, args.units, args.draws)
    out = args.out or args.source.parent / "evaluation" / _folder_name(judged.title)
    _write(out, judged.table, report, plots=not args.no_plots)
    if not args.no_plots:
        from dtda.core.plots import save

        drawn = judged.feature_map()
        if drawn:
            save(out, {"tsne": drawn})
        else:
            print("\nno tsne.png: too few pictures make no map.")
    print(f"\nwritten: {out}")
    return 0


def _of_scores(args: argparse.Namespace) -> int:
    for name, given in (("PROTOCOL", args.protocol), ("--manifest", args.manifest), ("--fold", args.fold),
                        ("--split", args.split)):  # fmt: skip
        if given:
            raise DtdaError(
                f"{args.source}: a score file is of one protocol already; leave out {name}, or name a checkpoint."
            )
    require_extra(("sklearn", "matplotlib"))
    from dtda.core.evaluate import evaluate
    from dtda.core.scores import read_scores

    table = read_scores(args.source)
    if args.domain:
        table = table.on_domains(args.domain)
    report = evaluate(table, args.level, args.units, args.draws)
    if args.out:
        _write(args.out, table, report, plots=not args.no_plots)
        print(f"\nwritten: {args.out}")
    else:
        _print(report)
    return 0


def _print(report: Report) -> None:
    from dtda.core.tables import markdown

    print(markdown(report), end="")


def _write(out: Path, table: ScoreTable, report: Report, plots: bool) -> None:
    """Scores first: they are what took long."""
    from dtda.core.scores import write_scores
    from dtda.core.sidecar import write_atomic
    from dtda.core.tables import markdown, to_csv, to_json

    write_scores(out / "scores.csv", table)
    for name, text in (
        ("report.md", markdown(report)),
        ("report.csv", to_csv(report)),
        ("report.json", to_json(report)),
    ):
        write_atomic(out / name, text.encode("utf-8", "surrogateescape"))
    _print(report)
    if plots:
        from dtda.core.plots import curves, save

        save(out, curves(table, report))


def _folder_name(title: str) -> str:
    return re.sub(r"[^\w.-]+", "-", title).strip("-.") or "report"
