"""`dtda benchmark-model`: students of any make side by side, over labelled pictures and clips or over unlabelled ones."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app import options
from dtda.app.commands.train import require_extra
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.core.benchmark import Benchmark, Contender

NOTES = """\
DATA is a manifest.csv, a folder with sub-folders live and spoof (or live and attack types), a public set such as
casia-fasd=DIR, or any folder of pictures and clips: then students are only compared with each other."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = NOTES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "students",
        nargs="+",
        metavar="STUDENT",
        help="an ONNX student, a TensorRT engine, the network.json of another network, or a shipped one: auto, student-r18",
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="what to score, see below")
    parser.add_argument("--split", action="append", metavar="NAME", help="of the data, such as test; repeatable")
    parser.add_argument("--limit", type=options.count, metavar="N", help="so many clips, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of --limit (default: 0)")
    parser.add_argument("--frames", type=options.count, default=5, metavar="N", help="of a video (default: 5)")
    parser.add_argument("--robust", action="store_true", help="also measure how far scores move under small changes")
    parser.add_argument("--gate", action="store_true",
                        help="faces that the live quality gate refuses are non-responses")  # fmt: skip
    parser.add_argument("--detect", action="store_true", help="find faces even where a manifest has facial points")
    parser.add_argument("--level", choices=("video", "picture"), default="video", help="what a score is of")
    parser.add_argument("--units", choices=("auto", "subject", "video", "picture"), default="auto",
                        help="what the bootstrap draws (default: subjects and clips, where they are named)")  # fmt: skip
    parser.add_argument(
        "--draws", type=options.count, default=1000, metavar="N", help="of the bootstrap (default: 1000)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="write benchmark.md, .csv, .json, pictures.csv, and a scores.csv of each student")  # fmt: skip
    options.add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.out is not None:
        if args.out.is_file() or args.out.suffix in (".json", ".csv", ".md"):
            raise DtdaError(f"--out {args.out}: name a folder; benchmark.md and others are written in it.")
        options.check_writable(args.out / "benchmark.md", "--out")
    require_extra(("sklearn",))
    from dtda.core.benchmark import Options, conclude, scan
    from dtda.core.benchmark_tables import markdown
    from dtda.core.data.gather import gather

    data = gather(args.data, args.split or (), args.limit, args.seed)
    contenders = [_open(spec, args.provider) for spec in args.students]
    contenders = _named(contenders)
    from tqdm import tqdm

    from dtda.engines.detect import open_detector

    options.fetch_models(args)
    detector = open_detector(args.detector)
    choices = Options(args.frames, args.gate, args.robust, args.detect)
    with tqdm(total=len(data.clips), unit="clip", disable=None) as bar:
        findings = scan(data.clips, contenders, detector.detect, choices, bar.update)
    benchmark = conclude(data, contenders, findings, args.level, args.units, args.draws)
    if args.out is not None:
        write(args.out, benchmark)
    print(markdown(benchmark), end="")
    for sentence in findings.unreadable:
        print(f"dtda: {sentence}", file=sys.stderr)
    if args.out is not None:
        print(f"\nwritten: {args.out}")
    return 2 if findings.unreadable else 0


def write(out: Path, benchmark: Benchmark) -> None:
    """Scores first: they are what took long. Raises DtdaError, OSError."""
    from dtda.core import benchmark_tables as tables
    from dtda.core.scores import write_scores
    from dtda.core.sidecar import write_atomic

    for name, table in benchmark.tables.items():
        write_scores(out / _folder(name) / "scores.csv", table)
    for name, text in (
        ("pictures.csv", tables.pictures(benchmark)),
        ("benchmark.csv", tables.to_csv(benchmark)),
        ("benchmark.json", tables.to_json(benchmark)),
        ("benchmark.md", tables.markdown(benchmark)),
    ):
        write_atomic(out / name, text.encode("utf-8", "surrogateescape"))


def _open(spec: str, provider: str) -> Contender:
    from dtda.core.benchmark import Contender
    from dtda.engines.registry import open_engine, working_points

    engine = open_engine(spec, "auto" if spec.endswith(".engine") else provider)
    info = engine.info
    return Contender(info.name, info, engine.infer, working_points(Path(info.path)))


def _named(contenders: Sequence[Contender]) -> list[Contender]:
    """Each by a name of its own: students of one name also by precision, by file, and at last by number."""
    from dataclasses import replace

    named = list(contenders)
    for way in (lambda each: each.info.precision, lambda each: Path(each.info.path).name):
        counts = Counter(_folder(each.name).lower() for each in named)
        named = [
            replace(each, name=f"{each.name} {way(each)}") if counts[_folder(each.name).lower()] > 1 else each
            for each in named
        ]
    counts = Counter(_folder(each.name).lower() for each in named)
    return [
        replace(each, name=f"{each.name} {number}") if counts[_folder(each.name).lower()] > 1 else each
        for number, each in enumerate(named, 1)
    ]


def _folder(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "student"
