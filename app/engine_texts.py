"""How engines, their builds and this machine are put into words. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtda.app.inventory import Row
    from dtda.engines.parity import Parity
    from dtda.engines.probe import Probe

PRECISIONS = {
    "fp32": "Full precision: the scores of the student. Largest and slowest.",
    "fp16": "Smaller, and faster on RTX cards; scores differ a little. Parts that TensorRT refuses stay in FP32.",
    "int8": "Eight bits, calibrated on faces: add pictures of many people below, or it is wrong on all but the sample's.",
}
# Compute capabilities for which an engine can be built without the GPU, with what users call them; newest first.
TARGETS = {
    "8.6,8.9,12.0": "GeForce RTX 30, 40 and 50",
    "12.0": "GeForce RTX 50",
    "8.9": "GeForce RTX 40, RTX Ada",
    "8.6": "GeForce RTX 30, RTX A",
    "8.0": "A100, A30",
    "7.5": "GeForce RTX 20, GTX 16, T4",
}
STATES = {"ready": "Ready", "elsewhere": "Cannot run here", "stale": "Stale"}
UNKNOWN = "–"
NOT_COMPARED = "not compared"  # an engine that has not passed the parity gate; its own notes begin with the same words


def cards(capabilities: Sequence[str]) -> str:
    """Compute capabilities, with what users call such cards where that is known."""
    listed = ", ".join(capabilities)
    known = TARGETS.get(listed.replace(" ", ""))
    return f"{known} (compute capability {listed})" if known else f"compute capability {listed}"


def size(count: int) -> str:
    """Bytes as users read them."""
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def elapsed(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} ms"


def built(iso: str) -> str:
    """The time of a build, on the clock of this place; what is no time as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso or UNKNOWN


def flips(count: int) -> str:
    return {0: "no verdict flips", 1: "1 verdict flips"}.get(count, f"{count} verdicts flip")


def device(row: Row) -> str:
    """For a table cell: all cards here are NVIDIA's."""
    return row.device.removeprefix("NVIDIA ").replace("compute capability", "CC") or UNKNOWN


def batch(row: Row) -> str:
    return str(row.batch) if row.batch else UNKNOWN if row.is_engine else "any"


def parity(row: Row) -> str:
    """For a table cell."""
    if not row.is_engine:
        return "reference" if row.provider == "cpu" else UNKNOWN
    if row.parity is None:
        return NOT_COMPARED
    return f"{row.parity.max_dp:.4f}, {row.parity.flips} flips"


def parity_sentence(found: Parity | None) -> str:
    if found is None:
        return f"{NOT_COMPARED.capitalize()}: the engine has not run beside its student yet."
    return f"{'Passed' if found.passed else 'Refused'}: {found.sentence()}."


def machine(probe: Probe) -> str:
    """One line on what was found here."""
    if probe.state != "ready":
        return probe.text
    from dtda.engines.nvidia import title

    parts = [f"{probe.gpu} (compute capability {probe.compute_capability})"]
    parts += [f"driver {probe.driver}"] if probe.driver else []
    return ", ".join([*parts, title(probe.package, probe.version)]) + f" with {probe.device_library}."


def build_offer(probe: Probe) -> str:
    """What building means on this machine; "" where there is nothing to add to `machine`."""
    if not probe.can_build:
        return "An engine cannot be built here before this is cured; onnxruntime runs the student meanwhile."
    if probe.state != "ready":
        return (
            "An engine can be built here all the same, for the GPU named below. It cannot run, and is not compared "
            "with its student, before it is where that GPU is."
        )
    return ""


def facts(row: Row) -> list[tuple[str, str]]:
    """All that is known of a row: what it is called, what it is."""
    from dtda.engines.plan import unchecked

    out = [("File", str(row.path)), ("Runs on", f"{row.backend}, {row.device}".rstrip(", "))]
    header = row.header
    if header is None:
        return out
    kept = len(header.fp32_nodes)
    precision = header.precision.upper() + (f", {kept} nodes in FP32" if kept else "")
    out.append(("Precision", f"{precision}; up to {header.batch.max} faces at once"))
    out.append(("Built", f"{built(header.built)} from {Path(header.onnx_path).name} in {header.seconds:.0f} s"))
    out.append(("Parity", parity_sentence(header.parity)))
    if gone := unchecked(header):
        out.append(("Student", f"{gone}."))
    out += [("Note", note) for note in header.notes]
    return out
