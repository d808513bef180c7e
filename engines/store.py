"""Where built engines live, and the ledger of those that this program wrote: only these are ever loaded."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError
from dtda.core.sidecar import write_atomic
from dtda.engines import plan

if TYPE_CHECKING:
    from dtda.engines.probe import Probe

LEDGER = "ledger.json"
LOCK_S = 10.0
LEFT_S = 60.0  # a file is written in much less
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine for lists and the manager. header: None when it cannot be read; bytes: of the file. ours: in the ledger.

    reason: why it cannot run here, with the way out; "" when it can.
    """

    path: Path
    header: plan.Header | None
    bytes: int
    ours: bool
    reason: str


def folder() -> Path:
    """The user's engines; the environment variable DTDA_ENGINES names another folder. It need not exist yet."""
    named = os.environ.get("DTDA_ENGINES")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("dtda-demo", appauthor=False)) / "engines"


def default_path(student: str, precision: str, compute_capabilities: list[str], sha: str = "") -> Path:
    """Where an engine goes unless the user names a place: `<student>-<sha>.<precision>.<cc>.engine`.

    sha: of the student, whose first 8 digits tell it from another of the same name; "" for a detector.
    """
    name = f"{student}-{sha[:8]}" if sha else student
    return folder() / f"{name}.{precision}.{'-'.join(compute_capabilities)}{plan.SUFFIX}"


def record(header: plan.Header, path: Path | None = None, before: plan.Header | None = None) -> None:
    """Remember that this program wrote the engine of this header, sealed by `plan.sealed`, to `path`.

    before: the header that it takes the place of, which is forgotten in the same step. An older copy of the file, such as
    one that was made before the engine failed its comparison, is a foreign one from then on.
    """
    row = {
        "plan": header.plan_sha256,
        "path": str(path.absolute()) if path else "",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with _lock():
        ledger = _ledger()
        if before is not None:
            ledger.pop(before.seal, None)
        _write_ledger(ledger | {header.seal: row})


def forget(header: plan.Header) -> None:
    """The engine of this header is not to be loaded any more."""
    with _lock():
        ledger = _ledger()
        if ledger.pop(header.seal, None) is not None:
            _write_ledger(ledger)


def is_ours(header: plan.Header) -> bool:
    """Whether this program, for this user on this machine, wrote this header for this plan."""
    row = _ledger().get(header.seal)
    return row is not None and row["plan"] == header.plan_sha256


def entries(probe: Probe | None = None) -> list[Entry]:
    """Every engine of the folder, and those of the ledger that lie elsewhere and are still there, by name.

    probe: what is here; without one engines are only checked as files and `reason` tells nothing of this machine.
    """
    found = set(folder().glob(f"*{plan.SUFFIX}"))
    found |= {path for row in _ledger().values() if (path := Path(row["path"])).is_file()}
    return [entry(path, probe) for path in sorted(found, key=lambda path: (path.name, path))]


def entry(path: Path, probe: Probe | None = None) -> Entry:
    """One engine, judged as far as can be without loading it."""
    size = path.stat().st_size if path.is_file() else 0
    try:
        header = plan.read_header(path)
    except (DtdaError, OSError) as error:
        return Entry(path, None, size, False, str(error))
    if not is_ours(header):
        return Entry(path, header, size, False, foreign(path, header))
    try:
        reason = plan.check(header, probe) if probe is not None else ""
    except OSError as error:  # of its parent
        reason = f"{header.onnx_path}, which it was built from, cannot be read ({error.strerror}); make it readable."
    return Entry(path, header, size, True, reason)


def foreign(path: Path, header: plan.Header) -> str:
    """Why an engine that is not in the ledger is not loaded."""
    return (
        f"{path} was not built by this program on this machine, and an engine is code: only own ones are loaded; "
        f"build it here: {header.rebuild}"
    )


def remove(path: Path) -> None:
    """Delete an engine and forget it. Raises DtdaError for a file that is neither an engine nor named like one."""
    try:
        header = plan.read_header(path)
    except DtdaError:
        if path.suffix != plan.SUFFIX or not path.is_file():
            raise
        path.unlink()  # a damaged one
        return
    path.unlink()
    other = _ledger().get(header.seal, {}).get("path", "")
    if not (other and Path(other) != path.absolute() and Path(other).is_file()):  # the same engine, copied elsewhere
        forget(header)


@contextlib.contextmanager
def lent(header: plan.Header) -> Iterator[None]:
    """The engine of this header may be loaded meanwhile; afterwards as before."""
    known = is_ours(header)
    if not known:
        record(header)
    try:
        yield
    finally:
        if not known:
            forget(header)


def sweep(out: Path) -> None:
    """Remove what builds that were killed while they wrote this engine left beside it."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        with contextlib.suppress(OSError):  # another build of it has just finished
            if time.time() - left.stat().st_mtime > LEFT_S:
                left.unlink()


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder for work that is not finished, removed at the end. Those of processes that were killed are removed
    by whoever comes next: each holds a lock as long as its process lives."""
    from filelock import FileLock

    work = folder() / ".work"
    place = work / str(os.getpid())
    with _lock():
        for left in work.glob("*"):
            _sweep(left)
        place.mkdir(parents=True)
        lock = FileLock(place / LOCK)
        lock.acquire(timeout=0)
    try:
        yield place
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


def _sweep(place: Path) -> None:
    from filelock import FileLock, Timeout

    try:
        FileLock(place / LOCK).acquire(timeout=0).lock.release()
    except Timeout:  # its process lives
        return
    shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder() / LOCK, timeout=LOCK_S):
            yield
    except Timeout as error:
        raise DtdaError(
            f"{folder()} is held by another program; end it and try again, or name another folder in DTDA_ENGINES."
        ) from error


def _write_ledger(ledger: dict[str, dict[str, str]]) -> None:
    try:
        write_atomic(folder() / LEDGER, json.dumps(ledger, indent=1).encode())
    except OSError as error:
        raise DtdaError(
            f"{folder() / LEDGER}: {error.strerror or error}; make room there, or name another folder in DTDA_ENGINES."
        ) from error


def _ledger() -> dict[str, dict[str, str]]:
    """Seal of the header -> sha256 of the plan, where and when it was written. Raises DtdaError when it is damaged."""
    path = folder() / LEDGER
    try:
        ledger = json.loads(path.read_text("utf-8"))
        return {str(seal): {name: str(row[name]) for name in ("plan", "path", "at")} for seal, row in ledger.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DtdaError(
            f"{path} is damaged, so no engine can be told from a foreign one; delete it and build the engines again "
            "with `dtda engine build`."
        ) from error
