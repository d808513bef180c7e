"""Students on the fake GPU: batches, buffers, graphs, every failure, and that nothing is left behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import VERSION, Rig, install, write_engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, save

from dtda.app.engine_texts import NOT_COMPARED
from dtda.core.errors import DtdaError
from dtda.core.sidecar import sha256
from dtda.engines import builder, device, nvidia, ort, plan
from dtda.engines.registry import open_engine
from dtda.engines.session import STEADY
from dtda.engines.tensorrt import open_session

# method that refuses -> what the user reads
OPENING = {
    "Runtime": "does not start",
    "deserialize_cuda_engine": "refuses the engine of student",
    "create_execution_context": "no room for student",
    "set_input_shape": r"refuses \[4, 3, 64, 64\] for image",
    "infer_shapes": "finds no shapes",
    "infer_shapes missing": "shapes of image are not known",
    "set_tensor_address": "refuses the memory for image",
    "get_tensor_location": "p_live is not on the GPU",
}


@pytest.fixture(params=["pycuda", "cuda.bindings"])
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines", request.param)
    yield made
    made.check()


@pytest.fixture
def pycuda_rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    yield made
    made.check()


@pytest.fixture
def engine_file(student: Path, tmp_path: Path) -> Path:
    """To be asked for after the rig, whose store it is written to."""
    write_engine(tmp_path / "tiny.engine", student, max_batch=4)
    return tmp_path / "tiny.engine"


def chips(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def means(faces: np.ndarray) -> np.ndarray:
    """What the tiny student says of them."""
    return faces.mean((1, 2, 3)) / 255


def test_it_scores_as_its_student_does(rig: Rig, engine_file: Path, student: Path) -> None:
    engine, reference = open_engine(engine_file), ort.open_engine(student)
    for count in (1, 2, 4, 3, 1, 0, 9):
        faces = chips(count, count)
        p_live = engine.infer(faces)
        assert p_live.dtype == np.float32
        np.testing.assert_array_equal(p_live, reference.infer(faces))
    engine.close()


def test_info_tells_what_really_runs(rig: Rig, engine_file: Path, student: Path) -> None:
    engine = open_engine(engine_file)
    info = engine.info
    assert info.backend == f"TensorRT {VERSION}"
    assert info.provider in ("Fake GPU by pycuda", "Fake GPU by cuda.bindings")
    assert (info.name, info.path, info.size, info.margin, info.threshold) == ("tiny", str(engine_file), 64, 1.5, 0.5)
    assert (info.precision, info.max_batch) == ("fp32", 4)
    assert info.notes[-1].startswith(NOT_COMPARED)
    assert info.sha256 == sha256(student)  # by which a threshold is kept when the same student runs elsewhere
    engine.close()


def test_outputs_come_in_the_order_of_the_header(rig: Rig, tmp_path: Path) -> None:
    """Which is the ONNX graph's; the fake numbers them the other way round, as TensorRT may."""
    nodes = [helper.make_node("Mul", ["x", name], [f"y{name}"]) for name in ("one", "two", "three")]
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("one", 1.0), ("two", 2.0), ("three", 3.0))
    ]
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [1, 2]) for node in nodes]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "three", [image], outputs, weights)
    parent = tmp_path / "three.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), parent)
    write_engine(tmp_path / "three.engine", parent, kind="detector", max_batch=1)
    session = open_session(tmp_path / "three.engine", "detector")
    feeds = {"x": np.array([[1, 10]], np.float32)}
    assert [node.name for node in session.get_outputs()] == ["yone", "ytwo", "ythree"]
    assert [float(found[0, 1]) for found in session.run(None, feeds)] == [10, 20, 30]
    assert [float(found[0, 1]) for found in session.run(["ythree", "yone"], feeds)] == [30, 10]
    session.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="TensorRT-RTX has no wheels for macOS")
def test_the_order_of_a_header_is_the_graphs() -> None:
    """By the real parser of TensorRT-RTX, for a graph that makes its outputs in another order than it lists them."""
    trt = nvidia.load("tensorrt_rtx")
    names = [f"{kind}{stride}" for kind in ("score", "box", "point") for stride in (8, 16, 32)]
    nodes = [helper.make_node("Mul", ["x", f"w{name}"], [name]) for name in reversed(names)]
    weights = [
        helper.make_tensor(f"w{name}", TensorProto.FLOAT, [1], [1.0 + number]) for number, name in enumerate(names)
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in names]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    model = helper.make_model(
        helper.make_graph(nodes, "nine", [image], outputs, weights),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    logger = nvidia.logger(trt)
    maker = trt.Builder(logger)
    network = maker.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString())
    assert [tensor.name for tensor in builder._tensors(trt, network)] == ["x", *names]


