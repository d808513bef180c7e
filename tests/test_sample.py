from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtda.app.sample import Rendering
from dtda.app.sources import open_source
from dtda.core.errors import DtdaError
from dtda.engines.detect import open_detector

pytestmark = pytest.mark.timeout(20)


class Renderer:
    """Writes its clips only when told to."""

    def __init__(self, write_clip: Callable[..., Path]) -> None:
        self.write = write_clip
        self.go = {name: threading.Event() for name in ("live", "print")}
        self.rendered: list[str] = []

    def __call__(self, name: str, path: Path, stopped: Callable[[], bool]) -> None:
        self.go[name].wait(10)
        self.write(path, [np.zeros((48, 64, 3), np.uint8)] * 2)
        self.rendered.append(name)


def test_a_clip_waits_only_for_itself_and_is_kept(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    renderer = Renderer(write_clip)
    rendering = Rendering(tmp_path / "cache", ["live", "print"], renderer)
    renderer.go["live"].set()
    assert rendering.path(0).name == "live.avi"
    assert renderer.rendered == ["live"]
    renderer.go["print"].set()
    assert rendering.path(1).stat().st_size > 0
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["live.avi", "print.avi"]
    again = Rendering(tmp_path / "cache", ["live", "print"], renderer)
    assert again.path(1).is_file()
    assert renderer.rendered == ["live", "print"]


def test_a_failure_reaches_the_reader_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(name: str, path: Path, stopped: Callable[[], bool]) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    rendering = Rendering(tmp_path / "cache", ["live"], fail)
    with pytest.raises(DtdaError, match=r"No space left on device.*make room"):
        rendering.path(0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_leftovers_of_ended_processes_are_removed(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    for name, age in ((".12.live.avi", 4000), (".12..12-live.avi", 4000), (".34-print.avi", 60), ("print.avi", 4000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    renderer = Renderer(write_clip)
    renderer.go["live"].set()
    Rendering(tmp_path, ["live"], renderer).path(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".34-print.avi", "live.avi", "print.avi"]


def test_stopping_cancels_what_has_not_begun(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    renderer = Renderer(write_clip)
    rendering = Rendering(tmp_path, ["live", "print"], renderer)
    rendering.stop()
    renderer.go["live"].set()
    with pytest.raises(DtdaError, match="closed"):
        rendering.path(1)
    assert "print" not in renderer.rendered


def test_opened_twice_at_once_it_is_rendered_once(write_clip: Callable[..., Path], tmp_path: Path) -> None:
    renderer = Renderer(write_clip)
    first, second = (Rendering(tmp_path, ["live"], renderer) for _ in range(2))
    renderer.go["live"].set()
    assert first.path(0) == second.path(0)
    assert renderer.rendered == ["live"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_real_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *args, **kwargs: str(tmp_path))
    source = open_source("sample")
    assert source.clips == ("live", "print", "screen")
    for clip in range(3):
        source.select(clip)
        frames = list(iter(source.read, None))
        assert len(frames) == source.length
        assert frames[0].bgr.shape == (480, 640, 3)
        assert len(open_detector("centerface").detect(frames[5].bgr)) == 1
    source.close()
    assert capfd.readouterr() == ("", "")


def test_the_clips_are_the_same_everywhere_and_move() -> None:
    from itertools import islice

    from dtda.core.simulate.sample import raw_frames

    first, second = (list(islice(raw_frames("live"), 3)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first[0].shape == (480, 640, 3)
    assert not np.array_equal(first[0], first[2])
    with pytest.raises(ValueError, match="no sample clip"):
        next(raw_frames("mask"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "rendering.stop()"])
def test_quitting_in_the_middle_of_a_clip_is_quick_and_clean(ending: str, tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from dtda.app.sample import Rendering\n"
        "from dtda.core.simulate.sample import CLIPS, render_clip\n"
        f"rendering = Rendering(Path({str(tmp_path)!r}), CLIPS, render_clip); time.sleep(0.4); {ending}\n"
        "print(time.time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    left = time.time() - float(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert left < 3
    assert not list(tmp_path.glob("screen.avi"))
