"""Frames of clips on disk: videos, pictures and HDF5 containers, a few frames each, spread evenly over the clip."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.types import Image

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".flv", ".3gp")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
CONTAINERS = (".hdf5", ".h5")
SUFFIXES = VIDEOS + PICTURES + CONTAINERS


def need_library(paths: Iterable[Path]) -> None:
    """Raises DtdaError with the install line when one of the files needs a library that is missing here."""
    container = next((path for path in paths if path.suffix.lower() in CONTAINERS), None)
    if container is None:
        return
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise DtdaError(f"{container}: HDF5 files need h5py, which is not installed; run: pip install h5py.") from error


def picked(length: int, count: int) -> list[int]:
    """Indices of `count` frames, the middles of equal parts of a clip; all of them where it is shorter."""
    if length <= count:
        return list(range(length))
    return [(2 * number + 1) * length // (2 * count) for number in range(count)]


def read_frames(path: Path, count: int) -> Iterator[tuple[int, Image]]:
    """(index, uint8 [H, W, 3] BGR) of `count` frames of a clip, turned as its metadata says.

    Raises DtdaError when the file is missing or not readable, or holds no frame.
    """
    if not path.is_file():
        raise DtdaError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        yield from _contained(path, count)
    elif suffix in VIDEOS:
        yield from _filmed(path, count)
    else:
        picture = read_picture(path)
        if picture is None:
            raise DtdaError(f"{path}: not a readable picture.")
        yield 0, picture


def _filmed(path: Path, count: int) -> Iterator[tuple[int, Image]]:
    # Containers lie about their length, so frames are counted by decoding them.
    wanted = picked(_length(path), count)
    capture = _open(path)
    try:
        for index in range(wanted[-1] + 1 if wanted else 0):
            found = capture.grab()
            if found and index in wanted:
                found, bgr = capture.retrieve()
                if found:
                    yield index, np.asarray(bgr, np.uint8)
            if not found:
                raise DtdaError(f"{path}: its frame {index} cannot be decoded; copy the video again.")
    except cv2.error as error:
        raise DtdaError(f"{path}: cannot be decoded (damaged); copy the video again.") from error
    finally:
        capture.release()


def _length(path: Path) -> int:
    capture = _open(path)
    length = 0
    try:
        while capture.grab():
            length += 1
    except cv2.error:  # the frames before the damage are good
        pass
    finally:
        capture.release()
    if not length:
        raise DtdaError(f"{path}: no frame of this video can be decoded.")
    return length


def _open(path: Path) -> cv2.VideoCapture:
    # Absolute, since FFmpeg takes the 12: of 12:30.mp4 for a protocol; bytes, since OpenCV crashes on a str for a name
    # that is not UTF-8.
    capture = cv2.VideoCapture(os.fsencode(path.absolute()), cv2.CAP_FFMPEG)  # type: ignore[call-overload]
    if not capture.isOpened():
        raise DtdaError(f"{path}: not a readable video (damaged, cut short, or not what its name says).")
    return capture


def _contained(path: Path, count: int) -> Iterator[tuple[int, Image]]:
    """Frames of groups `Frame_<n>/array`, or of the first 4-D colour data set; RGB, channels first or last."""
    need_library([path])
    import h5py

    try:
        with h5py.File(path) as file:
            frames = _frames_of(file)
            if not frames:
                raise DtdaError(f"{path}: holds no colour frames (groups Frame_<n> or a 4-D data set color).")
            for index in picked(len(frames), count):
                array = np.asarray(frames[index])
                if array.ndim == 3 and array.shape[0] == 3:
                    array = array.transpose(1, 2, 0)
                if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
                    raise DtdaError(f"{path}: frame {index} is not an 8-bit colour picture.")
                yield index, np.ascontiguousarray(array[:, :, ::-1])
    except (OSError, RuntimeError) as error:  # h5py: a damaged file, a damaged part
        raise DtdaError(f"{path}: not a readable HDF5 file.") from error


def _frames_of(file: Any) -> Any:
    names = [name for name in file if name.startswith("Frame_") and name[6:].isdecimal() and "array" in file[name]]
    if names:
        return [file[name]["array"] for name in sorted(names, key=lambda name: int(name[6:]))]
    found: list[Any] = []
    file.visititems(
        lambda name, item: found.append(item) if "color" in name and getattr(item, "ndim", 0) == 4 else None
    )
    return found[0] if found else []
