from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image as Picture

from dtda.app.sources import FileSource, media_files, natural_key, open_source
from dtda.core.errors import DtdaError
from dtda.core.types import Image

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def numbered(write_clip: Callable[..., Path], tmp_path: Path) -> Path:
    """A video whose frame i has brightness 20 * i, 10 frames at 10 fps, 64x48."""
    return write_clip(tmp_path / "numbered.mp4", [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)], 10)


def brightness(bgr: Image) -> int:
    return round(float(bgr.mean()) / 20)


def test_video_is_read_in_order_with_its_times(numbered: Path) -> None:
    source = open_source(str(numbered))
    assert (source.live, source.clips, source.clip, source.fps, source.length) == (False, ("numbered.mp4",), 0, 10, 10)
    frames = list(iter(source.read, None))
    assert [frame.index for frame in frames] == list(range(10))
    assert [brightness(frame.bgr) for frame in frames] == list(range(10))
    assert [frame.t for frame in frames] == pytest.approx([i / 10 for i in range(10)], abs=0.002)
    assert all(0 < frame.captured <= time.perf_counter() for frame in frames)
    assert source.read() is None
    source.close()
    source.close()


def test_seek_goes_to_the_frame_and_stays_within_the_clip(numbered: Path) -> None:
    source = open_source(str(numbered))
    for asked, expected in ((7, 7), (2, 2), (0, 0), (99, 9), (-3, 0)):
        source.seek(asked)
        frame = source.read()
        assert frame is not None
        assert (frame.index, brightness(frame.bgr)) == (expected, expected)
        assert frame.t == pytest.approx(expected / 10, abs=0.002)
    source.close()


def test_times_fall_back_to_the_index(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Timeless:
        def __init__(self, *args: object) -> None:
            self.inner = real(*args)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def get(self, prop: int) -> float:
            return 0.0 if prop == cv2.CAP_PROP_POS_MSEC else float(self.inner.get(prop))

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Timeless)
    times = [frame.t for frame in iter(open_source(str(numbered)).read, None)]
    assert times == pytest.approx([i / 10 for i in range(10)])


def test_rotation_of_a_picture_is_honoured(tmp_path: Path, astronaut: Image) -> None:
    path = tmp_path / "phone.jpg"
    exif = Picture.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Picture.fromarray(astronaut[:, :, ::-1]).save(path, exif=exif)
    frame = open_source(str(path)).read()
    assert frame is not None
    assert frame.bgr.shape == (640, 480, 3)


def test_rotation_of_a_video_is_honoured(numbered: Path) -> None:
    import imageio_ffmpeg

    turned = numbered.with_name("turned.mp4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-display_rotation", "90", "-i", numbered, "-c", "copy", turned]
    subprocess.run(command, check=True, capture_output=True)
    frame = open_source(str(turned)).read()
    assert frame is not None
    assert frame.bgr.shape == (64, 48, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"12:30.mp4", b"file:a.mp4", b"bad\xffname.mp4", "ü 脸.mp4".encode()])
def test_videos_are_opened_whatever_their_name(name: bytes, numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(numbered.parent)
    numbered.rename(os.fsdecode(name))
    assert open_source(os.fsdecode(name)).length == 10


def test_picture_is_a_clip_of_one_frame(tmp_path: Path, astronaut: Image) -> None:
    path = tmp_path / "gesicht ü.png"
    path.write_bytes(cv2.imencode(".png", astronaut)[1].tobytes())
    source = open_source(str(path))
    assert (source.length, source.fps) == (1, 0)
    frame = source.read()
    assert frame is not None
    np.testing.assert_array_equal(frame.bgr, astronaut)
    assert source.read() is None
    source.seek(0)
    assert source.read() is not None


def test_folder_is_a_playlist_in_natural_order(tmp_path: Path, write_clip: Callable[..., Path]) -> None:
    (tmp_path / "sub").mkdir()
    for name, value in (("clip10.mp4", 200), ("clip2.mp4", 100), ("sub/clip1.avi", 40)):
        write_clip(tmp_path / name, [np.full((48, 64, 3), value, np.uint8)] * 3)
    cv2.imwrite(str(tmp_path / "CLIP3.PNG"), np.full((48, 64, 3), 150, np.uint8))
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / "._clip2.mp4").write_bytes(b"left by a file manager")
    source = open_source(str(tmp_path))
    assert source.clips == ("clip2.mp4", "CLIP3.PNG", "clip10.mp4", "sub/clip1.avi")
    assert [path.name for path in media_files(tmp_path)] == ["clip2.mp4", "CLIP3.PNG", "clip10.mp4", "clip1.avi"]
    values = []
    for clip, name in enumerate(source.clips):
        source.select(clip)
        frame = source.read()
        assert frame is not None
        assert (source.clip, frame.clip, frame.index) == (clip, name, 0)
        values.append(round(float(frame.bgr.mean()), -1))
    assert values == [100, 150, 200, 40]


def test_natural_order_compares_digits_as_numbers() -> None:
    names = ["b", "a10", "a2", "A1", "2", "10"]
    assert sorted(names, key=natural_key) == ["2", "10", "A1", "a2", "a10", "b"]


