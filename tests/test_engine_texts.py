"""Words for sizes, times, parity and machines."""

from __future__ import annotations

import pytest
import surveys

from dtda.app import engine_texts as texts
from dtda.engines import request


def test_numbers_are_put_as_users_read_them() -> None:
    assert [texts.size(count) for count in (12_000, 3_400_000)] == ["12 kB", "3.4 MB"]
    assert [texts.elapsed(seconds) for seconds in (0.4, 59.9, 61, 600)] == ["0:00", "0:59", "1:01", "10:00"]
    assert (texts.milliseconds(0.314), texts.milliseconds(None)) == ("0.31 ms", "–")
    assert [texts.flips(count) for count in (0, 1, 7)] == ["no verdict flips", "1 verdict flips", "7 verdicts flip"]


def test_cards_are_named_where_they_are_known() -> None:
    assert texts.cards(["8.6", "8.9", "12.0"]) == "GeForce RTX 30, 40 and 50 (compute capability 8.6, 8.9, 12.0)"
    assert texts.cards(["9.0"]) == "compute capability 9.0"


def test_the_time_of_a_build_is_that_of_this_place() -> None:
    assert texts.built("2026-11-22T18:20:00+00:00").startswith("2026-11-2")
    assert (texts.built(""), texts.built("yesterday")) == ("–", "yesterday")


def test_parity_is_told_whether_it_passed_failed_or_was_not_checked() -> None:
    passed = texts.parity_sentence(surveys.PARITY)
    assert passed.startswith("Passed: within the limits")
    assert "max |dp| 0.0012 (at most 0.02)" in passed
    failed = surveys.PARITY.model_copy(update={"passed": False, "flips": 3})
    assert texts.parity_sentence(failed).startswith("Refused")
    assert texts.parity_sentence(None).startswith("Not compared")
    assert texts.parity(surveys.engine()) == "0.0012, 0 flips"
    assert texts.parity(surveys.engine(parity=None)) == texts.NOT_COMPARED == "not compared"
    assert texts.parity(surveys.survey().rows[0]) == "reference"


def test_the_machine_is_told_and_what_building_means_on_it() -> None:
    assert texts.machine(surveys.READY) == (
        "NVIDIA GeForce RTX 4070 (compute capability 8.9), driver 580.65.06, TensorRT 11.4.0.106 with pycuda."
    )
    assert texts.machine(surveys.NO_GPU) == surveys.NO_GPU.text
    assert texts.build_offer(surveys.READY) == ""
    assert "can be built here all the same" in texts.build_offer(surveys.NO_GPU)
    assert "cannot be built here" in texts.build_offer(surveys.NO_TENSORRT)


def test_all_facts_of_an_engine_are_told() -> None:
    facts = dict(texts.facts(surveys.engine(fp32_nodes=["a", "b"], notes=["Careful."])))
    assert facts["File"] == "/engines/tiny.fp16.engine"
    assert facts["Runs on"] == "TensorRT 11.4.0.106, NVIDIA GeForce RTX 4070"
    assert facts["Precision"] == "FP16, 2 nodes in FP32; up to 8 faces at once"
    assert "from tiny.onnx in 48 s" in facts["Built"]
    assert facts["Note"] == "Careful."
    assert "tiny.onnx, which it was built from, is gone" in facts["Student"]
    assert list(dict(texts.facts(surveys.damaged()))) == ["File", "Runs on"]


def test_the_builder_knows_the_precisions_and_targets_offered() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    request.add_arguments(parser)
    for targets in texts.TARGETS:
        for name in texts.PRECISIONS:
            parser.parse_args(["a.onnx", "--target", targets, "--precision", name])


@pytest.mark.parametrize("targets", texts.TARGETS)
def test_tensorrt_rtx_builds_for_the_targets_offered(targets: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    names = [f"SM{target.replace('.', '')}" for target in targets.split(",")]
    assert [name for name in names if not hasattr(trt.ComputeCapability, name)] == []
