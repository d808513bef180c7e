"""For machines with an NVIDIA GPU: `pytest tests/gpu`, or scripts/gpu_check, which runs it and more.

What a test needs and does not find makes it a skip whose reason begins with "not run"; scripts/gpu_check reports it so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dtda.core.errors import DtdaError
from dtda.engines import device, driver
from dtda.engines.device import Device
from dtda.engines.probe import Probe, probe

pytestmark = pytest.mark.gpu


def not_run(why: str) -> None:
    pytest.skip(f"not run: {why}")


@pytest.fixture(scope="session")
def gpu() -> driver.Gpu:
    """The card, without which nothing here runs."""
    try:
        driver.library()
    except OSError as error:
        not_run(f"there is no NVIDIA driver ({error})")
    if driver.code("cuInit", 0) or not driver.count():
        not_run("the NVIDIA driver finds no GPU")
    return driver.describe()


@pytest.fixture(scope="session")
def ready(gpu: driver.Gpu) -> Probe:
    """The verdict of a machine where TensorRT runs."""
    found = probe()
    if found.state == "failed":
        pytest.fail(found.text)
    if found.state != "ready":
        not_run(f"{found.text} {found.install}".strip())
    return found


@pytest.fixture(params=device.LIBRARIES)
def library(request: pytest.FixtureRequest, gpu: driver.Gpu) -> str:
    """The name of a device library that is installed."""
    if request.param not in device.installed():
        not_run(f"{request.param} is not installed; {device.install_line(request.param, driver.cuda_version())}")
    return str(request.param)


@pytest.fixture
def opened(library: str) -> Iterator[Device]:
    """A device with its context pushed."""
    made = device.open_device(library=library)
    made.push()
    yield made
    made.pop()
    made.close()
    assert driver.current_context() == 0


@pytest.fixture(scope="session")
def build(ready: Probe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Path]]:
    """build(student, precision) -> path of an engine, each made once, in a store of this run's own."""
    store = tmp_path_factory.mktemp("store")
    made: dict[tuple[str, str], Path] = {}
    patch = pytest.MonkeyPatch()
    patch.setenv("DTDA_ENGINES", str(store))

    def make(student: str, precision: str) -> Path:
        if (student, precision) not in made:
            out = store / f"{Path(student).stem}-{precision}.engine"
            words = ["build", student, "--precision", precision, "--out", str(out)]
            run = subprocess.run(
                [sys.executable, "-m", "dtda.app.cli", "engine", *words], capture_output=True, text=True, env=os.environ
            )
            if run.returncode:
                raise DtdaError(run.stderr.strip().splitlines()[-1])
            made[student, precision] = out
        return made[student, precision]

    yield make
    patch.undo()
