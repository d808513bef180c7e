"""H.264 as webcams and phones record it: frames through x264 and back.

OpenCV's wheels can read H.264 but not write it; the ffmpeg program of imageio-ffmpeg (which the face detector's package
brings along) can. One call takes a list of unlike pictures, since starting it costs more than a picture.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.types import Image


@cache
def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise DtdaError(
            "H.264 needs imageio-ffmpeg, which is not installed; run: pip install imageio-ffmpeg."
        ) from error


def _run(words: Sequence[str], data: bytes) -> bytes:
    done = subprocess.run([_ffmpeg(), "-v", "error", *words], input=data, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise DtdaError(f"ffmpeg could not code a video: {last[0]}")
    return done.stdout


def as_video_frames(pictures: Sequence[Image], qps: Sequence[int]) -> list[Image]:
    """Each picture as a predicted frame of a video of its own, uint8 [h, w, 3] BGR of any sizes.

    qps: H.264 quantiser of each. Every picture is coded after a slightly moved one, from which it is predicted, as a frame
    of a steady scene is.
    """
    coded: dict[int, Image] = {}
    for group in _alike(pictures):
        frames = _predicted([pictures[number] for number in group], [qps[number] for number in group])
        coded.update(zip(group, frames, strict=True))
    return [coded[number] for number in range(len(pictures))]


def _alike(pictures: Sequence[Image]) -> list[list[int]]:
    """Numbers of pictures in groups of like size: those of one call are padded to one size."""
    groups: list[list[int]] = []
    largest = 0.0
    for number in sorted(range(len(pictures)), key=lambda n: -pictures[n].size):
        if not groups or (pictures[number].size < 0.5 * largest and len(groups[-1]) > 5):
            groups.append([])
            largest = pictures[number].size
        groups[-1].append(number)
    return groups


def _predicted(pictures: list[Image], qps: list[int]) -> list[Image]:
    width = (max(p.shape[1] for p in pictures) + 15) // 16 * 16
    height = (max(p.shape[0] for p in pictures) + 15) // 16 * 16
    stream = bytearray()
    zones = []
    for number, (picture, qp) in enumerate(zip(pictures, qps, strict=True)):
        right, down = 1 + number % 2, number % 3
        for frame in (picture[down:, right:], picture):
            below, beside = height - frame.shape[0], width - frame.shape[1]
            padded = cv2.copyMakeBorder(frame, 0, below, 0, beside, cv2.BORDER_REPLICATE)
            stream += cv2.cvtColor(padded, cv2.COLOR_BGR2YUV_I420).tobytes()
        zones.append(f"{2 * number},{2 * number + 1},q={qp}")
    size = f"{width}x{height}"
    frames = _decoded(_encoded(bytes(stream), size, 2, "/".join(zones)), width, height)
    if len(frames) != 2 * len(pictures):
        raise DtdaError("ffmpeg lost frames of a video; is another version of it installed?")
    return [
        np.ascontiguousarray(frames[2 * number + 1][: p.shape[0], : p.shape[1]]) for number, p in enumerate(pictures)
    ]


def _encoded(yuv: bytes, size: str, group: int, zones: str = "", qp: int = 26) -> bytes:
    options = (
        f"threads=1:lookahead-threads=1:sliced-threads=0:keyint={group}:min-keyint={group}:scenecut=0:bframes=0:qp={qp}"
    )
    return _run(
        [
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", "25", "-i", "-", "-threads", "1"),
            *("-c:v", "libx264", "-preset", "superfast"),
            *("-x264-params", options + (f":zones={zones}" if zones else "")),
            *("-f", "h264", "-"),
        ],
        yuv,
    )


def _decoded(data: bytes, width: int, height: int) -> list[Image]:
    words = ["-threads", "1", "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    raw = np.frombuffer(_run(words, data), np.uint8).reshape(-1, height * 3 // 2, width)
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420)) for frame in raw]


def round_trip(frames: Sequence[Image], qp: int) -> list[Image]:
    """The frames of one clip, uint8 [h, w, 3] BGR of one even size, through one H.264 video and back."""
    height, width = frames[0].shape[:2]
    yuv = b"".join(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes() for frame in frames)
    return _decoded(_encoded(yuv, f"{width}x{height}", 250, qp=qp), width, height)


def write_video(frames: Sequence[Image], path: Path, fps: float) -> None:
    """The frames as an H.264 file; the container follows from the suffix."""
    height, width = frames[0].shape[:2]
    words = ["-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    words += ["-threads", "1", "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
    _run([*words, "-bf", "0", str(path)], b"".join(frame.tobytes() for frame in frames))
