from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtda.app.sample import Rendering
from dtda.core.errors import DtdaError

pytestmark = pytest.mark.timeout(20)


class Renderer:
    """Writes its clips only when told to."""

    def __init__(self, write_clip: Callable[..., Path]) -> None:
        self.write = write_clip
        self.go = {name: threading.Event() for name in ("live", "print")}
        self.rendered: list[str] = []

    def __call__(self, name: str, path: Path) -> None:
        self.go[name].wait(10)
        self.write(path, [np.zeros((48, 64, 3), np.uint8)] * 2)
        self.rendered.append(name)


def test_a_clip_waits_only_for_itself_and_is_kept(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    renderer = Renderer(write_clip)
    rendering = Rendering(tmp_path / "cache", ["live", "print"], renderer)
    renderer.go["live"].set()
    assert rendering.path(0).name == "live.mp4"
    assert renderer.rendered == ["live"]
    renderer.go["print"].set()
    assert rendering.path(1).stat().st_size > 0
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["live.mp4", "print.mp4"]
    again = Rendering(tmp_path / "cache", ["live", "print"], renderer)
    assert again.path(1).is_file()
    assert renderer.rendered == ["live", "print"]


def test_a_failure_reaches_the_reader_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(name: str, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    rendering = Rendering(tmp_path / "cache", ["live"], fail)
    with pytest.raises(DtdaError, match=r"No space left on device.*make room"):
        rendering.path(0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_stopping_cancels_what_has_not_begun(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    renderer = Renderer(write_clip)
    rendering = Rendering(tmp_path, ["live", "print"], renderer)
    rendering.stop()
    renderer.go["live"].set()
    with pytest.raises(DtdaError, match="closed"):
        rendering.path(1)
    assert "print" not in renderer.rendered
