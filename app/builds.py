"""One engine build at a time, in a child process that speaks JSON lines (`engines.events`); it never outlives the window."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

if TYPE_CHECKING:
    from dtda.engines.events import Event

GRACE_MS = 5000  # for a child to obey; a step of a build on a GPU may take seconds
LINES_AT_ONCE = 100  # a child that floods its log must not keep the window from painting
NICE = 10
BELOW_NORMAL = 0x4000  # BELOW_NORMAL_PRIORITY_CLASS of Windows


class Builds(QObject):
    """Starts a build and passes its events on. The last is always one of Done, Failed and Cancelled, when the child has
    ended; a child that ends without saying why has failed.

    The modules of `engines.events` must have been imported before, in a thread: that takes a moment.
    """

    happened = Signal(object)  # Event

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._last: Event | None = None
        self._out = ""  # the file being built
        self._pid = 0
        self._said: deque[str] = deque(maxlen=20)  # on stderr
        self._cancelled = False
        self._force = QTimer(self, singleShot=True, interval=GRACE_MS)
        self._force.timeout.connect(self._force_end)

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self, argv: Sequence[str]) -> None:
        """Begin a build. Raises RuntimeError while another one runs."""
        if self._process is not None:
            raise RuntimeError("a build is running")
        self._last, self._out, self._cancelled = None, "", False
        self._said.clear()
        process = self._process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._listen)
        process.started.connect(self._started)
        process.errorOccurred.connect(self._on_error)
        process.finished.connect(self._finished)
        process.start(argv[0], list(argv[1:]))

    def cancel(self) -> None:
        """Ask the child to stop; one that does not within GRACE_MS is ended. `happened` tells when it has."""
        if self._process is None or self._cancelled:
            return
        self._cancelled = True
        self._process.write(b"cancel\n")
        self._process.closeWriteChannel()
        self._force.start()

    def stop(self, seconds: float) -> None:
        """Cancel and wait: when this returns there is no child. For a window that closes."""
        process = self._process
        if process is None:
            return
        self.cancel()
        if not process.waitForFinished(round(seconds * 1000)):
            process.kill()
            process.waitForFinished(1000)

    # -- the child ------------------------------------------------------------------------------------------------

    def _started(self) -> None:
        assert self._process is not None
        self._pid = self._process.processId()
        lower_priority(self._pid)

    def _read(self) -> None:
        from dtda.engines import events

        process = self._process
        if process is None:
            return
        for _ in range(LINES_AT_ONCE):
            if not process.canReadLine():
                return
            line = bytes(process.readLine().data())
            try:
                event = events.parse(line)
            except ValueError:  # a library that prints
                event = events.Log(level="info", text=line.decode(errors="replace").rstrip())
            if isinstance(event, events.Start):
                self._out = event.out
            if isinstance(event, events.Done | events.Failed | events.Cancelled):
                self._last = event
                self._force.start()
            else:
                self.happened.emit(event)
        QTimer.singleShot(0, self._read)

    def _listen(self) -> None:
        from dtda.engines.events import Log

        if self._process is None:
            return
        for text in bytes(self._process.readAllStandardError().data()).decode(errors="replace").splitlines():
            if text.strip():
                self._said.append(text.strip())
                self.happened.emit(Log(level="info", text=text.rstrip()))

    def _force_end(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart and self._process is not None:
            self._said.append(self._process.errorString())
            self._finished(-1)

    def _finished(self, code: int) -> None:
        from dtda.engines import events

        process = self._process
        if process is None:
            return
        while process.canReadLine():
            self._read()
        self._listen()
        self._force.stop()
        self._process = None
        process.deleteLater()
        if self._out and self._pid:  # what a child that was killed has not tidied up, see `sidecar.write_atomic`
            out = Path(self._out)
            with contextlib.suppress(OSError):
                out.with_name(f".{out.name}.{self._pid}.tmp").unlink(missing_ok=True)
        last = self._last
        if last is None:
            last = events.Cancelled() if self._cancelled else events.Failed(text=self._unexplained(process, code))
        self.happened.emit(last)

    def _unexplained(self, process: QProcess, code: int) -> str:
        said = f" ({self._said[-1].rstrip('.')})" if self._said else ""
        if process.error() is QProcess.ProcessError.FailedToStart:
            how = "could not be started"
        elif process.exitStatus() is QProcess.ExitStatus.CrashExit:
            how = f"was ended by {_signal_name(code)}"
        else:
            how = f"ended with status {code} and no result"
        return f"The build {how}{said}; look at its log, or build in FP32, which asks least of TensorRT."


def lower_priority(pid: int) -> None:
    """Let the picture go before the build: both want all cores. A system that refuses is no failure."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x0200, False, pid)  # PROCESS_SET_INFORMATION
        if handle:
            kernel.SetPriorityClass(handle, BELOW_NORMAL)
            kernel.CloseHandle(handle)
    else:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, NICE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"the system ({number})"
