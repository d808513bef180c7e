"""The child process that builds an engine: `python -m dtda.engines.build STUDENT.onnx ...`.

It says what it does as JSON lines on stdout (`engines.events`) and stops at the line "cancel", or at the end, of stdin,
so that it never outlives who started it. A child, because TensorRT's builder may abort, holds the interpreter while it
starts, and gives its GPU memory back only when its process ends. Exit status: 0 done, 2 failed, 130 cancelled.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from dtda.core.errors import DtdaError
from dtda.engines import events, store
from dtda.engines.events import Event
from dtda.engines.progress import Stop, Stopped
from dtda.engines.request import Request, add_arguments, command, from_arguments

__all__ = ["Request", "command", "main"]

HARD_S = 3.0  # from a reason to stop to the end of the process: less than what those who started it wait
LOOK_S = 0.1


class Channel:
    """The JSON lines. From any thread; after the last event nothing is sent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._ended = False

    def send(self, event: Event) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = isinstance(event, events.Done | events.Failed | events.Cancelled)
            with contextlib.suppress(OSError):  # whoever listened has gone; the end of stdin says so too
                os.write(self._descriptor, event.line.encode())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dtda.engines.build", description="Build a TensorRT engine.")
    add_arguments(parser)
    request = from_arguments(parser.parse_args(argv))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; who started this one says cancel
    channel = Channel(_own_stdout())
    stop = Stop()
    try:
        with store.workplace() as place:
            tempfile.tempdir = str(place)
            leftovers: list[Path] = []
            Watch(request, stop, channel, place, leftovers).start()
            end = work(request, channel.send, stop, place, leftovers)
    except OSError as error:  # the folder of engines cannot be written
        end = no_room(error)
    except DtdaError as error:  # or is held
        end = events.Failed(text=str(error))
    channel.send(end)
    # TensorRT's and CUDA's own clean-up at exit is not needed, and may end the process with a signal.
    sys.stderr.flush()
    os._exit(status(end))


def work(
    request: Request, send: Callable[[Event], None], stop: Stop, place: Path, leftovers: list[Path]
) -> events.Done | events.Failed | events.Cancelled:
    """Build, and say how it ended: whatever goes wrong is one sentence."""
    from dtda.engines.job import Job, Refused

    try:
        return Job(request, send, stop, place, leftovers).run()
    except Stopped as stopped:
        return ending(stopped.reason)
    except Refused as refused:
        return events.Failed(text=str(refused), report=str(refused.report))
    except DtdaError as error:
        return ending(stop.reason) if stop.is_set() else events.Failed(text=str(error))
    except OSError as error:
        return no_room(error)
    except MemoryError:
        return events.Failed(text="There is not enough memory for the build; close other programs and try again.")
    except Exception as error:
        if stop.is_set():  # libraries wrap what was raised through them
            return ending(stop.reason)
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        return events.Failed(text=f"The build failed unexpectedly ({type(error).__name__}: {first}); please report it.")


def no_room(error: OSError) -> events.Failed:
    where = f"{error.filename}: " if error.filename else ""
    return events.Failed(
        text=f"{where}{error.strerror or error}; make room there, or name another place with --out or DTDA_ENGINES."
    )


def ending(reason: str) -> events.Failed | events.Cancelled:
    return events.Failed(text=reason) if reason else events.Cancelled()


def status(event: Event) -> int:
    return {"done": 0, "cancelled": 130}.get(event.event, 2)


class Watch:
    """Gives the reasons to stop, stdin and the limits, and ends the process when the build does not heed them."""

    def __init__(self, request: Request, stop: Stop, channel: Channel, place: Path, leftovers: list[Path]) -> None:
        """leftovers: files that are to be removed with the working folder when the process is ended."""
        self._request, self._stop, self._channel = request, stop, channel
        self._place, self._leftovers = place, leftovers

    def start(self) -> None:
        for target in (self._listen, self._look):
            threading.Thread(target=target, daemon=True).start()

    def _listen(self) -> None:
        if sys.stdin is None:  # started without one, as by pythonw
            return
        descriptor, said = sys.stdin.fileno(), b""
        # Not sys.stdin itself: a thread that waits in it at the end of the interpreter is a fatal error.
        while b"cancel\n" not in said.replace(b"\r", b""):
            part = os.read(descriptor, 1024)
            if not part:
                break
            said = (said + part)[-64:]
        self._stop.set()

    def _look(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            time.sleep(LOOK_S)
            if time.monotonic() - begun > self._request.timeout:
                self._stop.set(f"The build took longer than {self._request.timeout:g} s; allow more with --timeout.")
            elif peak_memory_mb() > self._request.memory_mb:
                self._stop.set(f"The build took more than {self._request.memory_mb} MB; allow more with --memory-mb.")
        time.sleep(HARD_S)
        _remove(self._place, self._leftovers)
        event = ending(self._stop.reason)
        self._channel.send(event)
        os._exit(status(event))


def peak_memory_mb() -> float:
    """What this process has held at most; 0 where the system does not tell.

    Not ru_maxrss on Linux: that begins with what the process it was started from held.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
        return 0.0
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _remove(place: Path, leftovers: Sequence[Path]) -> None:
    import shutil

    shutil.rmtree(place, ignore_errors=True)
    for path in leftovers:
        path.unlink(missing_ok=True)


def _own_stdout() -> int:
    """A descriptor for the events alone; whatever a library prints goes to stderr."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    sys.exit(main())
