"""Which frames of a clip are read, and what is said of those that cannot be."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda.core.data.media import picked, read_frames
from dtda.core.errors import DtdaError


@pytest.mark.parametrize(
    ("length", "count", "indices"),
    [(100, 1, [50]), (100, 2, [25, 75]), (10, 5, [1, 3, 5, 7, 9]), (3, 5, [0, 1, 2]), (1, 5, [0]), (7, 3, [1, 3, 5])],
)
def test_frames_are_spread_evenly(length, count, indices):
    assert picked(length, count) == indices


@given(st.integers(1, 2000), st.integers(1, 50))
def test_picked_frames_are_in_the_clip_and_differ(length, count):
    found = picked(length, count)
    assert found == sorted(set(found))
    assert len(found) == min(length, count)
    assert 0 <= found[0] <= found[-1] < length


def numbered(count, shape=(48, 64)):
    """Frames that say their number by their grey."""
    return [np.full((*shape, 3), 20 + 10 * number, np.uint8) for number in range(count)]


def greys(frames):
    return [(index, round((float(bgr.mean()) - 20) / 10)) for index, bgr in frames]


def test_the_frame_read_is_the_frame_named(tmp_path, write_clip):
    path = write_clip(tmp_path / "a.mp4", numbered(20))
    assert greys(read_frames(path, 4)) == [(2, 2), (7, 7), (12, 12), (17, 17)]


def test_a_short_clip_gives_all_it_has(tmp_path, write_clip):
    path = write_clip(tmp_path / "a.mp4", numbered(2))
    assert greys(read_frames(path, 5)) == [(0, 0), (1, 1)]


def test_a_container_that_lies_about_its_length(tmp_path, write_clip):
    """An AVI whose headers promise 500 frames."""
    frames = numbered(8)
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    data = bytearray((tmp_path / "a.avi").read_bytes())
    where = data.index(b"avih") + 8 + 16  # dwTotalFrames
    data[where : where + 4] = (500).to_bytes(4, "little")
    where = data.index(b"strh") + 8 + 32  # dwLength
    data[where : where + 4] = (500).to_bytes(4, "little")
    lying = tmp_path / "lying.avi"
    lying.write_bytes(bytes(data))
    assert cv2.VideoCapture(str(lying)).get(cv2.CAP_PROP_FRAME_COUNT) != 8
    assert greys(read_frames(lying, 4)) == [(1, 1), (3, 3), (5, 5), (7, 7)]


def test_a_stored_rotation_is_applied(tmp_path, write_clip):
    """An MP4 whose track header says: turn by 90 degrees clockwise to show."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :16] = 255  # a white left edge becomes the upper edge
    data = bytearray(write_clip(tmp_path / "a.mp4", [frame] * 4).read_bytes())
    where = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0: after its times, ids and duration, and layer and volume
    straight = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]
    assert [int.from_bytes(data[where + 4 * n : where + 4 * n + 4], "big") for n in range(9)] == straight
    matrix = [0, 0x10000, 0, 0xFFFF0000, 0, 0, 48 << 16, 0, 0x40000000]
    data[where : where + 36] = b"".join(value.to_bytes(4, "big") for value in matrix)
    (tmp_path / "turned.mp4").write_bytes(bytes(data))
    ((_, bgr),) = read_frames(tmp_path / "turned.mp4", 1)
    assert bgr.shape == (64, 48, 3)
    assert bgr[:12].mean() > 200
    assert bgr[20:].mean() < 30


def test_what_cannot_be_read_is_named(tmp_path):
    for name, content, words in (
        ("gone.mp4", None, "no such file"),
        ("empty.mp4", b"", "not a readable video"),
        ("text.avi", b"no video", "not a readable video"),
        ("text.jpg", b"no picture", "not a readable picture"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DtdaError, match=words):
            list(read_frames(tmp_path / name, 3))
