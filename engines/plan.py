"""`.engine` files: what TensorRT built, behind a header that says where and from what, so that a wrong one is refused.

Layout: MAGIC, uint32 little endian length of the header, the header as JSON (UTF-8), the plan TensorRT wrote.
The header is read and judged before TensorRT sees a byte of the plan: a plan is code, and of another version, GPU or
student it fails late or, worse, not at all.
"""

from __future__ import annotations

import hashlib
import platform as machine
import shlex
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, read_sidecar, sha256, sidecar_path, write_atomic
from dtda.engines.parity import Parity

if TYPE_CHECKING:
    from dtda.engines.probe import Probe

MAGIC = b"DTDA-ENGINE\n"
MAX_HEADER = 1 << 20
UNSEALED = b"0" * 64  # in place of the seal while it is computed
SUFFIX = ".engine"

Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
RULES = ("thresholds", "size", "margin", "crop", "precision")  # what of a sidecar decides a verdict


class Tensor(BaseModel):
    """An input or output. dtype: NumPy's name. shape: -1 where it is dynamic."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: list[int]


class Batch(BaseModel):
    """The optimisation profile: any N in [min, max] runs, `opt` fastest."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    min: Annotated[int, Field(ge=1)] = 1
    opt: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] = 8


class Header(BaseModel):
    """All that decides whether a plan may run here, and what to tell of it.

    package: tensorrt or tensorrt_rtx; version: all parts of its __version__. gpu: "" when built without one.
    compute_capabilities: as "8.9". fp32_nodes: names of the nodes kept in FP32 though less was asked for.
    onnx_sha256, onnx_path: of the parent. sidecar: of the parent student; None for a detector. tensors: of the plan.
    options: how it was built. seconds: of the build. parity: None until the plan has run beside onnxruntime.
    latency_ms: median of batch 1 on the GPU it was built on. seal: sha256 of the header's text; it tells an edited
    header, as plan_sha256 an edited plan. plan_sha256, plan_bytes and seal are filled in by `write`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    kind: Literal["student", "detector"] = "student"
    name: str
    package: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    platform: str
    gpu: str = ""
    compute_capabilities: list[str]
    driver: str = ""
    precision: Precision
    fp32_nodes: list[str] = []
    onnx_sha256: Sha256
    onnx_path: str
    sidecar: Sidecar | None = None
    batch: Batch = Batch()
    tensors: list[Tensor] = []
    options: dict[str, Any] = {}
    plan_sha256: Sha256 = ""
    plan_bytes: Annotated[int, Field(ge=0)] = 0
    built: str = ""
    seconds: float = 0.0
    parity: Parity | None = None
    latency_ms: float | None = None
    notes: list[str] = []
    seal: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = UNSEALED.decode()

    @property
    def rebuild(self) -> str:
        """The command that makes this engine anew."""
        return self.rebuild_as(self.precision)

    def rebuild_as(self, precision: str) -> str:
        return f"dtda engine build {shlex.quote(self.spec)} --precision {precision}"

    @property
    def spec(self) -> str:
        """What it was built from, as `dtda engine build` takes it."""
        if self.kind == "student":
            return self.onnx_path
        return self.name if self.name == "centerface" else f"insightface:{self.name}"

    @property
    def runtime(self) -> str:
        """As users know it: "TensorRT 11.4.0.106"."""
        return f"{PACKAGES[self.package]} {self.version}"


PACKAGES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def platform_tag() -> str:
    """This machine as headers name it: "linux-x86_64"."""
    processor = machine.machine().lower()
    return f"{machine.system().lower()}-{'x86_64' if processor == 'amd64' else processor}"


def read_header(path: Path) -> Header:
    """The checked header of an engine; the plan is not read. Raises DtdaError with the reason and the way out."""
    if not path.is_file():
        raise DtdaError(f"{path}: no such engine; `dtda engine list` shows those there are.")
    with path.open("rb") as file:
        return _header(path, file)


def read_plan(path: Path) -> tuple[Header, bytes]:
    """Header and plan of an engine whose bytes are those that were written. Raises DtdaError."""
    if not path.is_file():
        raise DtdaError(f"{path}: no such engine; `dtda engine list` shows those there are.")
    with path.open("rb") as file:
        header = _header(path, file)
        plan = file.read()
    if hashlib.sha256(plan).hexdigest() != header.plan_sha256:
        raise DtdaError(f"{path} was changed after it was built (sha256 differs); build it again: {header.rebuild}")
    return header, plan


def write(path: Path, header: Header, plan: bytes | memoryview) -> Header:
    """Write an engine, atomically, and return its header with the plan's sha256 and size and the seal filled in.

    Raises DtdaError when the path is a folder, OSError naming the path when the disk is full.
    """
    whole = sealed(header, plan)
    text = whole.model_dump_json(indent=1).encode()
    write_atomic(path, b"".join((MAGIC, struct.pack("<I", len(text)), text, plan)))
    return whole


def sealed(header: Header, plan: bytes | memoryview) -> Header:
    """The header as `write` writes it with this plan."""
    whole = {"plan_sha256": hashlib.sha256(plan).hexdigest(), "plan_bytes": len(plan), "seal": UNSEALED.decode()}
    made = header.model_copy(update=whole)
    return made.model_copy(update={"seal": hashlib.sha256(made.model_dump_json(indent=1).encode()).hexdigest()})


def check(header: Header, probe: Probe) -> str:
    """Why this engine cannot run here, with the way out; "" when it can. To be asked before it is deserialised."""
    stale = _stale(header)
    if stale:
        return f"{stale}; build it again: {header.rebuild}"
    if header.platform != platform_tag():
        return f"it was built on {header.platform}, this is {platform_tag()}; build it here: {header.rebuild}"
    if header.parity is not None and not header.parity.passed:
        return (
            f"it was refused, as it is {header.parity.sentence()}; build it again in fp32: {header.rebuild_as('fp32')}"
        )
    if probe.state != "ready":
        return f"it cannot run here: {probe.text}"
    mismatch = _mismatch(header, probe)
    return f"{mismatch}; build it again: {header.rebuild}" if mismatch else ""


def unchecked(header: Header) -> str:
    """A note where the parent is not there to be compared: the engine has all it needs, and is opened; "" where it is."""
    parent = Path(header.onnx_path)
    if not header.onnx_sha256 or (parent.is_file() and (header.sidecar is None or sidecar_path(parent).is_file())):
        return ""
    return f"{parent}, which it was built from, is gone, so it cannot be told whether the student has changed"


def _stale(header: Header) -> str:
    """How its parent differs from the one it was built from; one that is gone says nothing, see `unchecked`."""
    parent = Path(header.onnx_path)
    if unchecked(header) or not header.onnx_sha256:
        return ""
    if sha256(parent) != header.onnx_sha256:
        return f"{parent} has changed since the engine was built from it"
    if header.sidecar is None:
        return ""
    try:
        now = read_sidecar(parent)
    except DtdaError as error:
        return str(error).rstrip(".")
    changed = [name for name in RULES if getattr(now, name) != getattr(header.sidecar, name)]
    if changed:
        return f"{sidecar_path(parent)} has changed since the engine was built from it ({', '.join(changed)})"
    return ""


def version_here(package: str, probe: Probe) -> str:
    """Of a TensorRT package that loads here; "" for one that does not."""
    return probe.version if package == probe.package else probe.versions.get(package, "")


def _mismatch(header: Header, probe: Probe) -> str:
    here = version_here(header.package, probe)
    if not here:
        return f"it needs {PACKAGES[header.package]}, here is {PACKAGES.get(probe.package, 'none')}"
    if here != header.version:
        return f"it was built with {header.runtime}, here is {here}, and engines run with their own version only"
    if probe.compute_capability not in header.compute_capabilities:
        return (
            f"it was built for compute capability {', '.join(header.compute_capabilities)}, "
            f"the {probe.gpu} has {probe.compute_capability}"
        )
    # TensorRT proper chooses its kernels by timing them on one model of GPU; TensorRT-RTX compiles on each anew.
    if header.package == "tensorrt" and header.gpu != probe.gpu:
        return f"it was built on {header.gpu or 'an unknown GPU'}, here is {probe.gpu}"
    return ""


def _header(path: Path, file: BinaryIO) -> Header:
    """Reads up to the first byte of the plan."""
    again = "build it again with `dtda engine build`"
    start = file.read(len(MAGIC) + 4)
    if not start.startswith(MAGIC):
        raise DtdaError(
            f"{path} is not an engine of this program; build one from the student with `dtda engine build`."
        )
    if len(start) < len(MAGIC) + 4:
        raise DtdaError(f"{path} is cut short within its header; {again}.")
    (length,) = struct.unpack("<I", start[len(MAGIC) :])
    text = file.read(length) if length <= MAX_HEADER else b""
    if len(text) < length:
        raise DtdaError(f"{path} is cut short within its header, or the header was changed; {again}.")
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "header"
        raise DtdaError(f"{path}: its header is not valid ({where}: {first['msg']}); {again}.") from error
    if header.seal != hashlib.sha256(_with_seal(text, header.seal.encode(), UNSEALED)).hexdigest():
        raise DtdaError(f"{path}: its header was changed after it was built; build it again: {header.rebuild}")
    size = path.stat().st_size - len(start) - length
    if size != header.plan_bytes:
        how = "cut short" if size < header.plan_bytes else "longer than it was written"
        raise DtdaError(
            f"{path} is {how} ({size} bytes of plan, not {header.plan_bytes}); build it again: {header.rebuild}"
        )
    return header


def _with_seal(text: bytes, old: bytes, new: bytes) -> bytes:
    """The header's JSON with another seal, its last field."""
    start, _, end = text.rpartition(old)
    return start + new + end
