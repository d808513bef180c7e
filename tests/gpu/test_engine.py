"""Engines that TensorRT built on this GPU, against onnxruntime on the same chips."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.sidecar import read_sidecar
from dtda.core.types import Image
from dtda.engines import device, ort, parity
from dtda.engines.detect import CenterFaceDetector, open_detector
from dtda.engines.probe import Probe
from dtda.engines.registry import default_student, open_engine
from dtda.engines.tensorrt import TensorRtEngine, open_session

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]
MB = 1 << 20
Build = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def chips() -> Image:
    """Real crops of the sample clips, varied."""
    return parity.varied(parity.chips(read_sidecar(default_student()).rule))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_says_what_its_student_says(build: Build, chips: Image, precision: str) -> None:
    engine, reference = open_engine(build("auto", precision)), ort.open_engine(default_student())
    try:
        verdict = parity.compare(engine, reference, chips, engine.info.threshold, parity.LIMITS[precision])
        assert verdict.passed, verdict.sentence()
        assert engine.info.precision == precision
    finally:
        engine.close()


def test_batches_do_not_change_the_scores(build: Build, chips: Image) -> None:
    engine = open_engine(build("auto", "fp32"))
    try:
        alone = np.concatenate([engine.infer(chips[n : n + 1]) for n in range(20)])
        for size in (2, 3, 8, 20):
            together = np.concatenate([engine.infer(chips[n : n + size]) for n in range(0, 20, size)])
            assert np.abs(together[:20] - alone).max() < 1e-4
    finally:
        engine.close()


def test_replays_say_the_same_as_first_runs(build: Build, chips: Image, ready: Probe) -> None:
    session = open_session(build("auto", "fp32"), "student")
    try:
        for size in (1, 4, 1):
            batch = chips[:size].transpose(0, 3, 1, 2)
            first = session.run(["p_live"], {"image": batch})[0]
            for _ in range(5):
                np.testing.assert_allclose(session.run(["p_live"], {"image": batch})[0], first, atol=1e-5)
            other = chips[size : 2 * size].transpose(0, 3, 1, 2)
            assert not np.array_equal(session.run(["p_live"], {"image": other})[0], first)
            if ready.package == "tensorrt":
                assert session.replays
    finally:
        session.close()


def test_results_are_the_callers_own(build: Build, chips: Image) -> None:
    engine = open_engine(build("auto", "fp32"))
    try:
        first = engine.infer(chips[:4])
        kept = first.copy()
        engine.infer(chips[4:8])
        np.testing.assert_array_equal(first, kept)
    finally:
        engine.close()


def test_another_thread_is_refused(build: Build, chips: Image) -> None:
    engine = open_engine(build("auto", "fp32"))
    errors: list[str] = []

    def intrude() -> None:
        try:
            engine.infer(chips[:1])
        except DtdaError as error:
            errors.append(str(error))

    try:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        assert len(errors) == 1
        engine.infer(chips[:1])
    finally:
        engine.close()


def test_two_engines_in_two_threads_at_once(build: Build, chips: Image) -> None:
    path = build("auto", "fp32")
    expected = ort.open_engine(default_student()).infer(chips[:8])
    failures: list[BaseException] = []

    def work() -> None:
        try:
            engine = open_engine(path)
            for number in range(200):
                size = 1 + number % 8
                assert np.abs(engine.infer(chips[:size]) - expected[:size]).max() < 1e-2
            engine.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_memory_comes_back_when_engines_close(build: Build, chips: Image) -> None:
    path = build("auto", "fp16")
    free: list[int] = []
    watch = device.open_device()
    for _ in range(25):
        engine = open_engine(path)
        engine.infer(chips[:3])
        engine.close()
        watch.push()
        free.append(watch.memory_info()[0])
        watch.pop()
    watch.close()
    assert free[5] - free[-1] < 16 * MB


def test_a_failed_opening_leaves_nothing(build: Build, chips: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build("auto", "fp32")
    good = open_session(path, "student")
    monkeypatch.setattr(TensorRtEngine, "infer", lambda *_: (_ for _ in ()).throw(DtdaError("broken; mend it.")))
    watch = device.open_device()
    free: list[int] = []
    for _ in range(10):
        with pytest.raises(DtdaError, match="broken"):
            open_engine(path)
        watch.push()
        free.append(watch.memory_info()[0])
        watch.pop()
    watch.close()
    good.close()
    assert free[2] - free[-1] < 16 * MB


def test_the_detector_finds_the_same_face(build: Build, astronaut: Image) -> None:
    detector, reference = open_detector(str(build("centerface", "fp16"))), CenterFaceDetector()
    try:
        for _ in range(4):
            (face,), (wanted,) = detector.detect(astronaut), reference.detect(astronaut)
            assert np.abs(face.points - wanted.points).max() < 5
    finally:
        detector.close()
