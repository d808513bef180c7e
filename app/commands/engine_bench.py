"""`dtda engine bench`: all that can run a student here, side by side: latency, throughput, and the effect on P(live)."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda.app import options
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.engines.latency import Latency, Row, Runner
    from dtda.engines.lineup import Student
    from dtda.engines.probe import Probe

CHECKPOINT = ".ckpt"
EPILOG = "`dtda bench` times the stages of the whole pipeline with one engine instead."
FIGURES = ("open_s", "first_ms", "p50_ms", "p95_ms", "p99_ms", "faces_per_s", "ratio", "max_dp")
FIELDS = ("student", "backend", "device", "precision", "threads", "batch", *FIGURES[:2], "calls", *FIGURES[2:], "file",
          "reason")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="STUDENT.onnx|ENGINE|CKPT",
        help="what to compare (default: student-mobile, with all engines built from it); torch takes its "
        "weights from a checkpoint where one is named, else from the ONNX file",
    )
    parser.add_argument("--batch", type=_sizes, default=(1, 2, 4, 8), metavar="N,N", help="faces in a call (1,2,4,8)")
    parser.add_argument(
        "--seconds", type=_seconds, default=2.0, metavar="S", help="of each engine at each batch size (default: 2)"
    )
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="pictures or clips to score besides the sample",
    )
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which compiles for minutes")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write bench.csv, bench.json and a plot there (matplotlib)"
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({options.count(part) for part in text.split(",")}))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 600")
    return value


def run(args: argparse.Namespace) -> int:
    if args.out is not None:
        options.check_writable(args.out / "bench.json", "--out")
    from dtda.engines import parity
    from dtda.engines.latency import measure
    from dtda.engines.lineup import rows, students
    from dtda.engines.probe import probe

    here = probe()
    checkpoints = [path for path in args.files if path.suffix.lower() == CHECKPOINT]
    found = students([path for path in args.files if path not in checkpoints], here)
    if len(checkpoints) > 1 or (checkpoints and len(found) > 1):
        raise DtdaError("a checkpoint is compared with one student at a time; name one of each.")
    latencies: list[Latency] = []
    for student in found:
        chips = parity.chips(student.rule, args.frames)
        print(f"{_headline(student)}; {len(chips)} face chips", flush=True)
        lineup = [*rows(student, here), *torch_rows(student, next(iter(checkpoints), None), here, not args.no_compile)]
        latencies += measure(lineup, chips, args.batch, args.seconds, _say)
    _say("")
    print(table(latencies))
    print(_remarks(latencies, args.seconds))
    if args.out is not None:
        write(args.out, latencies, here, args)
        print(f"\n{args.out}: bench.csv, bench.json, {draw(args.out, latencies)}")
    return 0


def torch_rows(student: Student, checkpoint: Path | None, probe: Probe, compile_too: bool) -> list[Row]:
    """torch eager and torch.compile on the CPU and on a GPU. Each opens itself, or says why it cannot."""
    from dtda.engines.latency import Row
    from dtda.engines.ort import student_threads

    found = []
    for device, title in (("cpu", "CPU"), ("cuda", probe.gpu or "GPU")):
        for precision, path in student.files.items():
            weights = checkpoint if checkpoint is not None and precision == "fp32" else path
            for compiled in (False, True):
                opening: Callable[[], Runner] = partial(
                    _open_torch, student, weights, precision, device, compiled, compile_too
                )
                threads = student_threads() if device == "cpu" else 0
                name = f"torch {_torch_version()}{' compiled' if compiled else ' eager'}"
                found.append(Row(student.name, name, precision, title, threads, weights, opening))
    return found


def _open_torch(
    student: Student, weights: Path, precision: str, device: str, compiled: bool, compile_too: bool
) -> Runner:
    from dtda.engines.ort import student_threads

    if precision == "int8":
        raise DtdaError("only onnxruntime and TensorRT read the operators of an INT8 student.")
    if compiled and not compile_too:
        raise DtdaError("--no-compile leaves it out.")
    _require("torch", "torchvision")
    from dtda.core.models import eager

    if weights.suffix.lower() == CHECKPOINT:
        module = eager.from_checkpoint(weights, student.rule.size)
    else:
        module = eager.from_onnx(weights)
    return eager.TorchStudent(module, device, student_threads(), compiled)


def _torch_version() -> str:
    """Without importing it: that takes seconds. Without its build, "+cpu"."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return ""


