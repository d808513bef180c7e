import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.simulate import codec


@pytest.fixture(scope="module")
def pictures():
    from skimage.data import astronaut

    bgr = np.ascontiguousarray(astronaut()[:, :, ::-1])
    return [bgr[:101, 150:270], bgr[100:240, 200:331], bgr[:96, :200]]


def _error(a, b):
    return float(np.abs(a.astype(int) - b).mean())


def test_every_picture_comes_back_in_its_size_and_worse_with_a_coarser_quantiser(pictures):
    fine, coarse = (codec.as_video_frames(pictures, [qp] * 3) for qp in (14, 40))
    for before, good, bad in zip(pictures, fine, coarse, strict=True):
        assert good.shape == before.shape == bad.shape
        assert _error(good, before) < 5
        assert _error(bad, before) > 1.2 * _error(good, before)


def test_each_has_its_own_quantiser_and_order_does_not_matter(pictures):
    mixed = codec.as_video_frames(pictures, [14, 40, 14])
    plain = codec.as_video_frames(pictures, [14, 14, 14])
    assert _error(mixed[0], plain[0]) < 0.5
    assert _error(mixed[1], plain[1]) > 2
    again = codec.as_video_frames(pictures, [14, 40, 14])
    for one, other in zip(mixed, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_gives_nothing():
    assert codec.as_video_frames([], []) == []


def test_a_clip_keeps_its_length_and_the_order_of_its_frames(pictures):
    frames = [np.full((64, 96, 3), level, np.uint8) for level in (40, 90, 140, 190)]
    back = codec.round_trip(frames, 24)
    assert [round(float(frame.mean()) / 50) for frame in back] == [1, 2, 3, 4]


def test_without_the_encoder_the_line_to_install_it(monkeypatch, pictures):
    import sys

    codec._ffmpeg.cache_clear()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DtdaError, match="pip install imageio-ffmpeg"):
        codec.as_video_frames(pictures, [20, 20, 20])
    monkeypatch.undo()
    codec._ffmpeg.cache_clear()
