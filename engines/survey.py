"""The questions behind `probe`, asked in its child process."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from dtda.core.errors import DtdaError
from dtda.engines import device, driver, nvidia
from dtda.engines.probe import Probe, State

OLDEST = 7.5  # compute capability TensorRT 10.13 and later need
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
DRIVERS = "https://www.nvidia.com/drivers"
FIRST_DRIVER = {12: "525", 13: "580"}  # the series with which each CUDA came; older ones do not run its libraries


def runs_rtx(compute_capability: str) -> bool:
    """Whether TensorRT-RTX has kernels for it (its support matrix): from Turing on, not the data centre's 9.0."""
    return compute_capability in ("7.5", "8.0", "8.6", "8.9") or compute_capability.startswith("12.")


class Survey:
    """tell: called with what is known so far, before each step that may end the process."""

    def __init__(self, tell: Callable[[Probe], None] = lambda _: None) -> None:
        self._tell = tell
        self._known = Probe("failed", "")
        self._broken = ""  # what is installed but does not load

    def verdict(self) -> Probe:
        found = self._gpu()
        versions = self._versions()
        self._known = replace(self._known, versions=versions)
        if found is not None:
            return self._with_builder(replace(found, versions=versions))
        found = self._tensorrt()
        if found is None:
            found = self._trial()
        return self._with_builder(found)

    # -- the questions, in their order ----------------------------------------------------------------------------

    def _gpu(self) -> Probe | None:
        """Driver and GPU: the verdict when one is missing."""
        if sys.platform not in driver.LIBRARIES:
            return self._no("no_driver", f"TensorRT needs an NVIDIA GPU, and {_system()} does not support any")
        self._step("the driver was loaded")
        try:
            driver.library()
        except OSError:
            return self._without_driver()
        except DtdaError:
            return self._no("old_driver", "The NVIDIA driver is too old for TensorRT", f"get a new one: {DRIVERS}")
        self._known = replace(self._known, cuda=driver.cuda_version(), driver=driver.driver_version())
        self._step("the driver was started")
        code = driver.code("cuInit", 0)
        if code == NO_DEVICE or (code == 0 and driver.count() == 0):
            return self._no("no_gpu", "The NVIDIA driver finds no GPU", "check CUDA_VISIBLE_DEVICES and nvidia-smi")
        if code:
            reason = driver.words(code)
            return self._no("failed", f"The NVIDIA driver does not start ({reason})", "restart the computer")
        gpu = driver.describe()
        self._known = replace(
            self._known, gpu=gpu.name, compute_capability=gpu.compute_capability, memory_mb=gpu.memory_mb
        )
        if float(gpu.compute_capability) < OLDEST:
            return self._no("unsupported_gpu", f"{self._card()} is too old for TensorRT, which needs {OLDEST}")
        return None

    def _versions(self) -> dict[str, str]:
        """The TensorRT packages that load."""
        versions = {}
        for package in nvidia.installed():
            self._step(f"{package} was imported")
            try:
                versions[package] = str(nvidia.load(package).__version__)
            except DtdaError as error:
                self._broken = str(error)
        return versions

    def _tensorrt(self) -> Probe | None:
        """Chooses the package: the verdict when none fits driver and card."""
        known = self._known
        fit = known.compute_capability
        first = "tensorrt_rtx" if runs_rtx(fit) else "tensorrt"
        if not known.versions:
            if self._broken:
                return self._no("no_tensorrt", self._broken.rstrip("."))
            what = "TensorRT is not installed"
            return self._no("no_tensorrt", what, install=nvidia.install_line(first, known.cuda))
        refused = None
        for package, version in known.versions.items():
            title = nvidia.title(package, version)
            if package == "tensorrt_rtx" and not runs_rtx(fit):
                line = nvidia.install_line("tensorrt", known.cuda)
                found = self._no("unsupported_gpu", f"{self._card()} is not one for {title}", "install TensorRT", line)
            elif known.cuda < needed_cuda(package) * 1000:
                found = self._old_driver(package, title)
            else:
                self._known = replace(known, package=package, version=version)
                return None
            refused = refused or found
        return refused

    def _old_driver(self, package: str, title: str) -> Probe:
        known, needed = self._known, needed_cuda(package)
        offers = f"{known.cuda // 1000}.{known.cuda % 1000 // 10}"
        what = f"The NVIDIA driver {known.driver} offers CUDA {offers}, {title} needs CUDA {needed}".replace("  ", " ")
        way = f"update the driver to {FIRST_DRIVER.get(needed, 'a newer one')} or later ({DRIVERS})"
        if known.cuda < 12000:
            return self._no("old_driver", what, way)
        return self._no(
            "old_driver", what, f"{way}, or install the package for CUDA 12", nvidia.install_line(package, known.cuda)
        )

    def _trial(self) -> Probe:
        """Device library and a first object of TensorRT."""
        troubles = []
        for library in device.installed():
            self._step(f"{library} was tried")
            try:
                _try_device(library)
            except DtdaError as error:
                troubles.append(str(error).rstrip("."))
                continue
            self._known = replace(self._known, device_library=library)
            break
        else:
            return self._without_library(troubles)
        package, version = self._known.package, self._known.version
        title = nvidia.title(package, version)
        self._step(f"{title} was started")
        trt = nvidia.load(package)
        try:
            runtime = trt.Runtime(nvidia.logger(trt))
        except (TypeError, RuntimeError):
            return self._no("failed", str(nvidia.failure(f"{title} does not start", "see docs/gpu.md")).rstrip("."))
        del runtime
        note = f" ({troubles[0]})" if troubles else ""
        library = self._known.device_library
        return self._no("ready", f"{title} runs on the {self._known.gpu} through {library}{note}")

    def _with_builder(self, found: Probe) -> Probe:
        """TensorRT proper builds on the GPU that will run the engine, and compares it there; RTX builds anywhere."""
        proper = found.package == "tensorrt" and found.state == "ready"
        package = "tensorrt" if proper else "tensorrt_rtx" if "tensorrt_rtx" in found.versions else ""
        return replace(found, can_build=bool(package), build_package=package)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def _step(self, what: str) -> None:
        self._tell(replace(self._known, text=what))

    def _no(self, state: State, what: str, way_out: str = "", install: str = "") -> Probe:
        text = f"{what}; {way_out}." if way_out else f"{what}."
        return replace(self._known, state=state, text=text, install=install)

    def _card(self) -> str:
        return f"The {self._known.gpu} (compute capability {self._known.compute_capability})"

    def _without_driver(self) -> Probe:
        if sys.platform == "linux":
            if not has_card():
                return self._no("no_gpu", "There is no NVIDIA GPU in this machine, and TensorRT engines need one")
            way = f"install it ({DRIVERS}); in a container, start it with --gpus all"
            return self._no("no_driver", "There is an NVIDIA GPU, but no driver for it", way, _driver_line())
        what = "No NVIDIA driver was found, and TensorRT engines need an NVIDIA GPU"
        return self._no("no_driver", what, f"if there is one, install its driver: {DRIVERS}")

    def _without_library(self, troubles: list[str]) -> Probe:
        builds = shutil.which("nvcc") is not None and any(map(shutil.which, ("g++", "cl")))
        library = "pycuda" if builds and not troubles else "cuda.bindings"
        if library in device.installed():
            return self._no("no_device_library", "; ".join(troubles))
        what = "; ".join(troubles) or "Neither pycuda nor cuda.bindings is installed, one of which drives the GPU"
        return self._no("no_device_library", what, install=device.install_line(library, self._known.cuda))


