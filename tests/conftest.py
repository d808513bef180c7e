"""Shared pictures, clips and students; every test makes its own data from these."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads wait for each other on a busy machine
if (_worker := os.environ.get("PYTEST_XDIST_WORKER")) and sys.platform == "linux":
    # A core of its own: the threads with which onnxruntime calibrates spin while they wait, on others' cores too.
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker.removeprefix("gw")) % len(_cores)]})

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

import dtda.app.sources  # noqa: F401  as in the app: it quiets FFmpeg, which is possible only before its first use
from dtda.core.data.manifest import Record, write_manifest
from dtda.core.preprocess import TEMPLATE
from dtda.core.sidecar import Sidecar, Threshold, sha256, write_sidecar
from dtda.core.types import Image, Label

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # on a real screen the keys would go to whoever has the focus
for _name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):  # set by `import cv2`
    os.environ.pop(_name, None)

hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, nor any process it starts, reads or changes the engines, settings and clips of who runs it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(home / name))
        yield


@pytest.fixture(scope="session")
def portrait() -> Image:
    """uint8 [480, 640, 3] BGR with one face about 110 pixels wide near the middle. Shared: copy before writing."""
    from skimage.data import astronaut as picture

    rgb = picture()[:384]
    bgr = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (640, 480), interpolation=cv2.INTER_AREA)
    bgr.flags.writeable = False
    return bgr


@pytest.fixture
def astronaut(portrait: Image) -> Image:
    """As `portrait`, but the test's own copy."""
    return portrait.copy()


@pytest.fixture(scope="session")
def make_student() -> Callable[..., Path]:
    """make_student(directory, size=64, channels=3, threshold=0.5, sidecar=True) -> path of a tiny ONNX student.

    P(live) is `gain` times the mean of the chip over 255. `output` renames the output and `dtype`
    changes that of the input, for tests of refusals.
    """
    from onnx import TensorProto, helper, save

    def make(
        directory: Path,
        size: int = 64,
        channels: int = 3,
        threshold: float = 0.5,
        sidecar: bool = True,
        gain: float = 1.0,
        output: str = "p_live",
        dtype: int = TensorProto.UINT8,
        name: str = "student.onnx",
    ) -> Path:
        nodes = [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], [output]),
        ]
        graph = helper.make_graph(
            nodes,
            "student",
            [helper.make_tensor_value_info("image", dtype, ["N", channels, size, size])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N"])],
            [helper.make_tensor("scale", TensorProto.FLOAT, [], [gain / 255])],
        )
        path = directory / name
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        if sidecar:
            write_sidecar(
                path,
                Sidecar(
                    name="tiny",
                    sha256=sha256(path),
                    size=size,
                    margin=1.5,
                    thresholds={"default": Threshold(value=threshold, rule="fixed", split="none")},
                    training_data="none",
                    licence="Apache-2.0",
                    git_revision="0" * 40,
                ),
            )
        return path

    return make


@pytest.fixture(scope="session")
def student(make_student: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid tiny student (64 px, threshold 0.5): P(live) is the mean brightness of the chip over 255."""
    return make_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """write_clip(path, frames, fps=15) writes uint8 [H, W, 3] BGR frames as an MPEG-4 video and returns its path."""

    def write(path: Path, frames: Sequence[Image], fps: float = 15) -> Path:
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        assert writer.isOpened()
        for frame in frames:
            writer.write(frame)
        writer.release()
        return path

    return write


@pytest.fixture
def clip(astronaut: Image, write_clip: Callable[..., Path], tmp_path: Path) -> Path:
    """A 1 s video of the astronaut drifting to the right, 15 frames at 15 fps, 640x480."""
    drift = [np.roll(astronaut, 3 * i, axis=1) for i in range(15)]
    return write_clip(tmp_path / "drift.mp4", drift)


def _texture(live: bool, rng: np.random.Generator) -> Image:
    """Smooth for live, with a fine chequer for spoof; brightness says nothing."""
    coarse = rng.uniform(60, 190, (6, 6, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
    if not live:
        y, x = np.mgrid[:160, :160] // 6
        picture += (30 * ((x + y) % 2) - 15)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of 144 small pictures of domains a, b, c that a network can learn to tell apart in seconds."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    records = []
    for number in range(144):
        live, domain = number % 2 == 0, ("a", "b", "c")[number % 3]
        split = ("train", "train", "dev", "test")[number // 6 % 4]
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), _texture(live, rng))
        label, kind = (Label.LIVE, "") if live else (Label.SPOOF, "print")
        points = (TEMPLATE * 0.6 + 45).astype(np.float32)
        records.append(Record(path, label, kind, domain, f"s{number}", split, points))
    write_manifest(folder / "manifest.csv", records)
    return folder / "manifest.csv"
