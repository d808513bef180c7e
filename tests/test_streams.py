from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dtda.app import streams
from dtda.app.streams import StreamSource, open_camera, open_url
from dtda.core.errors import DtdaError
from dtda.core.types import Image

pytestmark = pytest.mark.timeout(20)


class FakeCamera:
    """A capture at about 100 fps that misbehaves after some frames."""

    def __init__(self, mishap: str = "", after: int = 5, delay: float = 0.0) -> None:
        self.mishap = mishap
        self.after = after
        self.delay = delay
        self.count = 0
        self.released = threading.Event()
        self.unblock = threading.Event()

    def isOpened(self) -> bool:
        return self.mishap != "absent"

    def get(self, prop: int) -> float:
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, Image | None]:
        time.sleep(0.01 if self.count else self.delay)
        self.count += 1
        if self.count > self.after and self.mishap == "hangs":
            self.unblock.wait()
        if self.count > self.after and self.mishap == "raises":
            cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))
        if self.count > self.after and self.mishap == "fails":
            return False, None
        shown = min(self.count, self.after) if self.mishap == "repeats" else self.count
        return True, np.full((8, 8, 3), shown % 256, np.uint8)

    def release(self) -> None:
        self.released.set()


def source_of(camera: FakeCamera, silence: float = 0.2) -> StreamSource:
    return StreamSource("Webcam", lambda: camera, silence, "cannot be opened", repeats=False)  # type: ignore[arg-type,return-value]


def read_until(source: StreamSource, deadline: float) -> None:
    while source.read() is not None:
        assert time.monotonic() < deadline


def test_newest_frame_wins_and_indices_show_the_gap() -> None:
    camera = FakeCamera()
    source = source_of(camera)
    assert (source.live, source.fps, source.length, source.clips) == (True, 30, None, ("Webcam",))
    first = source.read()
    time.sleep(0.2)
    second = source.read()
    assert first is not None
    assert second is not None
    assert second.index > first.index + 3
    assert second.t - first.t > 0.1
    assert time.perf_counter() - second.captured < 1
    source.close()
    source.close()
    assert camera.released.wait(1)
    with pytest.raises(DtdaError, match="closed"):
        source.read()


@pytest.mark.parametrize(
    ("mishap", "message"),
    [
        ("hangs", "no new picture"),
        ("repeats", "no new picture"),
        ("fails", "stopped sending"),
        ("raises", "the driver failed"),
    ],
)
def test_a_camera_that_is_gone_raises(mishap: str, message: str) -> None:
    camera = FakeCamera(mishap)
    source = source_of(camera)
    start = time.monotonic()
    with pytest.raises(DtdaError, match=message):
        read_until(source, start + 5)
    camera.unblock.set()
    source.close()
    assert camera.released.wait(1)


def test_the_first_picture_may_take_longer_than_the_others() -> None:
    camera = FakeCamera(delay=0.5)
    source = source_of(camera, silence=0.2)
    assert source.read() is not None
    source.close()


def test_close_returns_although_the_driver_hangs() -> None:
    camera = FakeCamera("hangs", after=0)
    source = source_of(camera)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 2
    camera.unblock.set()
    assert camera.released.wait(1)


def test_a_camera_that_does_not_open_is_refused() -> None:
    with pytest.raises(DtdaError, match="Webcam cannot be opened"):
        source_of(FakeCamera("absent"))


def test_a_driver_that_fails_while_opening_is_refused_at_once() -> None:
    def connect() -> FakeCamera:
        raise cv2.error("assertion")

    start = time.monotonic()
    with pytest.raises(DtdaError, match="the driver failed"):
        StreamSource("Webcam", connect, 1, "", repeats=False)  # type: ignore[arg-type]
    assert time.monotonic() - start < 1


def test_a_device_that_never_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "OPEN_SECONDS", 0.1)
    unblock = threading.Event()

    def connect() -> FakeCamera:
        unblock.wait()
        return FakeCamera()

    with pytest.raises(DtdaError, match="no answer"):
        StreamSource("Webcam", connect, 1, "", repeats=False)  # type: ignore[arg-type]
    unblock.set()


def test_cameras_are_named_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "cameras", lambda: [(0, "Front"), (4, "Back")])
    with pytest.raises(DtdaError, match=r"no camera 2; there is camera:0 \(Front\), camera:4 \(Back\)"):
        open_camera("camera:2")
    monkeypatch.setattr(streams, "cameras", list)
    with pytest.raises(DtdaError, match="--source sample"):
        open_camera("camera")


@pytest.fixture
def served(astronaut: Image, tmp_path: Path) -> Iterator[str]:
    """URL of a clip of 15 frames at 15 fps on a local web server."""
    # AVI: an MP4 of OpenCV has its index at the end, and this server sends no ranges.
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for _ in range(15):
        writer.write(astronaut)
    writer.release()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(clip.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{clip.name}"
    server.shutdown()
    server.server_close()


def test_a_file_behind_a_url_plays_at_its_own_pace_and_ends(served: str) -> None:
    source = open_url(served)
    start = time.monotonic()
    frames = list(iter(source.read, None))
    assert 0.5 < time.monotonic() - start < 10
    assert len(frames) >= 10
    assert frames[0].bgr.shape == (480, 640, 3)
    source.close()


def test_the_password_stays_out_of_title_and_message() -> None:
    with pytest.raises(DtdaError) as caught:
        open_url("http://user:secret@127.0.0.1:9/a.mp4?token=hidden")
    assert "127.0.0.1:9/a.mp4" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)
