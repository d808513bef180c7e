from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from dtda.core.track import Tracker, distance, match
from dtda.core.types import Face, Image

HEAD = (slice(60, 240), slice(205, 365))  # of the portrait
BOX = np.array([24, 25, 131, 161], np.float32)  # within the head
POINTS = np.array([[51, 67], [106, 71], [77, 95], [52, 118], [97, 121]], np.float32)


def background(seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).integers(40, 200, (480, 640, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 6), np.uint8)


def place(scene: Image, head: Image, x: int, y: int) -> Face | None:
    """Paste the head at (x, y) as far as it is inside; its true face if the middle is inside."""
    height, width = head.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, 640), min(y + height, 480)
    if x1 - x0 < width // 2 or y1 - y0 < height // 2:
        return None
    scene[y0:y1, x0:x1] = head[y0 - y : y1 - y, x0 - x : x1 - x]
    offset = np.array([x, y], np.float32)
    return Face(BOX + np.tile(offset, 2), POINTS + offset, 0.9)


def run(tracker: Tracker, frames: Sequence[tuple[Image, Sequence[Face]]]) -> tuple[list[tuple[Face, ...]], int]:
    """The faces of every frame, as the pipeline would get them, and how many detections it took."""
    seen, detections = [], 0
    for bgr, faces in frames:
        followed = None if tracker.due else tracker.follow(bgr)
        if followed is None:
            detections += 1
            followed = tracker.update(bgr, faces)
        seen.append(followed)
    return seen, detections


def moving(head: Image, count: int = 60, step: int = 5) -> list[tuple[Image, list[Face]]]:
    frames = []
    for i in range(count):
        scene = background()
        face = place(scene, head, 20 + step * i, 150 + round(30 * np.sin(i / 5)))
        frames.append((scene, [] if face is None else [face]))
    return frames


def test_a_moving_face_keeps_its_id_and_its_place(portrait: Image) -> None:
    frames = moving(portrait[HEAD])
    seen, detections = run(Tracker(detect_every=5), frames)
    assert {face.track for faces in seen for face in faces} == {0}
    assert all(len(faces) == 1 for faces in seen)
    errors = [np.abs(faces[0].points - truth[0].points).max() for faces, (_, truth) in zip(seen, frames, strict=True)]
    assert max(errors) < 4
    boxes = [np.abs(faces[0].box - truth[0].box).max() for faces, (_, truth) in zip(seen, frames, strict=True)]
    assert max(boxes) < 6
    assert detections <= 20


def test_a_still_face_is_detected_every_nth_frame_only(portrait: Image) -> None:
    frames = moving(portrait[HEAD], count=20, step=0)
    for every in (1, 4, 10):
        assert run(Tracker(detect_every=every), frames)[1] == 20 // every


def test_growth_is_followed(portrait: Image) -> None:
    frames = []
    for i in range(5):
        factor = 1 + 0.04 * i
        head = cv2.resize(portrait[HEAD], None, fx=factor, fy=factor)
        scene = background()
        scene[100 : 100 + head.shape[0], 200 : 200 + head.shape[1]] = head
        shift = np.float32([200, 100])
        frames.append(
            (scene, [Face(BOX * np.float32(factor) + np.tile(shift, 2), POINTS * np.float32(factor) + shift, 0.9)])
        )
    seen, detections = run(Tracker(detect_every=5), frames)
    assert detections == 1
    (last,) = seen[-1]
    assert last.width == pytest.approx(frames[-1][1][0].width, rel=0.06)
    assert np.abs(last.points - frames[-1][1][0].points).max() < 6


def test_a_scene_cut_falls_back_to_detection(portrait: Image) -> None:
    first, second = moving(portrait[HEAD], count=2, step=0)
    other = background(seed=7)
    face = place(other, portrait[HEAD][:, ::-1], 420, 20)
    assert face is not None
    tracker = Tracker(detect_every=50)
    seen, detections = run(tracker, [first, second, (other, [face])])
    assert detections == 2
    assert [faces[0].track for faces in seen] == [0, 0, 1]


