from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Image
from dtda.engines import latency
from dtda.engines.latency import Row, measure

CHIPS: Image = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(16, 1).repeat(16, 2).repeat(3, 3)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "TURN_S", 0.004)


class Fake:
    """Takes `ms` a call and says the brightness of a chip. Writes its calls to `log`."""

    def __init__(self, name: str, log: list[str], ms: float = 0.5, shift: float = 0.0) -> None:
        self.name, self.log, self.ms, self.shift = name, log, ms, shift
        self.sizes: set[int] = set()
        self.first = 0.0
        self.breaks_at: Callable[[int], bool] = lambda size: False

    def infer(self, chips: Image) -> Floats:
        if self.breaks_at(len(chips)):
            raise DtdaError(f"{self.name} cannot take {len(chips)} faces.")
        time.sleep(self.ms / 1e3 + (self.first if len(chips) not in self.sizes else 0))
        self.sizes.add(len(chips))
        self.log.append(self.name)
        return np.asarray(chips[:, 0, 0, 0] / 255 + self.shift, np.float32)

    def close(self) -> None:
        self.log.append(f"close {self.name}")


def row(runner: Fake | DtdaError, name: str = "") -> Row:
    def opened() -> Fake:
        if isinstance(runner, DtdaError):
            raise runner
        return runner

    return Row("tiny", name or getattr(runner, "name", "none"), "fp32", "CPU", 1, Path("tiny.onnx"), opened)


def test_figures_of_a_slow_and_a_fast_engine() -> None:
    log: list[str] = []
    slow, fast = Fake("slow", log, ms=4), Fake("fast", log, ms=1)
    found = measure([row(slow), row(fast)], CHIPS, (1, 4), 0.05)
    assert [(one.row.backend, one.batch) for one in found] == [("slow", 1), ("slow", 4), ("fast", 1), ("fast", 4)]
    for one in found:
        assert one.reason == ""
        assert one.calls >= 5
        assert one.p50_ms <= one.p95_ms <= one.p99_ms
        assert one.max_dp == 0
    assert found[0].ratio == found[1].ratio == 1
    assert found[2].ratio > 1.5
    assert found[0].p50_ms >= 4
    assert found[3].faces_per_s > 2 * found[2].faces_per_s


def test_rows_take_turns() -> None:
    log: list[str] = []
    measure([row(Fake("a", log)), row(Fake("b", log))], CHIPS, (1,), 0.04)
    changes = sum(before != after for before, after in itertools.pairwise(log))
    assert changes > 8


def test_what_is_compiled_at_the_first_call_stands_apart() -> None:
    runner = Fake("compiled", [])
    runner.first = 0.5
    alone, many = measure([row(runner)], CHIPS, (1, 4), 0.02)
    assert alone.first_ms > 500
    assert many.first_ms > 500
    assert alone.p50_ms < 100


def test_a_wrong_engine_is_seen() -> None:
    found = measure([row(Fake("right", [])), row(Fake("wrong", [], shift=0.25))], CHIPS, (1, 4), 0.01)
    assert [one.max_dp for one in found] == pytest.approx([0, 0, 0.25, 0.25])


def test_what_is_not_a_number_is_as_wrong_as_can_be() -> None:
    found = measure([row(Fake("right", [])), row(Fake("broken", [], shift=math.nan))], CHIPS, (1,), 0.01)
    assert found[1].max_dp == 1


def test_every_chip_is_compared_at_every_batch_size() -> None:
    runner, reference = Fake("last", []), Fake("right", [])
    seen: list[int] = []
    infer = runner.infer
    runner.infer = lambda chips: (seen.extend(chips[:, 0, 0, 0].tolist()), infer(chips))[1]  # type: ignore[method-assign]
    measure([row(reference), row(runner)], CHIPS, (4,), 0.001)
    assert set(seen) == {0, 1, 2, 3, 4}


def test_what_cannot_be_opened_is_in_the_result() -> None:
    log: list[str] = []
    found = measure([row(Fake("right", log)), row(DtdaError("no GPU."), "gpu")], CHIPS, (1, 2), 0.01)
    assert [(one.row.backend, one.batch, one.reason) for one in found] == [
        ("right", 1, ""),
        ("right", 2, ""),
        ("gpu", 0, "no GPU."),
    ]
    assert math.isnan(found[2].p50_ms)
    assert log[-1] == "close right"


def test_what_fails_at_its_first_call_is_not_tried_again() -> None:
    broken = Fake("broken", [])
    tried: list[int] = []
    broken.breaks_at = lambda size: tried.append(size) is None
    found = measure([row(Fake("right", [])), row(broken)], CHIPS, (1, 2, 4), 0.01)
    assert [(one.batch, one.reason) for one in found[3:]] == [(0, "broken cannot take 1 faces.")]
    assert tried == [1]


def test_what_fails_at_a_large_batch_only() -> None:
    broken = Fake("broken", [])
    broken.breaks_at = lambda size: size == 4
    found = measure([row(Fake("right", [])), row(broken)], CHIPS, (1, 4), 0.01)
    assert [(one.batch, one.reason) for one in found[2:]] == [(1, ""), (4, "broken cannot take 4 faces.")]


def test_what_fails_later_has_no_figures() -> None:
    broken = Fake("broken", [])
    broken.breaks_at = lambda size: len(broken.log) > 12
    found = measure([row(Fake("right", [])), row(broken)], CHIPS, (1,), 0.05)
    assert found[1].reason
    assert found[1].calls == 0
    assert found[0].calls > 0


def test_all_are_closed_in_reverse_even_after_an_error() -> None:
    log: list[str] = []
    bad = Fake("bad", log)
    bad.infer = lambda chips: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(ZeroDivisionError):
        measure([row(Fake("a", log)), row(Fake("b", log)), row(bad)], CHIPS, (1,), 0.01)
    assert log[-3:] == ["close bad", "close b", "close a"]


def test_nothing_is_measured_without_the_reference() -> None:
    with pytest.raises(DtdaError, match=r"nothing to compare with: gone\."):
        measure([row(DtdaError("gone.")), row(Fake("b", []))], CHIPS, (1,), 0.01)
