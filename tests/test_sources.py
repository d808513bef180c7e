import cv2
import numpy as np
import pytest

from dtda.core.simulate.config import SimulateConfig
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.sources import draw_sources


@pytest.fixture(scope="module")
def drawn():
    return draw_sources([astronaut()] * 2, SimulateConfig(sources=3), [np.random.default_rng(n) for n in (0, 1)])


def test_every_person_has_pictures_and_the_face_is_where_they_say(drawn):
    person = astronaut()
    assert [len(sources) for sources in drawn] == [3, 3]
    for source in drawn[0]:
        middle = cv2.transform(person.landmarks[None, 5:], source.to_picture)[0].mean(0)
        np.testing.assert_allclose(middle, source.face[:2], atol=0.5)
        height, width = source.picture.shape[:2]
        assert 0 < source.face[0] < width
        assert 0 < source.face[1] < height
        placed = cv2.warpAffine(person.bgr, source.to_picture, (width, height))
        x, y, half = *np.round(source.face[:2]).astype(int), int(source.face[2] / 2)
        face = [part[y - half : y + half, x - half : x + half].mean(2).ravel() for part in (source.picture, placed)]
        assert np.corrcoef(*face)[0, 1] > 0.8


def test_a_stream_gives_the_same_pictures_whoever_else_is_drawn(drawn):
    """Within a chunk; what H.264 makes of a picture may depend on the sizes of the others in its call by a code or two."""
    again = draw_sources([astronaut()] * 2, SimulateConfig(sources=3), [np.random.default_rng(n) for n in (0, 1)])
    for one, other in zip(drawn[0] + drawn[1], again[0] + again[1], strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
    assert not np.array_equal(drawn[0][0].picture, drawn[1][0].picture)
