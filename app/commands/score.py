"""`dtda score`: one row per video or picture, without a window."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda.app import options
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.app.pipeline import Pipeline
    from dtda.app.scoring import ClipScore
    from dtda.app.sources import Source

COLUMNS = ("path", "frames", "scored", "non_response", "p_live", "label", "attack_reason")
FRAME_COLUMNS = ("path", "frame", "t", "track", "x1", "y1", "x2", "y2", "p_frame", "p_live", "label", "reasons")
NOTES = """\
columns: path; frames looked at; scored, those in which the main (largest, longest) face was scored; non_response, the
others; p_live, the mean over the scored frames, empty when there are none; label: live, spoof or cannot_tell;
attack_reason: what speaks against live. An input that cannot be read has a row with 0 frames, and the
exit status is 2."""

Row = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = NOTES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a video, a picture, a folder with its subfolders, or sample"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write FILE.csv or FILE.json (default: CSV on stdout)")
    parser.add_argument(
        "--frames", action="store_true", help="also write one row per frame and face to FILE.frames.csv beside --out"
    )
    parser.add_argument(
        "--every", type=options.count, default=1, metavar="N", help="look at every Nth frame only (default: 1)"
    )
    parser.add_argument(
        "--threshold",
        type=options.probability,
        metavar="P",
        help="p_live from which a face is live (default: the student's)",
    )
    options.add_options(parser)


def run(args: argparse.Namespace) -> int:
    check_out(args.out, args.frames)
    from tqdm import tqdm

    from dtda.app.pipeline import Pipeline

    detector, engine = options.open_parts(args)
    pipeline = Pipeline(detector, engine, threshold=args.threshold)
    rows: list[Row] = []
    frame_rows: list[Row] = []
    failures: list[str] = []
    notes: list[str] = []
    interruption: KeyboardInterrupt | None = None
    try:
        for path, opener in tqdm(list(inputs(args.sources)), unit="file", disable=not sys.stderr.isatty()):
            try:
                score = score_input(opener, pipeline, args)
            except DtdaError as error:
                failures.append(str(error))
                rows.append(dict(zip(COLUMNS, (path, 0, 0, 0, None, "cannot_tell", "could not be read"), strict=True)))
                continue
            if score.cut_short:
                notes.append("{} ends after {} of {} frames.".format(path, *score.cut_short))
            rows.append(summary_row(path, score))
            frame_rows += sighting_rows(path, score)
    except KeyboardInterrupt as pressed:  # what is done by then is kept
        interruption = pressed
    finally:
        pipeline.close()
    report = {"engine": asdict(engine.info), "detector": detector.name, "threshold": pipeline.threshold}
    if rows or interruption is None:
        write(args, report, rows, frame_rows)
    for line in [f"note: {note}" for note in notes] + failures:
        print(f"dtda: {line}", file=sys.stderr)
    if interruption is not None:
        raise interruption
    return 2 if failures else 0


def write(args: argparse.Namespace, report: Row, rows: Sequence[Row], frame_rows: Sequence[Row]) -> None:
    """The rows to --out or stdout. report: what ran, for JSON. Raises DtdaError."""
    if args.out is None:
        sys.stdout.write(as_csv(COLUMNS, rows))
    elif args.out.suffix.lower() == ".json":
        save(args.out, json.dumps({**report, "inputs": rows}, indent=2) + "\n")
    else:
        save(args.out, as_csv(COLUMNS, rows))
    if args.frames:
        save(args.out.with_suffix(".frames.csv"), as_csv(FRAME_COLUMNS, frame_rows))


def inputs(specs: Sequence[str]) -> Iterator[tuple[str, Callable[[], Source]]]:
    """The path shown for each input, and how to open it. Folders become their files, `sample` its clips."""
    from dtda.app.sources import media_files, open_source

    for spec in specs:
        folder = Path(spec).expanduser()
        if spec == "sample":
            from dtda.core.simulate.sample import CLIPS

            for clip, name in enumerate(CLIPS):
                yield f"sample/{name}", lambda clip=clip: sample_clip(clip)  # type: ignore[misc]
        elif folder.is_dir() and (files := media_files(folder)):
            for file in files:
                yield str(file), lambda file=file: open_source(str(file))  # type: ignore[misc]
        else:
            yield spec, lambda spec=spec: open_source(finite(spec))  # type: ignore[misc]


def sample_clip(clip: int) -> Source:
    from dtda.app.sources import open_source

    source = open_source("sample")
    source.select(clip)
    return source


def finite(spec: str) -> str:
    """The source, unless it has no end. Raises DtdaError."""
    if "://" in spec or spec.partition(":")[0] == "camera":
        raise DtdaError(f"{spec}: only files and folders are scored here; watch a camera or a stream with dtda-demo.")
    return spec


def score_input(opener: Callable[[], Source], pipeline: Pipeline, args: argparse.Namespace) -> ClipScore:
    from tqdm import tqdm

    from dtda.app.scoring import score_clip

    source = opener()
    try:
        with tqdm(
            total=source.length, desc=source.title, unit="frame", leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            return score_clip(source, pipeline, args.every, args.frames, bar.update)
    finally:
        source.close()


def summary_row(path: str, score: ClipScore) -> Row:
    p_live = None if score.p_live is None else round(score.p_live, 6)
    values = (path, score.frames, score.scored, score.non_response, p_live, score.label.value, score.attack_reason)
    return dict(zip(COLUMNS, values, strict=True))


def sighting_rows(path: str, score: ClipScore) -> Iterator[Row]:
    for seen in score.sightings:
        verdict = seen.verdict
        box = (round(float(side), 1) for side in verdict.face.box)
        probabilities = (None if math.isnan(p) else round(p, 6) for p in (verdict.p_frame, verdict.p_live))
        reasons = "; ".join(reason.value for reason in verdict.reasons)
        values = (path, seen.frame, round(seen.t, 4), verdict.track, *box, *probabilities, verdict.label.value, reasons)
        yield dict(zip(FRAME_COLUMNS, values, strict=True))


def as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def check_out(out: Path | None, frames: bool) -> None:
    """Refuse before the work what would fail after it. Raises DtdaError."""
    if out is None:
        if frames:
            raise DtdaError("--frames needs --out: its rows go to a file beside that one.")
        return
    if out.suffix.lower() not in (".csv", ".json"):
        raise DtdaError(f"{out}: name a file that ends in .csv or .json.")
    options.check_writable(out, "--out")


def save(path: Path, text: str) -> None:
    """Replace the file at once, or leave the old one whole. Raises DtdaError."""
    from dtda.core.sidecar import write_atomic

    try:
        write_atomic(path, text.encode(errors="surrogateescape"))  # names of files need not be UTF-8
    except OSError as error:
        raise DtdaError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another place with --out."
        ) from error
