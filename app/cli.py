"""`dtda`: the command line. Each command is a module of `app.commands`, imported only when it is the one asked for."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence

from dtda.core.errors import DtdaError

# command -> what `dtda --help` says of it; the module has `configure(parser)` and `run(args) -> exit status`.
COMMANDS = {
    "score": "score videos, pictures and folders without a window",
    "sample": "render short live, print and screen clips from a public-domain portrait",
    "simulate": "render a labelled multi-domain data set from a folder of face photos",
    "leaks": "does one cue alone tell live from attack in a labelled set",
    "prepare": "find and cut out the faces of anti-spoofing data sets, once, for training and evaluation",
    "train": "train a student from a configuration file",
    "train-teacher": "pre-train a generative teacher on faces labelled with attributes",
    "ablate": "compare ERM, DAT, DAA and DTDA over a protocol and several seeds",
    "bench-train": "pictures per second of every term of the training method, and of the loader",
    "evaluate": "evaluate a checkpoint on a protocol",
    "benchmark-model": "compare students of any make on the same pictures and clips",
    "export": "turn a checkpoint into an ONNX student with its sidecar",
    "engine": "build, list, check and compare TensorRT engines; convert students to FP16 and INT8",
    "bench": "median milliseconds of every stage of the live pipeline",
}


def main(argv: Sequence[str] | None = None) -> int:
    accept_all_names()
    parser = argparse.ArgumentParser(prog="dtda", description="Face liveness: score, simulate, train, export.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    words = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"dtda.app.commands.{name.replace('-', '_')}")
            module.configure(command)
            command.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(words)
    # argparse takes a list that may be empty only where it comes first; section.key=value may stand behind options, too.
    changes = [word for word in rest if "=" in word and not word.startswith("-")] if "overrides" in args else []
    if len(changes) < len(rest):
        parser.error(f"unrecognized arguments: {' '.join(word for word in rest if word not in changes)}")
    if changes:
        args.overrides = [*args.overrides, *changes]
    return report_errors("dtda", lambda: args.run(args))


def accept_all_names() -> None:
    """Let stdout and stderr take every file name: files and pipes as UTF-8 with its raw bytes, terminals escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def report_errors(program: str, action: Callable[[], int | None]) -> int:
    """Run an action; a DtdaError becomes one line on stderr and status 2, Ctrl-C status 130."""
    try:
        return int(action() or 0)
    except DtdaError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `dtda ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{program}: {where}{error.strerror or error}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
