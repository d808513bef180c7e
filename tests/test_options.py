"""The options that choose engine and detector."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_tensorrt import Rig, install, write_engine

from dtda.app import options
from dtda.core.errors import DtdaError


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    made = install(monkeypatch, tmp_path / "engines")
    yield made
    made.check()


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x")
    options.add_options(parser)
    return parser.parse_args(words)


def test_a_detector_that_cannot_be_opened_leaves_no_engine_open(rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    with pytest.raises(DtdaError, match="not a detector"):
        options.open_parts(parse("--engine", str(tmp_path / "tiny.engine"), "--detector", "eyes"))
    assert rig.trt.enqueues > 0  # it was open; the rig tells that it is closed


def test_engine_and_detector_as_chosen(rig: Rig, student: Path, tmp_path: Path) -> None:
    write_engine(tmp_path / "tiny.engine", student)
    args = parse("--engine", str(tmp_path / "tiny.engine"), "--detector", "centerface")
    detector, engine = options.open_parts(args)
    assert (detector.name, engine.info.path) == ("CenterFace", args.engine)
    detector.close()
    engine.close()


def test_the_help_names_engines_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    told = " ".join(capsys.readouterr().out.split())
    assert "FILE.engine: a TensorRT engine made of one of them" in told
    assert "an ONNX student, a TensorRT engine" in told