def test_a_face_that_leaves_is_dropped(portrait: Image) -> None:
    frames = moving(portrait[HEAD], count=160, step=6)
    tracker = Tracker(detect_every=5, keep=15)
    seen, _ = run(tracker, frames)
    assert seen[-1] == ()
    assert tracker._tracks == []


def test_an_id_survives_a_short_occlusion_and_no_long_one(portrait: Image) -> None:
    scene, faces = moving(portrait[HEAD], count=1)[0]
    hidden = (background(seed=3), [])

    def ids(gap: int) -> list[int]:
        seen, _ = run(Tracker(detect_every=1, keep=4), [(scene, faces)] * 3 + [hidden] * gap + [(scene, faces)] * 2)
        assert all(face == () for face in seen[3 : 3 + gap])
        return [seen[0][0].track, seen[-1][0].track]

    assert ids(gap=4) == [0, 0]
    assert ids(gap=5) == [0, 1]


def test_a_missed_detection_is_made_good_on_the_next_frame(portrait: Image) -> None:
    frames = moving(portrait[HEAD], count=16, step=2)
    frames[5] = (frames[5][0], [])
    seen, detections = run(Tracker(detect_every=5), frames)
    assert [len(faces) for faces in seen] == [1] * 5 + [0] + [1] * 10
    assert seen[-1][0].track == 0
    assert detections == 4  # on frames 0, 5, 6 and 11


def test_crossing_faces_keep_their_ids(portrait: Image) -> None:
    """The second passes behind the first and is not detected while most of it is hidden."""
    front, behind = portrait[HEAD], np.ascontiguousarray(portrait[HEAD][:, ::-1])
    frames = []
    for i in range(80):
        scene = background()
        back = place(scene, behind, 440 - 5 * i, 170)
        fore = place(scene, front, 20 + 5 * i, 150)
        assert back is not None
        assert fore is not None
        overlapping = abs((20 + 5 * i) - (440 - 5 * i)) < 110
        frames.append((scene, [fore] if overlapping else [fore, back]))
    seen, _ = run(Tracker(detect_every=5), frames)
    start = {face.track: float(face.points[2, 0]) for face in seen[0]}
    end = {face.track: float(face.points[2, 0]) for face in seen[-1]}
    assert set(start) == set(end) == {0, 1}
    assert start[0] < start[1]
    assert end[0] > end[1]


def test_reset_and_frame_size_ask_for_detection(portrait: Image) -> None:
    frames = moving(portrait[HEAD], count=2, step=0)
    tracker = Tracker(detect_every=50)
    assert tracker.due
    run(tracker, frames)
    assert not tracker.due
    assert tracker.follow(np.zeros((240, 320, 3), np.uint8)) is None
    tracker.reset()
    assert tracker.due
    assert run(tracker, frames)[0][0][0].track == 1


def test_uhd_is_followed_in_frame_pixels(portrait: Image) -> None:
    frames = []
    for scene, faces in moving(portrait[HEAD], count=5):
        large = np.asarray(cv2.resize(scene, (3840, 2880)), np.uint8)
        frames.append((large, [Face(face.box * 6, face.points * 6, 0.9) for face in faces]))
    seen, detections = run(Tracker(detect_every=5), frames)
    assert detections == 1
    assert np.abs(seen[-1][0].points - frames[-1][1][0].points).max() < 20


def test_matching_is_by_nearest_pair_and_size() -> None:
    def face(x: float, size: float = 100) -> Face:
        return Face(np.float32([x, 0, x + size, size]), np.float32([[x, 0]] * 5), 0.9)

    assert match([face(0), face(50)], [face(45), face(95)]) == {1: 0}
    assert match([face(0), face(50)], [face(55), face(10)]) == {0: 1, 1: 0}
    assert match([face(0)], [face(0, 300)]) == {}
    assert match([], [face(0)]) == {}
    assert distance(face(0), face(10)) == pytest.approx(0.1)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="detect_every"):
        Tracker(detect_every=0)
