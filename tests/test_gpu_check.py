"""scripts/gpu_check and its soak: nothing that did not run is called passed, and one failure does not end the rest."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from fake_tensorrt import Rig, install, write_engine

from dtda.core.types import Image
from dtda.engines.probe import Probe

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script(name: str) -> ModuleType:
    loader = SourceFileLoader(name.removesuffix(".py"), str(SCRIPTS / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look it up
    loader.exec_module(module)
    return module


gpu_check = script("gpu_check")
soaking = script("soak.py")


@pytest.fixture
def check(tmp_path: Path) -> object:
    made = gpu_check.Check(tmp_path, 0.01, 0.1)
    made.state = Probe("no_gpu", "There is no NVIDIA GPU.", can_build=True)
    return made


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.gpu.test_device" name="test_a" />
<testcase classname="tests.gpu.test_device" name="test_b"><skipped message="not run: pycuda is not installed" /></testcase>
{more}</testsuite></testsuites>"""


def test_a_skipped_test_is_not_run_and_a_failed_one_is_failed(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(JUNIT.format(more=""))
    part = gpu_check.Part("t")
    gpu_check.report_rows(part, report, 0)
    assert part.rows == [
        ("test_device: test_a", "passed", ""),
        ("test_device: test_b", "not run", "pycuda is not installed"),
    ]
    assert (part.outcome, part.counts) == ("not run", "1 passed, 1 not run")
    report.write_text(JUNIT.format(more='<testcase name="c"><error message="boom | bang" /></testcase>'))
    part = gpu_check.Part("t")
    gpu_check.report_rows(part, report, 1)
    assert part.outcome == "failed"
    assert part.rows[-1][2] == "boom \\| bang"


def test_no_test_or_no_report_is_a_failure(tmp_path: Path) -> None:
    for content in (None, "<testsuites/>"):
        part = gpu_check.Part("t")
        if content:
            (tmp_path / "r.xml").write_text(content)
        gpu_check.report_rows(part, tmp_path / "r.xml", 4)
        assert part.outcome == "failed"


def test_nothing_done_is_not_passed() -> None:
    assert gpu_check.Part("t").outcome == "not run"


def test_the_status_tells_and_a_part_that_raises_does_not_end_the_rest(check: object, tmp_path: Path) -> None:
    check.part("good", lambda part: part.add("a", "passed"))
    assert check.status() == 0
    check.part("absent", lambda part: part.add("b", "not run", "no GPU"))
    assert check.status() == 3
    check.part("broken", lambda part: {}["missing"])
    check.part("after", lambda part: part.add("d", "passed"))
    assert check.status() == 1
    report = (tmp_path / "gpu_check.md").read_text()
    for line in ("| good | passed | 1 passed |", "| absent | not run | 1 not run |", "| broken | failed | 1 failed |",
                 "| broken | failed | KeyError: 'missing' |", "| after | passed | 1 passed |"):  # fmt: skip
        assert line in report


DONE = {"event": "done", "path": "x", "seconds": 1.0, "bytes": 4_000_000, "runs_here": True, "why": ""}
GATE = {"event": "parity", "frames": 90, "max_dp": 0.001, "mean_dp": 0.0001, "flips": 0, "limit": 0.02, "passed": True}


@pytest.mark.parametrize(
    ("events", "outcomes", "runs"),
    [
        ([DONE, GATE], ["passed", "passed"], True),
        ([DONE, GATE | {"passed": False}], ["passed", "failed"], True),
        ([DONE], ["passed", "failed"], True),
        ([DONE | {"runs_here": False, "why": "no GPU"}], ["passed", "not run"], False),
        ([{"event": "failed", "text": "no kernel"}], ["failed", "not run"], False),
        ([], ["failed", "not run"], False),
    ],
)
def test_a_build_and_its_parity_are_two_rows(
    check: object, tmp_path: Path, events: list[dict], outcomes: list[str], runs: bool
) -> None:
    part = gpu_check.Part("b")
    check._built(part, "auto fp16", tmp_path / "x.engine", events, "")
    assert [outcome for _, outcome, _ in part.rows] == outcomes
    assert bool(check.runnable) is runs


def test_without_a_builder_a_build_is_not_run(check: object, tmp_path: Path) -> None:
    check.state = Probe("no_tensorrt", "TensorRT is not installed.")
    part = gpu_check.Part("b")
    check._built(part, "auto fp16", tmp_path / "x", [], "dtda: TensorRT is not installed.")
    assert [row[1:] for row in part.rows] == [
        ("not run", "dtda: TensorRT is not installed."), ("not run", "it was not built"),
    ]  # fmt: skip


def test_a_soak_without_an_engine_is_not_run(check: object) -> None:
    part = gpu_check.Part("s")
    check.soak(part)
    assert part.outcome == "not run"


def test_the_probe_is_passed_only_where_it_is_ready(check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for state, outcome in (("ready", "passed"), ("failed", "failed"), ("no_driver", "not run")):
        monkeypatch.setattr("dtda.engines.probe.probe", lambda refresh=False, state=state: Probe(state, "It is so."))
        part = gpu_check.Part("p")
        check.probe(part)
        assert part.outcome == outcome


def bench_row(precision: str = "fp16", backend: str = "TensorRT 11", **changes: object) -> dict[str, object]:
    row = {"student": "tiny", "backend": backend, "device": "GPU", "precision": precision, "file": "x", "batch": 1}
    return row | {"p50_ms": 0.5, "max_dp": 0.001, "reason": ""} | changes


@pytest.mark.parametrize(
    ("rows", "ready", "outcomes"),
    [
        ([bench_row(), bench_row(batch=8)], True, ["passed"]),
        ([bench_row(), bench_row(batch=8, max_dp=0.021)], True, ["failed"]),  # not only the first batch size is judged
        ([bench_row("fp32", max_dp=0.0011)], True, ["failed"]),
        ([bench_row("fp32", max_dp=0.0009)], True, ["passed"]),
        ([bench_row("int8", max_dp=0.19)], True, ["passed"]),
        ([bench_row(max_dp=None)], True, ["failed"]),
        ([bench_row(batch=0, reason="it is stale")], True, ["failed"]),
        ([bench_row(batch=0, reason="no GPU")], False, ["not run"]),
        ([bench_row(), bench_row(batch=8, reason="out of memory")], True, ["failed"]),
        ([bench_row(backend="onnxruntime 1", batch=0, reason="no CUDA")], True, ["not run"]),
        ([bench_row(), bench_row(backend="onnxruntime 1", max_dp=0.5)], True, ["passed", "failed"]),
    ],
)
def test_a_bench_is_judged_by_its_scores(rows: list[dict], ready: bool, outcomes: list[str]) -> None:
    part = gpu_check.Part("b")
    gpu_check.judge_bench(part, rows, ready)
    assert [outcome for _, outcome, _ in part.rows] == outcomes


# -- the soak ---------------------------------------------------------------------------------------------------------


GOOD = {
    "engines": ("a", "b.engine"), "ran": {"a", "b.engine"}, "gpu": False, "frames": 100, "judged": 100, "switches": 9,
    "seconds": 600.0, "memory": [(5.0 * step, 300.0, 500.0) for step in range(120)], "scores": {}, "errors": [],
}  # fmt: skip


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    monkeypatch.setattr(soaking, "gpu_mb", lambda: 500.0)
    yield made
    made.check()


def test_a_soak_switches_and_leaves_nothing(rig: Rig, student: Path, tmp_path: Path, astronaut: Image) -> None:
    write_engine(tmp_path / "a.engine", student)
    write_engine(tmp_path / "b.engine", student, max_batch=2)
    engines = [str(tmp_path / "a.engine"), str(student), str(tmp_path / "b.engine")]
    seen = soaking.soak(engines, [astronaut], minutes=0.03, switch_s=0.2)
    assert seen.problems() == []
    assert seen.switches >= 4
    assert seen.frames > 20
    assert len(seen.memory) > 5
    assert set(seen.scores) == {"a.engine", "student.onnx", "b.engine"}


def test_a_soak_on_a_gpu_whose_memory_is_not_read_has_failed(
    rig: Rig, student: Path, tmp_path: Path, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_engine(tmp_path / "a.engine", student)
    monkeypatch.setattr(soaking, "gpu_mb", lambda: -1.0)
    engines = [str(student), str(tmp_path / "a.engine")]
    seen = soaking.soak(engines, [astronaut], minutes=0.02, switch_s=0.2)
    assert seen.problems() == ["the GPU's memory could not be read"]


def test_a_soak_that_is_over_before_every_engine_ran_has_failed(
    rig: Rig, student: Path, tmp_path: Path, astronaut: Image
) -> None:
    write_engine(tmp_path / "a.engine", student)
    engines = [str(student), str(tmp_path / "a.engine")]
    seen = soaking.soak(engines, [astronaut], minutes=0.01, switch_s=60)
    assert "a.engine never ran" in seen.problems()
    assert any("changed 0 times" in problem for problem in seen.problems())


@pytest.mark.parametrize(
    ("changes", "outcome"), [({}, "passed"), ({"switches": 1}, "failed"), ({"errors": ["boom"]}, "failed")]
)
def test_the_verdict_of_a_soak_is_that_of_its_problems(
    check: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, object], outcome: str
) -> None:
    check.runnable = [tmp_path / "auto-fp16.engine", tmp_path / "centerface-fp16.engine"]
    asked: list[tuple[list[str], str]] = []

    def soak(engines: list[str], clip: object, minutes: float, detector: str, write: object) -> object:
        asked.append((engines, detector))
        return soaking.Soak(**(GOOD | {"engines": tuple(engines), "ran": set(engines)} | changes))

    monkeypatch.setattr(soaking, "soak", soak)
    monkeypatch.setattr(soaking, "sample", list)
    part = gpu_check.Part("s")
    check.soak(part)
    assert part.outcome == outcome
    assert asked == [(["auto", str(check.runnable[0])], str(check.runnable[1]))]


def test_a_soak_of_a_detectors_engine_alone_is_not_run(check: object, tmp_path: Path) -> None:
    check.runnable = [tmp_path / "centerface-fp16.engine"]
    part = gpu_check.Part("s")
    check.soak(part)
    assert part.outcome == "not run"


def test_a_soak_ends_with_the_first_error(rig: Rig, student: Path, tmp_path: Path, astronaut: Image) -> None:
    write_engine(tmp_path / "old.engine", student, version="10.16.1.11")
    seen = soaking.soak([str(student), str(tmp_path / "old.engine")], [astronaut], minutes=1, switch_s=0.1)
    assert seen.seconds < 30
    assert any("own version" in problem for problem in seen.problems())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"judged": 50}, "only 50 of 100"),
        ({"judged": 0, "frames": 0}, "only 0 of 0"),
        ({"ran": {"a"}}, "b.engine never ran"),
        ({"switches": 1}, "changed 1 times only"),
        ({"switches": 0, "engines": ("a",)}, None),
        ({"memory": []}, "never read"),
        ({"memory": [(0.0, 300.0, 500.0), (5.0, 300.0, -1.0)], "gpu": True}, "GPU's memory could not be read"),
        ({"memory": [(float(t), 300 + t, 500.0) for t in range(0, 600, 5)]}, "host memory grew"),
        ({"memory": [(float(t), 300.0, 500 + t) for t in range(0, 600, 5)]}, "GPU memory grew"),
        ({"memory": [(float(t), 300.0 + 400 * (t < 100), -1.0) for t in range(0, 600, 5)]}, None),  # while it settles
        ({"scores": {"a": [0.9, 0.9], "b": [0.1]}}, "disagree"),
    ],
)
def test_what_a_soak_complains_of(changes: dict[str, object], problem: str | None) -> None:
    seen = soaking.Soak(**(GOOD | changes))
    found = seen.problems()
    assert (not found) if problem is None else (problem in found[0])