def needed_cuda(package: str) -> int:
    """The CUDA an installed TensorRT was made for, 13 or 12; 0 where pip does not know it."""
    for major in (13, 12):
        for part in (f"{package}_cu{major}", f"{package}_cu{major}_bindings"):
            try:
                metadata.version(part)
            except metadata.PackageNotFoundError:
                continue
            return major
    return 0


def has_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a display or compute controller of NVIDIA is on the bus, or one is lent by Windows (WSL). Linux."""
    for folder in devices.glob("*"):
        try:
            if (folder / "vendor").read_text().strip() == "0x10de" and (folder / "class").read_text().startswith(
                "0x03"
            ):
                return True
        except OSError:
            continue
    return Path("/dev/dxg").exists()


def _driver_line() -> str:
    """How the distribution installs the driver; "" where that is not known."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    names = re.split(r"\s+", f"{release.get('ID', '')} {release.get('ID_LIKE', '')}")
    if "ubuntu" in names:
        return "sudo ubuntu-drivers install"
    return "sudo apt-get install nvidia-driver" if "debian" in names else ""


def _system() -> str:
    return {"darwin": "macOS"}.get(sys.platform, sys.platform)


def _try_device(library: str) -> None:
    """Open, allocate, free. Raises DtdaError."""
    gpu = device.open_device(library=library)
    try:
        gpu.push()
        try:
            stream, memory = gpu.stream(), gpu.alloc(1024)
            gpu.synchronise(stream)
            gpu.free(memory)
            gpu.free(stream)
            del stream, memory
        finally:
            gpu.pop()
    finally:
        gpu.close()
