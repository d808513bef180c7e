"""Can TensorRT run here, and what is missing if not: a verdict with the exact install line.

The answer is found in a child process (`python -m dtda.engines.probe` prints it as JSON), because without a driver
TensorRT may end the process it is used in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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


def probe(refresh: bool = False) -> Probe:
    """The verdict, found once per process. refresh: ask again, as after an installation."""
    raise NotImplementedError