def _require(*libraries: str) -> None:
    """Raises DtdaError with the install line when one is missing."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise DtdaError(f"{library} is not installed; run: pip install 'dtda-demo[train]'.")


def _headline(student: Student) -> str:
    return f"{student.name}: {student.rule.size} px, {', '.join(path.name for path in student.files.values())}"


def _say(text: str) -> None:
    """One line on a terminal, overwritten by the next; nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text[:100]}")
        sys.stderr.flush()


TITLES = ("engine", "device", "precision", "threads", "batch", "open s", "first ms", "calls", "p50 ms", "p95 ms", "p99 ms",
          "faces/s", "times as fast", "max dp")  # fmt: skip


def table(latencies: Sequence[Latency]) -> str:
    """Markdown, aligned for a terminal. A row that did not run is there with its reason."""
    several = len({one.row.student for one in latencies}) > 1
    lines = []
    for one in latencies:
        engine = f"{one.row.student}: {one.row.backend}" if several else one.row.backend
        start = [engine, one.row.device, one.row.precision, str(one.row.threads or "-")]
        if one.reason:
            lines.append([*start, str(one.batch or "all"), f"not run: {one.reason}"])
            continue
        figures = [f"{one.open_s:.2f}", f"{one.first_ms:.0f}", str(one.calls)]
        figures += [f"{ms:.2f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms)]
        figures += [f"{one.faces_per_s:.0f}", f"{one.ratio:.2f}", f"{one.max_dp:.1e}"]
        lines.append([*start, str(one.batch), *figures])
    full = [line for line in [list(TITLES), *lines] if len(line) == len(TITLES)]
    widths = [
        max(len(line[place]) for line in [*full, *lines] if place < 5 or len(line) > 6) for place in range(len(TITLES))
    ]
    shown = [_line(list(TITLES), widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join([*shown, *(_line(line, widths) for line in lines)])


def _line(cells: list[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if place < 3 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return f"| {' | '.join(padded)} |"


def _remarks(latencies: Sequence[Latency], seconds: float) -> str:
    reference = latencies[0].row
    return f"""
A call is uint8 chips in memory to P(live) in memory, copies to a GPU and back included. {seconds:g} s of each row at each
batch size, in turns of a tenth of a second. Opening (of the first row of torch with the import of torch) and the first
call, with all that is compiled in it, stand apart. "times as fast" and "max dp", the largest |difference of P(live)|, are
against {reference.title}. Threads on the CPU: onnxruntime {reference.threads}, as in the window (half of
the cores, at most four); torch is set to the same."""


def record(one: Latency) -> dict[str, Any]:
    """Flat, in the order of FIELDS; what was not measured is None."""
    row: dict[str, Any] = {
        name: getattr(one.row, name) for name in ("student", "backend", "device", "precision", "threads")
    }
    figures = {name: getattr(one, name) for name in FIGURES}
    kept = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    row |= {"batch": one.batch, "calls": one.calls, **kept, "file": str(one.row.file), "reason": one.reason}
    return {name: row[name] for name in FIELDS}


def write(folder: Path, latencies: Sequence[Latency], probe: Probe, args: argparse.Namespace) -> None:
    """bench.csv and bench.json. Raises OSError."""
    from dataclasses import asdict

    from dtda.core.sidecar import write_atomic

    records = [record(one) for one in latencies]
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomic(folder / "bench.csv", text.getvalue().encode())
    report = {
        "machine": {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "python": sys.version.split()[0],
        "gpu": asdict(probe),
        "seconds": args.seconds,
        "batches": list(args.batch),
        "rows": records,
    }
    write_atomic(folder / "bench.json", (json.dumps(report, indent=2) + "\n").encode())


def draw(folder: Path, latencies: Sequence[Latency]) -> str:
    """bench.png and bench.svg. Returns what was drawn, or why nothing was: the figures are kept without it."""
    try:
        _require("matplotlib")
    except DtdaError as error:
        return f"no plot, as {error}"
    from dtda.core import plots
    from dtda.core.latency_plot import Line, latency_figure

    names = dict.fromkeys(one.row.student for one in latencies)
    lines = []
    for row in dict.fromkeys(one.row for one in latencies):
        ran = [one for one in latencies if one.row is row and not one.reason]
        if ran:
            columns = zip(*((one.batch, one.p50_ms, one.p95_ms, one.faces_per_s) for one in ran), strict=True)
            lines.append(Line(f"{row.student}: {row.title}" if len(names) > 1 else row.title, *columns))
    plots.save(folder, {"bench": latency_figure(", ".join(names), lines)})
    return "bench.png, bench.svg"
