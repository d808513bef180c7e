"""`dtda engine`: build TensorRT engines, list, check and compare them, and convert students to FP16 and INT8."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda.app.commands import engine_bench
from dtda.core.errors import DtdaError
from dtda.engines import request

if TYPE_CHECKING:
    from dtda.engines.events import Event
    from dtda.engines.parity import Parity
    from dtda.engines.probe import Probe
    from dtda.engines.store import Entry

COLUMNS = ("engine", "kind", "precision", "batch", "runtime", "for", "MB", "built", "parity", "ms", "here")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    build_parser = _action(actions, "build", "build a TensorRT engine from an ONNX student", build)
    request.add_arguments(build_parser)
    build_parser.add_argument("--json", action="store_true", help="pass on the build's events, one JSON object a line")

    list_parser = _action(actions, "list", "the engines there are, and which of them can run here", list_engines)
    list_parser.add_argument("--json", action="store_true", help="with all that their headers say")

    check_parser = _action(
        actions, "check", "verify engines; compare those with their student that were not yet", check
    )
    check_parser.add_argument("engine", metavar="FILE|all", help="an engine, or all there are")
    check_parser.add_argument("--frames", type=Path, nargs="+", default=(), metavar="PATH", help="faces to compare on")
    check_parser.add_argument("--json", action="store_true", help="one JSON object an engine")

    convert_parser = _action(
        actions, "convert", "an ONNX student in FP16 or INT8, for onnxruntime and TensorRT", convert
    )
    convert_parser.add_argument("onnx", metavar="STUDENT.onnx", help="in FP32; auto for the default student")
    convert_parser.add_argument("--precision", choices=("fp16", "int8"), default="fp16")
    convert_parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE.onnx", help="default: <student>.<precision>.onnx in this folder"
    )
    convert_parser.add_argument(
        "--frames", type=Path, nargs="+", default=(), metavar="PATH", help="faces to calibrate on"
    )

    bench_parser = _action(actions, "bench", "latency of everything that can run a student here", engine_bench.run)
    engine_bench.add_arguments(bench_parser)


def _action(actions: Any, name: str, text: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(act=act)
    return parser


def run(args: argparse.Namespace) -> int:
    status: int = args.act(args)
    return status


def build(args: argparse.Namespace) -> int:
    from dtda.engines import events

    child = request.Build(request.from_arguments(args))
    last: Event | None = None
    try:
        with on_interrupt(child.cancel), Bar() as bar:
            for last in child.events():
                if args.json:
                    sys.stdout.write(last.line)
                    sys.stdout.flush()
                elif isinstance(last, events.Phase):
                    bar.show(last.progress, last.name)
                elif isinstance(last, events.Note):
                    bar.write(f"note: {last.text}")
                elif isinstance(last, events.Log) and last.level == "error":
                    bar.write(last.text)
    finally:
        child.close()
    if isinstance(last, events.Done):
        if not args.json:
            print(f"{last.path}: {last.bytes / 1e6:.1f} MB in {last.seconds:.1f} s")
            print(f"{'runs' if last.runs_here else last.why[:1].upper() + last.why[1:]}{' here' * last.runs_here}")
        return 0
    if isinstance(last, events.Failed):
        raise DtdaError(last.text + (f" The figures are in {last.report}." if last.report else ""))
    raise KeyboardInterrupt


def list_engines(args: argparse.Namespace) -> int:
    from dtda.engines import plan, store
    from dtda.engines.probe import probe

    found = store.entries(probe())
    if args.json:
        print(json.dumps([as_json(entry) for entry in found], indent=2))
        return 0
    if not found:
        print(f"There are no engines in {store.folder()}; build one with `dtda engine build auto`.")
        return 0
    rows = [COLUMNS, *(row(entry) for entry in found)]
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))]
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
    for entry in found:
        if entry.reason:
            print(f"{entry.path.name}: {entry.reason.removeprefix(f'{entry.path}: ')}")
        if entry.header is not None and (gone := plan.unchecked(entry.header)):
            print(f"{entry.path.name}: {gone}")
    return 0


def row(entry: Entry) -> tuple[str, ...]:
    """The cells of COLUMNS. parity: max |dp|."""
    header = entry.header
    size = f"{entry.bytes / 1e6:.1f}"
    if header is None:
        return (entry.path.name, *[""] * 5, size, "", "", "", "no")
    return (
        entry.path.name,
        header.kind,
        header.precision,
        str(header.batch.max),
        header.runtime,
        header.gpu or ", ".join(header.compute_capabilities),
        size,
        header.built[:16].replace("T", " "),
        "not compared" if header.parity is None else verdict(header.parity),
        "" if header.latency_ms is None else f"{header.latency_ms:.2f}",
        "no" if entry.reason else "yes",
    )


def verdict(parity: Parity) -> str:
    return f"{parity.max_dp:.1e}" if parity.passed else f"refused ({parity.max_dp:.2g})"


def as_json(entry: Entry) -> dict[str, Any]:
    header = None if entry.header is None else entry.header.model_dump(mode="json", exclude={"sidecar", "seal"})
    return {
        "path": str(entry.path),
        "bytes": entry.bytes,
        "ours": entry.ours,
        "runs_here": not entry.reason,
        "reason": entry.reason,
        "header": header,
    }


def check(args: argparse.Namespace) -> int:
    from dtda.engines import store
    from dtda.engines.probe import probe

    here = probe()
    paths = [entry.path for entry in store.entries()] if args.engine == "all" else [Path(args.engine).expanduser()]
    if not paths:
        print(f"There are no engines in {store.folder()}; build one with `dtda engine build auto`.")
    wrong = 0
    for path in paths:
        entry, text = checked(path, here, args.frames)
        wrong += bool(entry.reason)
        if args.json:
            print(json.dumps(as_json(entry)))
        else:
            print(f"{path}: {text}")
    return 2 if wrong else 0


def checked(path: Path, here: Probe, frames: Sequence[Path]) -> tuple[Entry, str]:
    """An engine with all that can be verified here, and that in words. One that can run and was not compared is compared."""
    from dataclasses import replace

    from dtda.engines import plan, store, trial

    entry = store.entry(path, here)
    try:
        if entry.header is not None:
            plan.read_plan(path)
        if entry.header is not None and not entry.reason and entry.header.parity is None:
            trial.check(path, frames)
            entry = store.entry(path, here)
    except DtdaError as error:
        entry = replace(entry, reason=str(error))
    if entry.header is None or not entry.ours:
        return entry, entry.reason.removeprefix(f"{path}: ")
    parity = entry.header.parity
    compared = "not compared with its student" if parity is None else parity.sentence()
    if not entry.reason:
        return entry, f"in order; {compared}"
    return entry, f"{entry.reason.removeprefix(f'{path}: ')} It is {compared}."


def convert(args: argparse.Namespace) -> int:
    from dtda.app.options import check_writable
    from dtda.core.sidecar import read_sidecar
    from dtda.engines import ort, parity, precision
    from dtda.engines.registry import student_path

    path = student_path(args.onnx)
    out = args.out or Path(f"{path.stem}.{args.precision}.onnx")
    if out.suffix != ".onnx":
        raise DtdaError(f"{out}: the name of a student ends in .onnx.")
    if path.suffix.lower() == ".json":
        raise DtdaError(
            f"{path}: networks from elsewhere are run as they are; name a student that `dtda export` wrote."
        )
    check_writable(out, "--out")
    ort.open_engine(path, "cpu").close()  # refuses what is no student
    sidecar = read_sidecar(path)
    with Bar() as bar:
        chips = parity.chips(sidecar.rule, args.frames, lambda part: bar.show(part / 3, "Finding faces"))
        converted = precision.convert(
            path, sidecar, args.precision, chips, step=lambda part: bar.show(1 / 3 + part * 2 / 3, "Converting")
        )
    precision.save(out, converted, sidecar)
    assert converted.parity is not None
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; {converted.parity.sentence()}")
    for note in converted.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


class Bar:
    """Progress on stderr: a bar on a terminal, a line for every tenth elsewhere."""

    def __enter__(self) -> Bar:
        from tqdm import tqdm

        form = "{percentage:3.0f} % {bar} {elapsed} {desc}"
        self._tqdm: Any = tqdm(total=1.0, bar_format=form, leave=False) if sys.stderr.isatty() else None
        self._tenth = -1
        return self

    def __exit__(self, *_: object) -> None:
        if self._tqdm is not None:
            self._tqdm.close()

    def show(self, fraction: float, name: str) -> None:
        if self._tqdm is not None:
            self._tqdm.set_description_str(f"{name:<26.26}", refresh=False)  # of one width, or the bar jumps
            self._tqdm.update(fraction - self._tqdm.n)
        elif int(fraction * 10) > self._tenth:
            self._tenth = int(fraction * 10)
            print(f"{fraction:4.0%} {name}", file=sys.stderr, flush=True)

    def write(self, text: str) -> None:
        if self._tqdm is not None:
            self._tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C does this instead, so that the build's end can be waited for."""
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
