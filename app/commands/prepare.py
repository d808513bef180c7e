"""`dtda prepare`: find, cut out and list the faces of face anti-spoofing data sets, once, for training and evaluation."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app import options
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.core.data.prepare import Report
    from dtda.core.types import Face, Image

SHOWN = 20  # skipped clips named on stderr; skipped.csv has them all
NOTES = """sets: oulu-npu, casia-fasd, replay-attack, msu-mfsd, celeba-spoof, siw, rose-youtu, wmca, nuaa, lcc-fasd in their
official layout, and generic:NAME for a folder with live and spoof sub-folders or a CSV. docs/datasets.md says more.

A killed run goes on where it was; another SET adds to the folder. Clips that give no face are listed in skipped.csv."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = NOTES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sets", nargs="+", metavar="SET=DIR", help="a data set and the folder it lies in")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the prepared pictures")
    parser.add_argument(
        "--frames", type=options.count, default=5, metavar="N", help="frames of each clip, spread evenly (default: 5)"
    )
    parser.add_argument("--detector", default="auto", help="auto, centerface or insightface:PACK")
    parser.add_argument(
        "--workers", type=options.count, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    parser.add_argument(
        "--no-chips", action="store_true", help="do not cut the training chips of the default crop rule now"
    )


def run(args: argparse.Namespace) -> int:
    folders = parse_sets(args.sets)
    from tqdm import tqdm

    import dtda.app.sources  # noqa: F401  quiets FFmpeg here and in the processes started from here
    from dtda.core.data.prepare import Plan, prepare
    from dtda.core.data.readers.sets import read_set
    from dtda.engines.detect import open_detector

    readings = {name: read_set(name, folder) for name, folder in folders.items()}
    detector = open_detector(args.detector)
    plan = Plan(args.frames, detector.name, functools.partial(detect_with, args.detector))
    detector.close()
    total = sum(len(reading.clips) for reading in readings.values())
    with tqdm(total=total, unit="clip", disable=None) as bar:
        reports = prepare(readings, args.out, plan, args.workers, bar.update)
    for name, report in reports.items():
        show(name, report)
    if not args.no_chips:
        cut(args.out)
    return 0


def parse_sets(words: Sequence[str]) -> dict[str, Path]:
    """Folder by name of set. Raises DtdaError for a word that is not SET=DIR and for a set named twice."""
    folders: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder):
            raise DtdaError(f"{word}: write SET=DIR, as in oulu-npu=/data/OULU-NPU.")
        names = {known.rpartition(":")[2] for known in folders}
        if name.rpartition(":")[2] in names:
            raise DtdaError(f"{name} is named twice; give each set one folder.")
        folders[name] = Path(folder).expanduser()
    return folders


@functools.cache
def detect_with(spec: str) -> Callable[[Image], list[Face]]:
    """One detector per process, with one thread: the processes are the parallel part."""
    from dtda.engines.detect import open_detector

    return open_detector(spec, threads=1).detect


def show(name: str, report: Report) -> None:
    for sentence in report.skipped[:SHOWN]:
        print(f"skipped: {sentence}", file=sys.stderr)
    if len(report.skipped) > SHOWN:
        print(f"skipped: {len(report.skipped) - SHOWN} more; skipped.csv names them.", file=sys.stderr)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"{name}: {report.pictures} pictures of {report.live} live and {report.attack} attack clips, "
        f"{len(report.skipped)} clips skipped"
    )


def cut(out: Path) -> None:
    """Fill the cache of training chips with the default crop rule, where the training extra is installed."""
    if importlib.util.find_spec("filelock") is None:
        print("chips are cut when training starts; pip install 'dtda-demo[train]' cuts them here.", file=sys.stderr)
        return
    from tqdm import tqdm

    from dtda.core.data.chips import cut_chips
    from dtda.core.data.manifest import read_manifest
    from dtda.core.preprocess import CropRule
    from dtda.core.training.config import DataPart

    manifest = out / "manifest.csv"
    records = read_manifest(manifest)
    data = DataPart(manifests=[manifest])
    with tqdm(total=len(records), desc="chips", unit="picture", disable=None) as bar:
        chips = cut_chips(
            records, CropRule(data.size, data.margin, data.crop), data.crops, out / "chips", None, bar.update
        )
    print(f'{len(chips.records)} chips in {out / "chips"}; train with data.manifests = ["{manifest}"]')
