"""Can TensorRT run here, and what is missing if not: a verdict with the exact install line.

The answer is found in a child process (`python -m dtda.engines.probe` prints it as JSON), because without a driver
TensorRT may end the process it is used in. The order of the questions matters for the same reason: driver, GPU,
TensorRT, device library, and only then is anything of TensorRT made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

State = Literal[
    "ready",
    "no_driver",
    "old_driver",
    "no_gpu",
    "no_tensorrt",
    "no_device_library",
    "unsupported_gpu",
    "failed",
]
TIMEOUT_S = 90.0  # the first import of TensorRT reads a gigabyte


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found.

    text: one sentence for the user. install: the command that brings what is missing, or "". compute_capability: "8.9".
    memory_mb: of the GPU. driver: its version, "580.65.06". cuda: what the driver offers, as cuDriverGetVersion
    says it (13000), 0 without one. package, version: the TensorRT that would run an engine. versions: of each TensorRT
    package that loads. device_library: "pycuda" or "cuda.bindings". build_package: the one that can build here; RTX
    builds without a GPU.
    """

    state: State
    text: str
    install: str = ""
    gpu: str = ""
    compute_capability: str = ""
    memory_mb: int = 0
    driver: str = ""
    cuda: int = 0
    package: str = ""
    version: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    device_library: str = ""
    can_build: bool = False
    build_package: str = ""


_lock = threading.Lock()
_found: Probe | None = None


def probe(refresh: bool = False) -> Probe:
    """The verdict, found once per process. refresh: ask again, as after an installation. Takes a second or more."""
    global _found
    with _lock:
        if _found is None or refresh:
            _found = ask([sys.executable, "-m", "dtda.engines.probe"])
        return _found


def ask(command: list[str], timeout: float = TIMEOUT_S) -> Probe:
    """Run a child that prints a Probe as JSON, more than one as it learns more; the last one counts.

    A child that crashes or hangs is a verdict too, with what it had found until then.
    """
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        child = subprocess.run(
            command, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, creationflags=hidden
        )
    except subprocess.TimeoutExpired as late:
        return _cut_short(_last(late.stdout or b""), f"did not answer within {timeout:.0f} s")
    except OSError as error:
        return _cut_short(None, f"could not be started ({error})")
    last = _last(child.stdout)
    if child.returncode:
        return _cut_short(last, f"ended with {_exit(child.returncode)}", child.stderr)
    return last or _cut_short(None, "answered nothing", child.stderr)


def _last(stdout: bytes) -> Probe | None:
    for line in reversed(stdout.splitlines()):
        with contextlib.suppress(ValidationError):
            return TypeAdapter(Probe).validate_json(line)
    return None


def _cut_short(last: Probe | None, how: str, stderr: bytes = b"") -> Probe:
    lines = stderr.decode(errors="replace").strip().splitlines()
    said = f": {lines[-1].strip()[:200]}" if lines else ""
    during = f" while {last.text}" if last is not None and last.state == "failed" and last.text else ""
    text = f"The check for TensorRT {how}{during}{said}; see docs/gpu.md."
    facts = last or Probe("failed", "")
    # RTX builds on the CPU, but what has just crashed is better left alone.
    return replace(facts, state="failed", text=text, install="", can_build=False, build_package="")


def _exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code:#x}" if code > 255 or code < 0 else f"exit code {code}"


def main() -> None:
    """In the child."""
    from dtda.engines.survey import Survey

    def tell(found: Probe) -> None:
        sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")
        sys.stdout.flush()

    tell(Survey(tell).verdict())


if __name__ == "__main__":
    main()
