"""The verdict of the probe: every state with its sentence and its line, and children that crash or hang."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from fake_tensorrt import VERSION, fake_tensorrt
from fakes import Gpu, Library, bindings_driver, pycuda_driver

from dtda.core.errors import DtdaError
from dtda.engines import device, driver, nvidia, survey
from dtda.engines.probe import Probe, ask
from dtda.engines.probe import probe as real_probe


class Machine:
    """What is installed in a machine, and what the survey says of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.gpu = Gpu("NVIDIA GeForce RTX 4090")
        self.devices = 1
        self.driver: object = None
        self.packages = ["tensorrt"]
        self.libraries = ["pycuda"]
        self.broken: dict[str, Exception] = {}
        self.cuda_of = {"tensorrt": 13, "tensorrt_rtx": 13}
        self.platform = "linux"
        self.tools: set[str] = set()

    def survey(self) -> Probe:
        patch, gpu = self.patch, self.gpu
        patch.setattr(sys, "platform", self.platform)
        patch.setattr(driver, "library", self._library)
        patch.setattr(driver, "driver_version", lambda: "580.65")
        patch.setattr(nvidia, "installed", lambda: self.packages)
        patch.setattr(device, "installed", lambda: self.libraries)
        patch.setattr(survey, "needed_cuda", self.cuda_of.get)
        patch.setattr(survey.shutil, "which", lambda tool: tool if tool in self.tools else None)
        patch.setattr(survey, "has_card", lambda: self.card)
        patch.setattr(survey.platform, "freedesktop_os_release", lambda: {"ID": "ubuntu"})
        modules = {
            "tensorrt": fake_tensorrt(gpu),
            "tensorrt_rtx": fake_tensorrt(gpu, rtx=True),
            "pycuda.driver": pycuda_driver(gpu),
            "cuda.bindings.driver": bindings_driver(gpu),
        }

        def load(name: str) -> ModuleType:
            if name in self.broken:
                raise self.broken[name]
            return modules[name]

        patch.setattr(nvidia.importlib, "import_module", load)
        self.steps: list[Probe] = []
        return survey.Survey(self.steps.append).verdict()

    card = False

    def _library(self) -> Library:
        if isinstance(self.driver, Exception):
            raise self.driver
        return Library(self.gpu, self.devices)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_ready(machine: Machine) -> None:
    found = machine.survey()
    assert found.state == "ready"
    assert found.text == f"TensorRT {VERSION} runs on the NVIDIA GeForce RTX 4090 through pycuda."
    assert (found.compute_capability, found.memory_mb, found.driver, found.cuda) == ("8.9", 8192, "580.65", 13000)
    assert (found.package, found.version, found.device_library) == ("tensorrt", VERSION, "pycuda")
    assert (found.can_build, found.build_package, found.install) == (True, "tensorrt", "")
    assert machine.gpu.leaks == {}
    assert machine.gpu.violations == []


def test_without_driver_or_card(machine: Machine) -> None:
    machine.driver = OSError("libcuda.so.1: cannot open shared object file")
    found = machine.survey()
    assert (found.state, found.can_build) == ("no_gpu", False)
    assert "no NVIDIA GPU" in found.text


def test_a_card_without_driver(machine: Machine) -> None:
    machine.driver, machine.card = OSError("libcuda.so.1"), True
    found = machine.survey()
    assert (found.state, found.install) == ("no_driver", "sudo ubuntu-drivers install")
    machine.platform = "win32"
    found = machine.survey()
    assert found.state == "no_driver"
    assert "https://www.nvidia.com/drivers" in found.text


def test_macos_is_told_plainly(machine: Machine) -> None:
    machine.platform = "darwin"
    found = machine.survey()
    assert found.state == "no_driver"
    assert "macOS does not support any" in found.text


def test_a_driver_without_gpu(machine: Machine) -> None:
    machine.devices = 0
    assert machine.survey().state == "no_gpu"
    machine.gpu.fail["cuInit"] = 100
    assert "CUDA_VISIBLE_DEVICES" in machine.survey().text


def test_a_driver_that_does_not_start(machine: Machine) -> None:
    machine.gpu.fail["cuInit"] = 803
    found = machine.survey()
    assert found.state == "failed"
    assert "803" in found.text
    assert "restart" in found.text


def test_an_old_driver_names_the_package_for_it(machine: Machine) -> None:
    machine.gpu.cuda = 12040
    found = machine.survey()
    assert found.state == "old_driver"
    assert "offers CUDA 12.4" in found.text
    assert "needs CUDA 13" in found.text
    assert found.install == 'pip install "tensorrt-cu12>=10.13,<12"'
    machine.gpu.cuda = 11080
    found = machine.survey()
    assert (found.state, found.install) == ("old_driver", "")


def test_a_package_for_the_older_cuda_runs_on_it(machine: Machine) -> None:
    machine.gpu.cuda = 12040
    machine.cuda_of["tensorrt"] = 12
    assert machine.survey().state == "ready"


