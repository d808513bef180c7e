from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtda.app.cli import main


def test_bench_shows_both_ways(clip: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    arguments = ["--source", str(clip), "--engine", str(student), "--frames", "20", "--out", str(out)]
    assert main(["bench", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "640x480" in printed
    assert "detect on every frame" in printed
    report = json.loads(out.read_text())
    tracked, detected = report["tables"]["detect_every_5"], report["tables"]["detect_every_1"]
    assert tracked["total"]["runs"] == detected["total"]["runs"] == detected["detect"]["runs"] == 20
    assert 3 <= tracked["detect"]["runs"] <= 6
    for table in (tracked, detected):
        assert {"read", "detect", "track", "quality", "align", "infer", "decide", "total"} == set(table)
        assert all(0 < row["median_ms"] <= row["p95_ms"] for row in table.values())
        assert table["total"]["median_ms"] < 1000
    assert tracked["total"]["median_ms"] < detected["total"]["median_ms"]


def test_bench_refuses_a_missing_source(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--source", "gone.mp4", "--engine", str(student)]) == 2
    assert "gone.mp4" in capsys.readouterr().err
