"""Live sources: cameras and network streams, with a watchdog, since `VideoCapture.read` may hang or repeat itself."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import cv2
import numpy as np

from dtda.app.mailbox import Closed, Mailbox
from dtda.core.errors import DtdaError
from dtda.core.types import Frame, Image

OPEN_SECONDS = 4.5  # an address that answers later is refused
SILENCE_SECONDS = (
    2.0  # a camera that has sent nothing new for this long is gone: unplugged ones repeat their last frame
)
STREAM_SILENCE_SECONDS = 4.0  # networks stall for longer than cameras
_TIMEOUTS = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 4000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 4000]
# One backend per platform, the one whose device indices `cameras` lists.
_BACKENDS = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")


def cameras() -> list[tuple[int, str]]:
    """(index, device name) of the cameras plugged in, by index; no camera is opened for it."""
    from cv2_enumerate_cameras import enumerate_cameras

    backend = _BACKENDS.get(sys.platform)
    if backend is None:
        return []
    return sorted((camera.index, camera.name or f"camera {camera.index}") for camera in enumerate_cameras(backend))


def open_camera(spec: str) -> StreamSource:
    """Open "camera" (the first one) or "camera:N". Raises DtdaError naming the cameras there are."""
    found = dict(cameras())
    _, _, number = spec.partition(":")
    if number and not number.isdecimal():
        raise DtdaError(f"{spec}: a camera is named camera or camera:N with its number, as in camera:0.")
    if not found:
        raise DtdaError("No camera was found; plug one in, or use --source sample, a file, a folder or a URL.")
    index = int(number) if number else min(found)
    if index not in found:
        there = ", ".join(f"camera:{i} ({name})" for i, name in found.items())
        raise DtdaError(f"There is no camera {index}; there is {there}.")
    return StreamSource(
        found[index],
        lambda: cv2.VideoCapture(index, _BACKENDS[sys.platform]),
        SILENCE_SECONDS,
        "cannot be opened; another program may be using it, or this one is not allowed to use cameras",
        repeats=False,
    )


def open_url(url: str) -> StreamSource:
    """Open a network stream. Raises DtdaError when the address refuses or does not answer within 5 s."""
    address = urlsplit(url)
    if address.scheme.lower() not in _SCHEMES:
        raise DtdaError(f"{address.scheme}:// is not a kind of address that is read; {', '.join(_SCHEMES)} are.")
    title = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"  # without the password
    return StreamSource(
        title,
        lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG, _TIMEOUTS),
        STREAM_SILENCE_SECONDS,
        "does not answer with a video; check the address, the password and the network",
        repeats=True,
    )


class StreamSource:
    """One camera or network stream. A thread of its own keeps reading, so that `read` can time out."""

    live = True
    length: int | None = None
    clip = 0
    skipped: Sequence[str] = ()

    def __init__(
        self,
        title: str,
        connect: Callable[[], cv2.VideoCapture],
        silence: float,
        refusal: str,
        repeats: bool,
    ) -> None:
        """silence: seconds without a new picture after which the source is given up. refusal: said when it does not
        open. repeats: whether a picture equal to the last counts as new (a stream of a still scene may send those).
        """
        self.title = title
        self.clips: Sequence[str] = (title,)
        self.fps = 0.0
        self._connect = connect
        self._silence = silence
        self._repeats = repeats
        self._frames: Mailbox[Frame] = Mailbox()
        self._opened = threading.Event()
        self._closing = threading.Event()
        self._ended = False
        self._failure: str | None = None
        self._started = False
        self._thread = threading.Thread(target=self._run, args=(refusal,), name="stream", daemon=True)
        self._thread.start()
        if not self._opened.wait(OPEN_SECONDS):
            self._closing.set()
            raise DtdaError(f"{title}: no answer within {OPEN_SECONDS:.0f} seconds; check the cable or the network.")
        if self._failure is not None:
            raise DtdaError(self._failure)

    def read(self) -> Frame | None:
        patience = self._silence if self._started else OPEN_SECONDS  # cameras take long over their first picture
        try:
            frame = self._frames.get(patience)
        except queue.Empty:
            raise DtdaError(
                f"{self.title}: no new picture for {patience:.0f} seconds: the camera or the connection is gone or frozen."
            ) from None
        except Closed:
            if self._ended:
                return None
            raise DtdaError(self._failure or f"{self.title}: the source is closed.") from None
        self._started = True
        return frame

    def seek(self, index: int) -> None:
        raise ValueError("a live source cannot be sought")

    def select(self, clip: int) -> None:
        if clip != 0:
            raise ValueError("a live source has one clip")

    def close(self) -> None:
        self._closing.set()
        self._frames.close()
        # A driver that hangs keeps its thread; that one is a daemon and releases the device when it comes back.
        self._thread.join(1)

    def _run(self, refusal: str) -> None:
        capture: cv2.VideoCapture | None = None
        try:
            capture = self._connect()
            if not capture.isOpened():
                self._failure = f"{self.title} {refusal}."
                return
            self.fps = max(capture.get(cv2.CAP_PROP_FPS), 0.0)
            self._opened.set()
            self._deliver(capture, capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)
        except Closed:
            pass
        except cv2.error:
            self._failure = f"{self.title}: the driver failed; connect it again or check the address."
        finally:
            self._opened.set()
            self._frames.close()
            if capture is not None:
                capture.release()

    def _deliver(self, capture: cv2.VideoCapture, finite: bool) -> None:
        """Put every new picture into the mailbox until the end. finite: a file behind a URL, paced by its own times."""
        start = time.perf_counter()
        last: Image | None = None
        index = 0
        while not self._closing.is_set():
            ok, picture = capture.read()
            now = time.perf_counter()
            if not ok:
                self._ended = finite and index > 0
                self._failure = f"{self.title} stopped sending pictures; check the cable or the network."
                return
            bgr: Image = np.asarray(picture, dtype=np.uint8)
            if finite:
                ahead = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 - (now - start)
                time.sleep(min(max(ahead, 0), 1))
            if self._repeats or last is None or not np.array_equal(bgr, last):
                self._frames.put(Frame(index, now - start, bgr, now, self.title))
                last = bgr
            index += 1