def test_an_ancient_driver_lacks_functions(machine: Machine) -> None:
    machine.driver = driver.DeviceError("it lacks cuGraphInstantiateWithFlags")
    assert machine.survey().state == "old_driver"


@pytest.mark.parametrize(
    ("capability", "cuda", "line"),
    [
        ("8.9", 13000, "pip install tensorrt-rtx"),
        ("12.0", 13000, "pip install tensorrt-rtx"),
        ("7.5", 12080, "pip install tensorrt-rtx-cu12"),
        ("9.0", 13000, 'pip install "tensorrt>=10.13,<12"'),
        ("9.0", 12080, 'pip install "tensorrt-cu12>=10.13,<12"'),
    ],
)
def test_without_tensorrt_the_line_fits_card_and_driver(
    machine: Machine, capability: str, cuda: int, line: str
) -> None:
    machine.packages = []
    machine.gpu.compute_capability, machine.gpu.cuda = capability, cuda
    found = machine.survey()
    assert (found.state, found.install, found.can_build) == ("no_tensorrt", line, False)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvonnxparser.so.11: cannot open shared object file: No such file or directory"),
        FileNotFoundError("Could not find: nvinfer_11.dll. Is it on your PATH?\nNote: Paths searched were:\n[]"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_a_tensorrt_that_does_not_load_is_told(machine: Machine, error: Exception) -> None:
    machine.broken["tensorrt"] = error
    found = machine.survey()
    assert found.state == "no_tensorrt"
    assert "does not load" in found.text
    assert str(error).splitlines()[0].rstrip(".") in found.text
    assert "\n" not in found.text


def test_a_card_too_old(machine: Machine) -> None:
    machine.gpu.compute_capability = "6.1"
    found = machine.survey()
    assert found.state == "unsupported_gpu"
    assert "needs 7.5" in found.text


def test_rtx_on_a_card_it_is_not_for(machine: Machine) -> None:
    machine.packages, machine.gpu.compute_capability = ["tensorrt_rtx"], "9.0"
    found = machine.survey()
    assert (found.state, found.install) == ("unsupported_gpu", 'pip install "tensorrt>=10.13,<12"')
    assert (found.can_build, found.build_package) == (True, "tensorrt_rtx")  # for other cards


def test_both_packages_the_one_that_fits_is_used(machine: Machine) -> None:
    machine.packages = ["tensorrt", "tensorrt_rtx"]
    assert machine.survey().package == "tensorrt"
    machine.cuda_of, machine.gpu.cuda = {"tensorrt": 13, "tensorrt_rtx": 12}, 12080
    found = machine.survey()
    assert (found.state, found.package) == ("ready", "tensorrt_rtx")
    assert set(found.versions) == {"tensorrt", "tensorrt_rtx"}


def test_without_a_gpu_rtx_still_builds(machine: Machine) -> None:
    machine.driver, machine.packages = OSError("libcuda"), ["tensorrt_rtx"]
    found = machine.survey()
    assert (found.state, found.can_build, found.build_package) == ("no_gpu", True, "tensorrt_rtx")
    assert found.versions == {"tensorrt_rtx": VERSION}


def test_without_a_device_library(machine: Machine) -> None:
    machine.libraries = []
    found = machine.survey()
    assert (found.state, found.install) == ("no_device_library", 'pip install "cuda-bindings>=13,<14"')
    machine.gpu.cuda, machine.cuda_of["tensorrt"] = 12080, 12
    assert machine.survey().install == 'pip install "cuda-bindings>=12,<13"'
    machine.tools = {"nvcc", "g++"}
    assert machine.survey().install == "pip install pycuda"
    assert not machine.survey().can_build  # an engine is compared on the GPU before it is kept
    machine.packages = ["tensorrt", "tensorrt_rtx"]
    assert (machine.survey().can_build, machine.survey().build_package) == (True, "tensorrt_rtx")


def test_a_broken_pycuda_gives_way_to_cuda_bindings_and_is_told(machine: Machine) -> None:
    machine.libraries = ["pycuda", "cuda.bindings"]
    machine.broken["pycuda.driver"] = ImportError("undefined symbol: cuArrayCreate_v2")
    found = machine.survey()
    assert (found.state, found.device_library) == ("ready", "cuda.bindings")
    assert "undefined symbol: cuArrayCreate_v2" in found.text
    machine.libraries = ["pycuda"]
    found = machine.survey()
    assert (found.state, found.install) == ("no_device_library", 'pip install "cuda-bindings>=13,<14"')


def test_a_gpu_that_is_full(machine: Machine) -> None:
    machine.gpu.fail["cuMemAlloc_v2"] = 2
    found = machine.survey()
    assert found.state == "no_device_library"
    assert "GPU failed while allocating" in found.text
    assert machine.gpu.leaks == {}


def test_a_tensorrt_that_does_not_start(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = fake_tensorrt(machine.gpu)
    broken.fail["Runtime"] = None
    real = nvidia.load
    monkeypatch.setattr(nvidia, "load", lambda package=None: broken if package == "tensorrt" else real(package))
    found = machine.survey()
    assert found.state == "failed"
    assert "CUDA initialization failure with error: 35" in found.text


def test_each_dangerous_step_is_announced(machine: Machine) -> None:
    machine.survey()
    texts = [step.text for step in machine.steps]
    assert texts == ["the driver was loaded", "the driver was started", "tensorrt was imported", "pycuda was tried",
                     f"TensorRT {VERSION} was started"]  # fmt: skip
    assert machine.steps[-1].gpu == "NVIDIA GeForce RTX 4090"


# -- the child --------------------------------------------------------------------------------------------------------

STEP = json.dumps(dataclasses.asdict(Probe("failed", "TensorRT 11 was started", gpu="RTX 4090", driver="580.65")))


def child(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time\nprint({STEP!r}, flush=True)\n{code}"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_child_that_crashes_is_a_verdict_with_what_it_had_found() -> None:
    found = ask(child("import ctypes; ctypes.string_at(0)"))
    assert found.state == "failed"
    assert found.text.startswith("The check for TensorRT ended with signal SIGSEGV while TensorRT 11 was started")
    assert found.gpu == "RTX 4090"
    assert not found.can_build


def test_a_child_that_fails_is_a_verdict() -> None:
    found = ask(child("sys.stderr.write('first\\nlast words\\n'); sys.exit(3)"))
    assert (found.state, found.gpu) == ("failed", "RTX 4090")
    assert "exit code 3" in found.text
    assert "last words" in found.text


def test_a_child_that_hangs_is_a_verdict() -> None:
    found = ask(child("time.sleep(60)"), timeout=0.5)
    assert found.state == "failed"
    assert "did not answer within" in found.text


def test_a_child_that_babbles_or_is_silent_is_a_verdict() -> None:
    assert ask([sys.executable, "-c", "print('hello')"]).text.startswith("The check for TensorRT answered nothing")
    assert "could not be started" in ask(["/nowhere/python"]).text
    noisy = ask([sys.executable, "-c", f"print('[TRT] hello'); print({STEP!r}); print('bye')"])
    assert noisy.gpu == "RTX 4090"


def test_the_real_child_answers_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = real_probe(refresh=True)
    assert found.text.endswith(".")
    assert found.state != "failed"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked again"))
    assert real_probe() is found


def test_the_probe_imports_no_tensorrt_in_this_process() -> None:
    code = "import sys, dtda.engines.probe, dtda.engines.tensorrt; print([m for m in sys.modules if 'tensorrt' in m])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert loaded.strip() == "['dtda.engines.tensorrt']"


# -- the questions ----------------------------------------------------------------------------------------------------


def test_a_card_is_known_by_its_vendor_and_class(tmp_path: Path) -> None:
    def card(name: str, vendor: str, kind: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")

    card("audio", "0x10de", "0x040300")
    card("other", "0x8086", "0x030000")
    assert survey.has_card(tmp_path) == Path("/dev/dxg").exists()
    card("gpu", "0x10de", "0x030200")
    assert survey.has_card(tmp_path)


def test_versions_that_are_not_supported_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, good in (("10.12.0.36", False), ("10.13.3.9", True), ("11.4.0.106", True), ("12.0.0.1", False)):
        monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(Gpu(), version=version))
        if good:
            assert nvidia.load("tensorrt").__version__ == version
        else:
            with pytest.raises(DtdaError, match=r">=10\.13,<12"):
                nvidia.load("tensorrt")


def test_the_logger_is_one_and_keeps_the_last_words() -> None:
    trt = fake_tensorrt(Gpu())
    log = nvidia.logger(trt)
    assert nvidia.logger(trt) is log
    heard: list[tuple[str, str]] = []
    mark = nvidia.mark()
    nvidia.listen(lambda level, text: heard.append((level, text)))
    for severity, text in ((4, "chatter"), (3, "news"), (2, "careful"), (1, "it broke\n"), (0, "inside")):
        log.log(severity, text)
    nvidia.listen(None)
    assert nvidia.recent("error", mark) == ["it broke", "inside"]
    assert nvidia.recent()[-2:] == ["it broke", "inside"]
    assert nvidia.recent("info", mark) == ["news", "careful", "it broke", "inside"]
    assert heard == [("info", "news"), ("warning", "careful"), ("error", "it broke"), ("error", "inside")]
    assert str(nvidia.failure("It failed", "try again")) == "It failed (it broke; inside); try again."
    told = nvidia.failure("It failed", "try again", nvidia.mark())
    assert str(told) == "It failed (TensorRT gave no reason); try again."


def test_the_words_of_one_engine_are_not_lost_or_mixed_with_those_of_another_thread() -> None:
    log = nvidia.logger(fake_tensorrt(Gpu()))
    mark = nvidia.mark()
    log.log(1, "mine")
    theirs: list[list[str]] = []

    def live() -> None:
        own = nvidia.mark()
        log.log(1, "of the other engine")
        theirs.append(nvidia.recent("error", own))

    for work in (live, lambda: log.log(1, "of TensorRT's own thread")):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert nvidia.recent("error", mark) == ["mine", "of TensorRT's own thread"]
    assert theirs == [["of the other engine"]]
