"""The import seam: the one module that imports TensorRT, as `tensorrt` or `tensorrt_rtx`, and owns its logger.

Both have the same Python interface as far as it is used here, from 10.13 to 11.x and RTX 1.7: a caller writes
`trt = nvidia.load()` and never asks which it got, except for `is_rtx`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from dtda.core.errors import DtdaError
from dtda.engines.driver import first_line

Level = Literal["error", "warning", "info"]

PACKAGES = ("tensorrt", "tensorrt_rtx")  # the first one that is installed is used
RANGE = ">=10.13,<12"  # of tensorrt; what is used here exists in all of it, see tests/data/tensorrt_names.txt
_LEVELS: dict[Level, int] = {"error": 1, "warning": 2, "info": 3}  # as ILogger.Severity; 0 is an internal error


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in TensorRT's log, and the thread that wants to know what is said after it."""

    number: int
    thread: int


@dataclass(frozen=True, slots=True)
class _Message:
    """thread: the one that logged it where that sets marks, 0 for TensorRT's own."""

    number: int
    thread: int
    severity: int
    text: str


_lock = threading.RLock()  # an object that is collected meanwhile may log
_messages: deque[_Message] = deque(maxlen=200)
_number = 0  # of the last message
_caller = threading.local()  # ident: the thread's own, where it has set a mark
_loggers: dict[ModuleType, Any] = {}
_listener: Callable[[Level, str], None] | None = None


def installed() -> list[str]:
    """The TensorRT packages that are installed, the one that is used first. Imports none of them."""
    return [package for package in PACKAGES if importlib.util.find_spec(package) is not None]


def load(package: str | None = None) -> ModuleType:
    """Import TensorRT. package: one of PACKAGES, the first that is installed unless named. Raises DtdaError.

    What is there but does not load is an error, never a reason to take the other one.
    """
    if package is None:
        package = next(iter(installed()), PACKAGES[0])
    if package not in PACKAGES:
        raise DtdaError(f"{package} is not a TensorRT package; {' and '.join(PACKAGES)} are.")
    try:
        trt = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise _broken(package, error) from error
        raise DtdaError(f"{package} is not installed; {install_line(package)}.") from error
    except (ImportError, OSError) as error:  # Windows raises FileNotFoundError for the libraries
        raise _broken(package, error) from error
    numbers = tuple(int(number) for number in re.findall(r"\d+", str(trt.__version__))[:2])
    if not is_rtx(trt) and not (10, 13) <= numbers < (12,):
        raise DtdaError(f"TensorRT {trt.__version__} is not supported, {RANGE} is; {install_line(package)}.")
    return trt


def _broken(package: str, error: Exception) -> DtdaError:
    reason = first_line(error)
    return DtdaError(f"{package} is installed but does not load ({reason}); install it again: {install_line(package)}.")


def install_line(package: str, cuda: int = 13000) -> str:
    """The pip line for a package. cuda: what the driver offers, as cuDriverGetVersion says it; 13000 unless known."""
    suffix = "" if cuda >= 13000 else "-cu12"
    if package == "tensorrt_rtx":
        return f"pip install tensorrt-rtx{suffix}"
    return f'pip install "tensorrt{suffix}{RANGE}"'


def is_rtx(trt: ModuleType) -> bool:
    """Whether it is TensorRT-RTX, for GeForce RTX cards, which builds without a GPU and compiles kernels at first run."""
    return trt.__name__ == "tensorrt_rtx"


def title(package: str, version: str) -> str:
    """For the user: "TensorRT 11.4.0.106" or "TensorRT-RTX 1.7.1.116"."""
    return f"{'TensorRT-RTX' if package == 'tensorrt_rtx' else 'TensorRT'} {version}"


def logger(trt: ModuleType) -> Any:
    """The process's one ILogger: TensorRT ignores a second one as long as any object made with the first lives.

    Nothing is printed; see `recent` and `listen`. TensorRT calls it from threads of its own.
    """
    with _lock:
        if trt not in _loggers:
            _loggers[trt] = _make_logger(trt)
        return _loggers[trt]


def _make_logger(trt: ModuleType) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            _keep(int(severity), msg)

    return Log()


def _keep(severity: int, text: str) -> None:
    global _number
    if severity > _LEVELS["info"]:
        return
    with _lock:
        _number += 1
        _messages.append(_Message(_number, getattr(_caller, "ident", 0), severity, text.strip()))
        listener = _listener
    if listener is not None:
        level: Level = "error" if severity <= 1 else "warning" if severity == 2 else "info"
        listener(level, text.strip())


def mark() -> Mark:
    """Set it before an attempt, for `recent` and `failure` after it. Several threads may have theirs at once."""
    _caller.ident = threading.get_ident()
    with _lock:
        return Mark(_number, _caller.ident)


def recent(level: Level = "error", since: Mark | None = None) -> list[str]:
    """What TensorRT said, of the last 200 messages those of this level or graver, oldest first.

    It reports failures as None or False and explains them only here. since: leaves out what was said before, and what
    it said in other threads that set marks, to whose engines it belongs.
    """
    with _lock:
        kept = [message for message in _messages if message.severity <= _LEVELS[level]]
    if since is not None:
        kept = [each for each in kept if each.number > since.number and each.thread in (0, since.thread)]
    return [message.text for message in kept]


def listen(listener: Callable[[Level, str], None] | None) -> None:
    """Call this with every message as it comes, in whatever thread TensorRT logs from; None ends it."""
    global _listener
    with _lock:
        _listener = listener


def failure(what: str, way_out: str, since: Mark | None = None) -> DtdaError:
    """An error that quotes TensorRT's last words. what: the sentence's beginning. way_out: its end. since: see `recent`."""
    words = [line for line in recent("error", since)[-2:] if line] or ["TensorRT gave no reason"]
    said = "; ".join(" ".join(line.split())[:300].rstrip(".") for line in words)
    return DtdaError(f"{what} ({said}); {way_out}.")