def test_a_clip_that_cannot_be_opened_leaves_the_current_one(numbered: Path) -> None:
    (numbered.parent / "other.mp4").write_bytes(b"")
    source = open_source(str(numbered.parent))
    with pytest.raises(DtdaError, match=r"other\.mp4.*empty"):
        source.select(1)
    frame = source.read()
    assert source.clip == 0
    assert frame is not None
    assert frame.clip == "numbered.mp4"


def test_a_folder_begins_with_the_first_clip_that_can_be_opened(numbered: Path) -> None:
    (numbered.parent / "a.mp4").write_bytes(b"")
    (numbered.parent / "b.png").write_bytes(b"x")
    source = open_source(str(numbered.parent))
    assert source.clip == 2
    assert [Path(text.partition(": ")[0]).name for text in source.skipped] == ["a.mp4", "b.png"]
    frame = source.read()
    assert frame is not None
    assert frame.clip == "numbered.mp4"
    numbered.write_bytes(b"")
    with pytest.raises(DtdaError, match=r"none of its 3 clips can be opened; the first: .*a\.mp4.*empty"):
        open_source(str(numbered.parent))


def test_truncated_avi_plays_what_is_there(tmp_path: Path, astronaut: Image) -> None:
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 480))
    for _ in range(20):
        writer.write(astronaut)
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = list(iter(open_source(str(cut)).read, None))
    assert 5 <= len(frames) < 20
    assert np.abs(frames[0].bgr.astype(int) - astronaut).mean() < 10


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be this large and has no pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def bad_inputs(folder: Path) -> Iterator[tuple[str, str]]:
    """(spec, what the message must say) of everything that cannot be opened."""
    (folder / "empty").mkdir()
    (folder / "zero.mp4").touch()
    (folder / "zero.jpg").touch()
    (folder / "text.mp4").write_text("hello\n" * 500)
    (folder / "text.png").write_text("hello\n" * 500)
    (folder / "notes.txt").write_text("hello")
    (folder / "noname").write_text("hello")
    (folder / "huge.png").write_bytes(png_header(60000, 60000))
    yield str(folder / "huge.png"), r"huge\.png: cannot be decoded .*too large"
    yield str(folder / "missing.mp4"), "no such file"
    yield str(folder / "empty"), "no video or picture"
    yield str(folder / "zero.mp4"), "0 bytes"
    yield str(folder / "zero.jpg"), "0 bytes"
    yield str(folder / "text.mp4"), "not a readable video"
    yield str(folder / "text.png"), "not a readable PNG"
    yield str(folder / "notes.txt"), r"\.txt is not a type that is read"
    yield str(folder / "noname"), "without a suffix"
    yield "", "No source is named"
    yield "gopher://example.org/a.mp4", "gopher:// is not"
    yield "camera:first", "camera:N"
    yield "camera:97", "no camera"
    yield "http://127.0.0.1:9/clip.mp4", "does not answer"
    yield "rtsp://127.0.0.1:9/live", "does not answer"


def test_bad_input_is_one_sentence_and_quick(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for spec, message in bad_inputs(tmp_path):
        start = time.monotonic()
        with pytest.raises(DtdaError, match=f"(?i){message}") as caught:
            open_source(spec)
        assert time.monotonic() - start < 5
        assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_truncated_mp4_is_refused(numbered: Path) -> None:
    data = numbered.read_bytes()
    numbered.write_bytes(data[: len(data) // 2])  # its index is at the end
    with pytest.raises(DtdaError, match="cut short"):
        open_source(str(numbered))


def test_a_container_with_damaged_pictures_is_refused_when_read(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(str(numbered))
    assert isinstance(source, FileSource)
    monkeypatch.setattr(source._open, "_capture", Undecodable())
    with pytest.raises(DtdaError, match="no frame of this video can be decoded"):
        source.read()


class Undecodable:
    def read(self) -> tuple[bool, None]:
        return False, None


@pytest.mark.parametrize("error", [cv2.error("(-215:Assertion failed) !x.empty()"), OSError(5, "Input/output error")])
def test_what_opencv_raises_while_reading_is_one_sentence(
    error: Exception, numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    source = open_source(str(numbered))
    assert isinstance(source, FileSource)
    monkeypatch.setattr(source._open, "_capture", SimpleNamespace(read=fail, release=lambda: None))
    with pytest.raises(DtdaError, match=r"numbered\.mp4: cannot be") as caught:
        source.read()
    assert "Assertion" not in str(caught.value)
    source.close()


def test_a_file_without_permission_is_refused(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(DtdaError, match="may not be read"):
        open_source(str(numbered))


def test_silent_server_does_not_hang() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        start = time.monotonic()
        with pytest.raises(DtdaError, match="127"):
            open_source(f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/live")
        assert time.monotonic() - start < 5


def test_large_frames_pass(tmp_path: Path, write_clip: Callable[..., Path]) -> None:
    path = write_clip(tmp_path / "uhd.mp4", [np.full((2160, 3840, 3), 90, np.uint8)] * 2)
    frame = open_source(str(path)).read()
    assert frame is not None
    assert frame.bgr.shape == (2160, 3840, 3)


def test_importing_sources_loads_neither_qt_nor_networks() -> None:
    code = "import sys, dtda.app.sources; print([m for m in ('PySide6', 'onnxruntime', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
