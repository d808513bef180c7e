"""Where frames come from: files and folders here, cameras and URLs in streams.py, the generated clips in sample.py."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dtda.app.records import is_camera
from dtda.core.errors import DtdaError
from dtda.core.types import Frame, Image

# FFmpeg and the camera drivers chatter on stderr about files that DtdaError already explains.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".flv", ".3gp")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NOMINAL_FPS = 25.0  # spaces the frames of a video that names neither times nor rate


class Source(Protocol):
    """A playlist of clips; a camera or a network stream is one clip without an end.

    title: for the window title. live: frames are dropped when late. clips: names. clip: index of the one being read.
    fps: of the current clip, 0 if unknown. length: frames of the current clip, None if unknown or live. skipped: one
    sentence for each clip at the head of the list that could not be opened, so that `clip` began behind them.
    """

    title: str
    live: bool
    clips: Sequence[str]
    clip: int
    fps: float
    length: int | None
    skipped: Sequence[str]

    def read(self) -> Frame | None:
        """The next frame, None when the clip has ended. Raises DtdaError when the camera vanished or a file broke."""

    def seek(self, index: int) -> None:
        """Let the next frame of the current clip be that of this index (held within the clip)."""

    def select(self, clip: int) -> None:
        """Open another clip of the list. Raises DtdaError and stays with the current one when it cannot be read."""

    def close(self) -> None:
        """Release the device or file. Idempotent."""


def open_source(spec: str) -> Source:
    """Open "camera", "camera:N", "sample", a video or picture file, a folder of them, or a URL.

    Raises DtdaError with the way out. Takes at most 5 s, except that the first use of "sample" renders its first clip.
    """
    if not spec:
        raise DtdaError("No source is named; name camera, sample, a file, a folder or a URL.")
    if spec == "sample":
        from dtda.app.sample import open_sample

        return open_sample()
    if is_camera(spec):
        from dtda.app.streams import open_camera

        return open_camera(spec)
    if "://" in spec:
        from dtda.app.streams import open_url

        return open_url(spec)
    path = Path(spec).expanduser()
    if not path.is_dir():
        return FileSource(path.name, [path.name], lambda _: path)
    files = media_files(path)
    if not files:
        raise DtdaError(f"{path}: no video or picture in this folder; the types read are {_types()}.")
    return FileSource(path.name or str(path), [file.relative_to(path).as_posix() for file in files], files.__getitem__)


def media_files(folder: Path) -> list[Path]:
    """The videos and pictures below a folder, in natural order (clip2 before clip10); hidden files are left out."""
    found = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEOS + PICTURES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which digits compare as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.casefold())]


class FileSource:
    """Videos and pictures, one clip each. Frames are read at the caller's pace and none is lost."""

    live = False

    def __init__(
        self,
        title: str,
        clips: Sequence[str],
        locate: Callable[[int], Path],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens the first clip that can be opened. Raises DtdaError when there is none.

        locate: path of a clip by its index; it may wait until the file exists. on_close: what else to release.
        """
        self.title = title
        self.clips: Sequence[str] = tuple(clips)
        self._locate = locate
        self._on_close = on_close
        self._open: _Video | _Picture | None = None
        try:
            self.skipped: Sequence[str] = self._begin()
        except BaseException:
            on_close()
            raise

    def _begin(self) -> tuple[str, ...]:
        errors: list[str] = []
        for clip in range(len(self.clips)):
            try:
                self.select(clip)
            except DtdaError as error:
                errors.append(str(error))
            else:
                return tuple(errors)
        if len(errors) == 1:
            raise DtdaError(errors[0])
        raise DtdaError(f"{self.title}: none of its {len(errors)} clips can be opened; the first: {errors[0]}")

    def select(self, clip: int) -> None:
        opened = _open_file(self._locate(clip))
        if self._open is not None:
            self._open.close()
        self._open = opened
        self.clip = clip
        self.fps = opened.fps
        self.length = opened.length

    def read(self) -> Frame | None:
        if self._open is None:
            raise DtdaError(f"{self.title}: the source is closed.")
        step = self._open.read()
        if step is None:
            return None
        index, t, bgr = step
        return Frame(index, t, bgr, time.perf_counter(), self.clips[self.clip])

    def seek(self, index: int) -> None:
        if self._open is not None:
            last = index if self.length is None else min(index, self.length - 1)
            self._open.seek(max(last, 0))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
            self._on_close()


class _Picture:
    """A clip of one frame."""

    fps = 0.0
    length = 1

    def __init__(self, path: Path) -> None:
        # Not cv2.imread: it cannot open non-ASCII paths on Windows. IMREAD_COLOR turns the picture as its EXIF says.
        decoded = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise DtdaError(
                f"{path}: not a readable {path.suffix[1:].upper()} picture; open it elsewhere and save it again."
            )
        self._bgr: Image = np.asarray(decoded, dtype=np.uint8)
        self._read = False

    def read(self) -> tuple[int, float, Image] | None:
        if self._read:
            return None
        self._read = True
        return 0, 0.0, self._bgr

    def seek(self, index: int) -> None:
        self._read = False

    def close(self) -> None:
        pass


class _Video:
    """A video file. OpenCV turns its frames as the rotation metadata says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Absolute, since FFmpeg takes the 12: of 12:30.mp4 for a protocol; bytes, since OpenCV crashes on a str for a
        # name that is not UTF-8.
        name = os.fsencode(path.absolute())
        self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)  # type: ignore[call-overload]
        if not self._capture.isOpened():
            raise DtdaError(
                f"{path}: not a readable video (damaged, cut short, or not what its name says); "
                "convert or copy it again."
            )
        self.fps = max(self._capture.get(cv2.CAP_PROP_FPS), 0.0)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = count if count > 0 else None
        self._next = 0
        self._t = -1.0

    def read(self) -> tuple[int, float, Image] | None:
        """(index, seconds, frame). Raises DtdaError when not even one frame can be decoded."""
        with _explained(self._path):
            ok, bgr = self._capture.read()
        if not ok:
            if self._next == 0:
                raise DtdaError(f"{self._path}: no frame of this video can be decoded; convert it to MP4 (H.264).")
            return None
        index, self._next = self._next, self._next + 1
        t = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not t > self._t:  # some containers carry no times
            t = max(index / (self.fps or NOMINAL_FPS), self._t)
        self._t = t
        return index, t, np.asarray(bgr, dtype=np.uint8)

    def seek(self, index: int) -> None:
        with _explained(self._path):
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        self._next = index
        self._t = -1.0

    def close(self) -> None:
        self._capture.release()


def _open_file(path: Path) -> _Video | _Picture:
    if not path.is_file():
        raise DtdaError(f"{path}: no such file or folder.")
    suffix = path.suffix.lower()
    if suffix not in VIDEOS + PICTURES:
        raise DtdaError(f"{path}: {suffix or 'a file without a suffix'} is not a type that is read; {_types()} are.")
    if not os.access(path, os.R_OK):
        raise DtdaError(f"{path}: this file may not be read by you; change its permissions or copy it.")
    if path.stat().st_size == 0:
        raise DtdaError(f"{path}: the file is empty (0 bytes); copy it again.")
    with _explained(path):
        return _Picture(path) if suffix in PICTURES else _Video(path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What OpenCV and the system raise at a file, as a DtdaError."""
    try:
        yield
    except cv2.error as error:
        raise DtdaError(
            f"{path}: cannot be decoded (damaged, or too large in pixels); save it again, or smaller."
        ) from error
    except OSError as error:
        raise DtdaError(f"{path}: cannot be read ({error.strerror or error}); copy it again.") from error


def _types() -> str:
    return " ".join(suffix[1:] for suffix in VIDEOS + PICTURES)