def test_results_are_the_callers_own(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    first = engine.infer(chips(3))
    kept = first.copy()
    engine.infer(chips(3, 1))
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable
    assert first.base is None
    engine.close()


def test_buffers_are_made_once(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    engine.infer(chips(2))
    made = [call for call in rig.gpu.calls if "Alloc" in call or "StreamCreate" in call]
    assert sorted(made) == ["cuMemAlloc_v2"] * 2 + ["cuMemHostAlloc"] * 2 + ["cuStreamCreate"]
    for count in (1, 4, 7, 2):
        engine.infer(chips(count))
    assert [call for call in rig.gpu.calls if "Alloc" in call or "StreamCreate" in call] == made
    engine.close()


def test_all_faces_go_in_one_call_and_too_many_in_several(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    before = rig.trt.enqueues
    engine.infer(chips(4))
    assert rig.trt.enqueues == before + 1
    engine.infer(chips(9))  # 4 + 4 + 1
    # The second four are the third in a row: they may come from a graph already.
    assert rig.trt.enqueues + rig.gpu.launches >= before + 4
    engine.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_any_sequence_of_batches(pycuda_rig: Rig, student: Path, tmp_path: Path, counts: list[int]) -> None:
    write_engine(tmp_path / "any.engine", student, max_batch=4)
    engine = open_engine(tmp_path / "any.engine")
    for number, count in enumerate(counts):
        faces = chips(count, number)
        np.testing.assert_allclose(engine.infer(faces), means(faces), atol=1e-5)
    engine.close()
    pycuda_rig.check()


@pytest.mark.parametrize("max_batch", [1, 2, 5])
def test_engines_of_other_batches(pycuda_rig: Rig, student: Path, tmp_path: Path, max_batch: int) -> None:
    write_engine(tmp_path / "b.engine", student, max_batch=max_batch)
    engine = open_engine(tmp_path / "b.engine")
    assert engine.infer(chips(5)).shape == (5,)
    assert engine.info.max_batch == max_batch
    engine.close()


# -- CUDA graphs ------------------------------------------------------------------------------------------------------


def test_a_steady_shape_is_replayed_and_another_one_is_captured_anew(rig: Rig, engine_file: Path) -> None:
    session = open_session(engine_file, "student")

    def score(count: int, seed: int) -> None:
        faces = chips(count, seed)
        (found,) = session.run(["p_live"], {"image": faces.transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(found, means(faces), atol=1e-5)

    for seed in range(STEADY):
        assert not session.replays
        score(2, seed)
    assert session.replays
    enqueued = rig.trt.enqueues
    for seed in range(5):
        score(2, seed)
    assert rig.gpu.launches == 5
    assert rig.trt.enqueues == enqueued
    score(3, 0)
    assert not session.replays
    for seed in range(STEADY):
        score(3, seed)
    assert session.replays
    session.close()


def test_what_cannot_be_captured_runs_without(rig: Rig, engine_file: Path) -> None:
    rig.trt.capturable = False
    engine = open_engine(engine_file)
    for seed in range(12):
        engine.infer(chips(1 + seed // 4, seed))
    assert rig.gpu.launches == 0
    assert rig.gpu.calls.count("cuStreamBeginCapture_v2") == 1  # it is not tried again and again
    engine.close()


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_capture_that_the_driver_refuses_is_done_without(rig: Rig, engine_file: Path, call: str) -> None:
    rig.gpu.fail[call] = 900
    engine = open_engine(engine_file)
    for seed in range(6):
        faces = chips(2, seed)
        np.testing.assert_allclose(engine.infer(faces), means(faces), atol=1e-5)
    assert rig.gpu.launches == 0
    engine.close()


def test_rtx_captures_by_itself(monkeypatch: pytest.MonkeyPatch, student: Path, tmp_path: Path) -> None:
    rig = install(monkeypatch, tmp_path / "engines", rtx=True)
    write_engine(tmp_path / "rtx.engine", student, rtx=True)
    engine = open_engine(tmp_path / "rtx.engine")
    assert engine.info.backend == f"TensorRT-RTX {VERSION}"
    for seed in range(6):
        engine.infer(chips(2, seed))
    assert "cuStreamBeginCapture_v2" not in rig.gpu.calls
    engine.close()
    rig.check()


# -- threads and the end ----------------------------------------------------------------------------------------------


def test_the_context_is_current_only_during_a_call(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    assert rig.gpu.stack() == []
    engine.infer(chips(2))
    assert rig.gpu.stack() == []
    engine.close()


def test_another_thread_is_refused_and_harms_nothing(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    errors: list[str] = []

    def intrude() -> None:
        for act in (lambda: engine.infer(chips(1)), engine.close):
            try:
                act()
            except DtdaError as error:
                errors.append(str(error))

    thread = threading.Thread(target=intrude, name="intruder")
    thread.start()
    thread.join()
    assert len(errors) == 2
    assert all("from the thread intruder" in error for error in errors)
    engine.infer(chips(2))  # it still works where it belongs
    engine.close()


def test_close_twice_and_then_refuse(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.infer(chips(1))


def test_engines_may_be_closed_in_any_order(rig: Rig, engine_file: Path) -> None:
    first, second = open_engine(engine_file), open_engine(engine_file)
    first.infer(chips(2))
    first.close()
    np.testing.assert_allclose(second.infer(np.full((1, 64, 64, 3), 51, np.uint8)), [0.2], atol=1e-6)
    third = open_engine(engine_file)
    second.close()
    third.infer(chips(2))
    third.close()


def test_two_threads_have_an_engine_each(rig: Rig, engine_file: Path) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            engine = open_engine(engine_file)
            for step in range(10):
                faces = chips(1 + step % 3, seed + step)
                found = engine.infer(faces)
                np.testing.assert_allclose(found, means(faces), atol=1e-5)
            engine.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 100)]
    # One after the other: the fake's bookkeeping of captures is of one stream at a time.
    for thread in threads:
        thread.start()
        thread.join()
    assert failures == []


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OPENING)
def test_every_refusal_while_opening_is_a_sentence(rig: Rig, engine_file: Path, method: str) -> None:
    rig.trt.fail[method] = None
    with pytest.raises(DtdaError, match=OPENING[method]) as caught:
        open_engine(engine_file)
    text = str(caught.value)
    assert "\n" not in text
    assert "build" in text or "docs/gpu.md" in text  # a way out
    rig.trt.fail.clear()
    open_engine(engine_file).close()  # and nothing stands in the way of the next try


@pytest.mark.parametrize(
    "call",
    ["cuInit", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuStreamCreate", "cuMemAlloc_v2", "cuMemHostAlloc",
     "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"],
)  # fmt: skip
def test_every_failure_of_the_gpu_while_opening_is_a_sentence(rig: Rig, engine_file: Path, call: str) -> None:
    rig.gpu.fail[call] = 2
    with pytest.raises(DtdaError, match="GPU failed") as caught:
        open_engine(engine_file)
    assert "\n" not in str(caught.value)
    del rig.gpu.fail[call]
    open_engine(engine_file).close()


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuCtxPushCurrent_v2"])
def test_a_gpu_that_fails_at_work_is_told_and_the_engine_can_be_closed(rig: Rig, engine_file: Path, call: str) -> None:
    engine = open_engine(engine_file)
    rig.gpu.fail[call] = 700
    with pytest.raises(DtdaError, match="GPU failed"):
        engine.infer(chips(2))
    rig.gpu.fail.clear()
    engine.close()


def test_a_graph_that_fails_is_told(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    for seed in range(4):
        engine.infer(chips(2, seed))
    rig.gpu.fail["cuGraphLaunch"] = 700
    with pytest.raises(DtdaError, match="cuGraphLaunch"):
        engine.infer(chips(2))
    engine.close()


def test_an_enqueue_that_fails_quotes_tensorrt(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    rig.trt.fail["execute_async_v3"] = False
    with pytest.raises(DtdaError, match=r"execute_async_v3: as injected"):
        engine.infer(chips(3))
    engine.close()


def test_a_shape_that_fails_does_not_spoil_the_one_before(rig: Rig, engine_file: Path) -> None:
    engine = open_engine(engine_file)
    engine.infer(chips(3))
    rig.trt.fail["infer_shapes"] = None
    with pytest.raises(DtdaError, match="finds no shapes"):
        engine.infer(chips(2))
    rig.trt.fail.clear()
    faces = chips(3, 1)
    np.testing.assert_allclose(engine.infer(faces), means(faces), atol=1e-5)
    engine.close()


def test_a_close_that_fails_frees_what_it_can_and_says_so(pycuda_rig: Rig, engine_file: Path) -> None:
    gpu = pycuda_rig.gpu
    engine = open_engine(engine_file)
    gpu.fail["cuMemFree_v2"] = 700
    with pytest.raises(DtdaError, match="freeing"):
        engine.close()
    assert gpu.leaks == {"memory": 2}
    assert any("given back before" in violation for violation in gpu.violations)
    engine.close()
    gpu.violations.clear()
    gpu.memory.clear()


def test_a_plan_of_other_tensors_than_its_header_names_is_refused(rig: Rig, student: Path, tmp_path: Path) -> None:
    wrong = [plan.Tensor(name="image", mode="input", dtype="uint8", shape=[-1, 3, 80, 80])]
    write_engine(tmp_path / "odd.engine", student, tensors=wrong)
    with pytest.raises(DtdaError, match=r"tensors.*build it again"):
        open_engine(tmp_path / "odd.engine")


def test_values_that_are_no_probabilities_are_refused(
    rig: Rig, make_student: Callable[..., Path], tmp_path: Path
) -> None:
    write_engine(tmp_path / "loud.engine", make_student(tmp_path, gain=2.0))
    engine = open_engine(tmp_path / "loud.engine")
    with pytest.raises(DtdaError, match=r"outside \[0, 1\].*build it again"):
        engine.infer(np.full((1, 64, 64, 3), 255, np.uint8))
    engine.close()


def test_a_foreign_engine_is_not_given_to_tensorrt(rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "foreign.engine", student, record=False)
    with pytest.raises(DtdaError, match="only own ones are loaded"):
        open_engine(tmp_path / "foreign.engine")
    assert rig.gpu.calls == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "10.16.1.11"}, "own version"),
        ({"compute_capabilities": ["7.5"]}, "compute capability"),
        ({"platform": "windows-x86_64"}, "windows"),
        ({"package": "tensorrt_rtx"}, "TensorRT-RTX"),
        ({"kind": "detector"}, "--detector"),
    ],
)
def test_what_cannot_run_here_is_not_given_to_tensorrt(
    rig: Rig, student: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_engine(tmp_path / "stale.engine", student, **change)
    with pytest.raises(DtdaError, match=message):
        open_engine(tmp_path / "stale.engine")
    assert rig.gpu.calls == []


def test_a_module_of_another_version_than_the_probe_saw_does_not_get_the_plan(rig: Rig, engine_file: Path) -> None:
    """Such as one installed while the window was open."""
    rig.trt.__version__ = "11.5.0.1"
    with pytest.raises(DtdaError, match=rf"is of TensorRT {VERSION}, here is 11\.5\.0\.1; build it again: dtda engine"):
        open_engine(engine_file)
    assert rig.gpu.calls == []


def test_an_engine_does_not_run_on_the_cpu(rig: Rig, engine_file: Path) -> None:
    with pytest.raises(DtdaError, match="NVIDIA GPU only"):
        open_engine(engine_file, "cpu")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"picture": np.zeros((1, 3, 64, 64), np.uint8)}, "image"),
        ({"image": np.zeros((1, 3, 64, 64), np.float32)}, "uint8"),
        ({"image": np.zeros((1, 3, 32, 64), np.uint8)}, r"\['N', 3, 64, 64\]"),
    ],
)
def test_misuse_of_a_session_is_a_value_error(
    rig: Rig, engine_file: Path, feeds: dict[str, np.ndarray], message: str
) -> None:
    session = open_session(engine_file, "student")
    with pytest.raises(ValueError, match=message):
        session.run(None, feeds)
    session.close()


def test_a_missing_device_library_names_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "installed", list)
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.driver", None)
    with pytest.raises(DtdaError, match=r"pip install \"cuda-bindings"):
        device.open_device()
