"""The lines a build writes are read back as what they were; anything else is refused."""

from __future__ import annotations

import json

import pytest

from dtda.engines import events

ALL = [
    events.Start(
        student="s", precision="fp16", package="tensorrt_rtx", version="1.7", target=["8.9"], gpu="", out="/x"
    ),
    events.Phase(name="Building", progress=0.25, elapsed=1.5),
    events.Log(level="warning", text="two\nlines, and ü"),
    events.Note(text="assumed"),
    events.Compared(frames=9, max_dp=0.1, mean_dp=0.01, flips=0, limit=0.2, passed=True, reference="onnxruntime"),
    events.Done(path="/x.engine", seconds=1, bytes=2, runs_here=False, why="no GPU"),
    events.Failed(text="no"),
    events.Cancelled(),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_lines_are_read_back(event: events.Event) -> None:
    assert event.line.count("\n") == 1
    assert json.loads(event.line)["event"] == event.event
    assert events.parse(event.line) == event
    assert events.parse(event.line.encode()) == event


@pytest.mark.parametrize(
    "line",
    ["", "hello", "{}", '{"event": "fly"}', '{"event": "phase", "name": "x", "progress": 2, "elapsed": 0}', b"\xff"],
)
def test_other_lines_are_refused(line: str | bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        events.parse(line)
