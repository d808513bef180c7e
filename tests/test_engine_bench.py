from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from dtda.app.commands import bench, engine_bench
from dtda.core.errors import DtdaError
from dtda.core.preprocess import CropRule
from dtda.core.types import Image
from dtda.engines import latency, parity, probe


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No GPU, no engines, and chips that need no rendering."""

    def chips(rule: CropRule, extra: object = ()) -> Image:
        return np.random.default_rng(0).integers(0, 255, (5, rule.size, rule.size, 3), dtype=np.uint8)

    nothing = probe.Probe(state="no_driver", text="No NVIDIA driver was found.")
    monkeypatch.setattr(probe, "probe", lambda refresh=False: nothing)
    monkeypatch.setattr(parity, "chips", chips)
    monkeypatch.setattr(latency, "TURN_S", 0.004)
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path / "engines"))


def bench_with(*words: str) -> int:
    parser = argparse.ArgumentParser()
    engine_bench.add_arguments(parser)
    return engine_bench.run(parser.parse_args(words))


def test_one_table_of_all_that_runs_and_all_that_does_not(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert bench_with(str(student), "--batch", "2,1", "--seconds", "0.02", "--no-compile", "--out", str(out)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].split()[0] for line in lines[2:]] == ["onnxruntime"] * 3 + ["TensorRT"] + ["torch"] * 5
    assert [line.count("|") for line in lines[:4]] == [15] * 4  # the header too: no |dp|, which would end a cell
    refused = [line for line in lines if "not run: " in line]
    assert len(refused) == 5
    assert any("onnxruntime cannot use CUDA here" in line for line in refused)
    assert any("No NVIDIA driver was found." in line for line in refused)
    assert sum("--no-compile" in line for line in refused) == 2

    rows = list(csv.DictReader((out / "bench.csv").read_text().splitlines()))
    report = json.loads((out / "bench.json").read_text())
    assert [row["batch"] for row in rows] == ["1", "2", "0", "0", "1", "2", "0", "0", "0"]
    assert len(report["rows"]) == len(rows)
    assert report["gpu"]["state"] == "no_driver"
    for row in report["rows"]:
        assert bool(row["reason"]) == (row["p50_ms"] is None)
        if not row["reason"]:
            assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
            assert row["max_dp"] < 1e-5
            assert row["threads"] >= 1
    assert report["rows"][0]["ratio"] == 1
    assert (out / "bench.png").stat().st_size > 10_000
    assert "torch" in (out / "bench.svg").read_text() or (out / "bench.svg").stat().st_size > 10_000


def test_without_matplotlib_the_figures_are_kept(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    assert bench_with(str(student), "--batch", "1", "--seconds", "0.01", "--out", str(tmp_path / "out")) == 0
    assert "no plot, as matplotlib is not installed" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.csv", "bench.json"]


def test_without_torch_its_rows_say_so(
    student: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    assert bench_with(str(student), "--batch", "1", "--seconds", "0.01") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| torch")]
    assert len(said) == 4
    assert all("not run: torch is not installed; run: pip install 'dtda-demo[train]'." in line for line in said)


def test_a_checkpoint_gives_torch_its_weights(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gone.ckpt"
    assert bench_with(str(student), str(path), "--batch", "1", "--seconds", "0.01", "--no-compile") == 0
    eager = next(line for line in capsys.readouterr().out.splitlines() if "eager" in line)
    assert f"not run: {path}: no such checkpoint" in eager


def test_checkpoints_are_compared_one_at_a_time(student: Path) -> None:
    with pytest.raises(DtdaError, match="one student at a time"):
        bench_with(str(student), "a.ckpt", "b.ckpt")


def test_a_missing_student_is_one_sentence() -> None:
    with pytest.raises(DtdaError, match=r"gone\.onnx: no such model file"):
        bench_with("gone.onnx")


@pytest.mark.parametrize("words", [["--batch", "0"], ["--batch", "two"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_nonsense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench_with(*words)


def test_nothing_is_measured_that_could_not_be_written(student: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DtdaError, match="cannot be written to"):
        bench_with(str(student), "--out", str(file / "inside"))


def test_the_two_benches_point_at_each_other() -> None:
    for module, other in ((bench.configure, "dtda engine bench"), (engine_bench.add_arguments, "dtda bench")):
        parser = argparse.ArgumentParser()
        module(parser)
        assert other in parser.format_help()
