"""What to build, and the child process that builds it, as the command line uses it. The window has its own, on Qt."""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtda.engines.events import Event

MAX_BATCH = 8
MOST_FACES = 64  # as the window offers
MOST_MB = 1 << 20
MOST_S = 86400.0
WORKSPACE_MB = 1024
MEMORY_MB = 8192
TIMEOUT_S = 1800.0
GRACE_S = 6.0  # from the word "cancel" to a signal, and from that to the next


@dataclass(frozen=True, slots=True)
class Request:
    """onnx: a path, "auto" for the default student, "centerface" for the detector. precision: "" for FP16, or for
    that of a student that is not FP32. out: None for a name in `store.folder()`. targets: compute capabilities, as
    "8.9", for TensorRT-RTX; none for the GPU that is there. workspace_mb: for TensorRT on the GPU. memory_mb: of the
    child. timeout: seconds. frames: pictures, clips and folders beside the sample. package: "" for what can build here.
    """

    onnx: str
    precision: str = ""
    max_batch: int = MAX_BATCH
    out: Path | None = None
    targets: tuple[str, ...] = ()
    workspace_mb: int = WORKSPACE_MB
    memory_mb: int = MEMORY_MB
    timeout: float = TIMEOUT_S
    frames: tuple[Path, ...] = ()
    package: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "onnx",
        metavar="STUDENT.onnx",
        help="a student; auto or student-r18 for those that are shipped, centerface for the detector",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="", help="default: fp16, or what the student is"
    )
    parser.add_argument(
        "--max-batch",
        type=_faces,
        default=MAX_BATCH,
        metavar="N",
        help=f"faces in one call, {MOST_FACES} at most (default {MAX_BATCH})",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.engine", help="default: a name in the folder of engines")
    parser.add_argument(
        "--target",
        type=_capabilities,
        default=(),
        metavar="CC[,CC]",
        help="compute capabilities that TensorRT-RTX builds for, such as 8.9 (default: that of the GPU here)",
    )
    parser.add_argument(
        "--workspace-mb",
        type=_megabytes,
        default=WORKSPACE_MB,
        metavar="MB",
        help=f"GPU memory a layer may use (default {WORKSPACE_MB})",
    )
    parser.add_argument(
        "--memory-mb",
        type=_megabytes,
        default=MEMORY_MB,
        metavar="MB",
        help=f"memory the build may use; Windows does not tell, so there it does nothing (default {MEMORY_MB})",
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=TIMEOUT_S, metavar="S", help=f"seconds it may take (default {TIMEOUT_S:g})"
    )
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="pictures, clips and folders (up to 200 files each) of faces to calibrate and compare on, beside the sample",
    )
    parser.add_argument(
        "--package", choices=("tensorrt", "tensorrt_rtx"), default="", help="default: what can build here"
    )


def from_arguments(args: argparse.Namespace) -> Request:
    return Request(
        onnx=args.onnx,
        precision=args.precision,
        max_batch=args.max_batch,
        out=args.out,
        targets=tuple(args.target),
        workspace_mb=args.workspace_mb,
        memory_mb=args.memory_mb,
        timeout=args.timeout,
        frames=tuple(args.frames),
        package=args.package,
    )


def command(request: Request) -> list[str]:
    """The argv of the child that does it."""
    argv = [sys.executable, "-m", "dtda.engines.build", "--max-batch", str(request.max_batch)]
    argv += ["--workspace-mb", str(request.workspace_mb), "--memory-mb", str(request.memory_mb)]
    argv += ["--timeout", str(request.timeout)]
    for option, value in (("precision", request.precision), ("package", request.package)):
        argv += [f"--{option}", value] if value else []
    argv += ["--out", str(request.out)] if request.out else []
    argv += ["--target", ",".join(request.targets)] if request.targets else []
    argv += ["--frames", *map(str, request.frames)] if request.frames else []
    return [*argv, "--", request.onnx]  # whose name may begin with a dash


class Build:
    """A build in a child process. Iterate `events`: the last is always one of Done, Failed and Cancelled."""

    def __init__(self, request: Request) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._cancelled = False
        self._child = subprocess.Popen(
            command(request), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def events(self) -> Iterator[Event]:
        """Everything the child says, as it comes. Returns when it has ended. From one thread."""
        from dtda.engines import events

        last: Event | None = None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            try:
                event = events.parse(line)
            except ValueError:
                continue
            if isinstance(event, events.Done | events.Failed | events.Cancelled):
                last = event
            else:
                yield event
        code = self._child.wait()
        yield last or (events.Cancelled() if self._cancelled else events.Failed(text=self._unexplained(code)))

    def cancel(self) -> None:
        """Ask the child to stop; one that does not is terminated, then killed. Returns at once; from any thread."""
        if self._cancelled:
            return
        self._cancelled = True
        assert self._child.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._child.stdin.write(b"cancel\n")
            self._child.stdin.close()
        threading.Thread(target=self._force, name="cancel", daemon=True).start()

    def close(self) -> None:
        """End the child, if it has not, and wait for it. Idempotent."""
        self.cancel()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(GRACE_S)
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._stderr.close()

    def _force(self) -> None:
        for end in (self._child.terminate, self._child.kill):
            try:
                self._child.wait(GRACE_S)
                return
            except subprocess.TimeoutExpired:
                end()

    def _unexplained(self, code: int) -> str:
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        said = f" ({lines[-1].rstrip('.')})" if lines else ""
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code} and no result"
        return (
            f"The build {how}{said}; try --precision fp32, which asks least of TensorRT, or look for an update of it."
        )


def _faces(text: str) -> int:
    return _count(text, MOST_FACES)


def _megabytes(text: str) -> int:
    return _count(text, MOST_MB)


def _count(text: str, most: int) -> int:
    number = int(text)
    if not 1 <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {most}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= MOST_S:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds up to {MOST_S:g}")
    return number


def _capabilities(text: str) -> tuple[str, ...]:
    """Each once, and in one order, so that the same cards make the same file."""
    parts = {part.strip() for part in text.split(",")}
    if not all(re.fullmatch(r"\d{1,2}\.\d", part, re.ASCII) for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is not a list of compute capabilities such as 8.6,8.9")
    return tuple(sorted(parts, key=float))
