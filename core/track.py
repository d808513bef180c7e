"""Keeps faces apart between detections: cheap optical flow on their points, and ids that survive a short occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from dtda.core.types import Face, Floats, Image

FLOW_SIDE = 640  # longer side, pixels, of the picture the flow is computed on
MAX_RETURN = 0.08  # forward-backward error allowed, as a share of the face's width
MIN_POINTS = 4  # of the five that must survive that check
MAX_STEP = 0.6  # face widths between prediction and detection of the same face
HURRIED = 2  # detections on the very next frames after a face was not found: most are only a blink of the detector
MAX_GROWTH = 1.8  # change of width between two detections of the same face


@dataclass(slots=True)
class _Track:
    """One face. face: where it is now. detected: where the last detection saw it, `age` frames ago.
    velocity: frame pixels per frame. missed: detections in a row that did not find it.

    Velocity comes from detections alone: at the edge of something in front of the face the flow stands still.
    """

    face: Face
    detected: Face
    age: int = 0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    missed: int = 0

    @property
    def visible(self) -> bool:
        return self.missed == 0

    def expected(self) -> Face:
        """Where the next detection should find the face: near where the flow left it, or further along unseen."""
        face, frames = (self.face, 1) if self.visible else (self.detected, self.age)
        shift = (self.velocity * frames).astype(np.float32)
        return replace(face, box=face.box + np.tile(shift, 2), points=face.points + shift)

    def found(self, face: Face) -> None:
        """Take the place a detection names."""
        step = (_centre(face) - _centre(self.detected)) / self.age
        self.velocity = (self.velocity + step) / 2
        self.face = self.detected = replace(face, track=self.face.track)
        self.age = 0
        self.missed = 0


class Tracker:
    """Ask `due` before each frame: detect and call `update`, or call `follow`, which may ask for a detection after all.

    Frames of one clip in order; `reset` before another clip.
    """

    def __init__(self, detect_every: int = 5, keep: int = 30) -> None:
        """detect_every: frames from one detection to the next. keep: frames an id survives unseen."""
        if detect_every < 1 or keep < 0:
            raise ValueError("detect_every must be at least 1 and keep at least 0")
        self._detect_every = detect_every
        self._keep = keep
        self._next_id = 0
        self.reset()

    def reset(self) -> None:
        """Forget all faces. Ids go on counting, so that none is used twice."""
        self._tracks: list[_Track] = []
        self._luma: Image | None = None
        self._age = 0  # frames since the last detection

    @property
    def due(self) -> bool:
        """Whether the next frame needs a detection."""
        lost = any(0 < track.missed <= HURRIED for track in self._tracks)
        return lost or self._luma is None or self._age + 1 >= self._detect_every

    def follow(self, bgr: Image) -> tuple[Face, ...] | None:
        """Move the visible faces along to this frame, uint8 [H, W, 3] BGR.

        None when a face was lost or the frame size changed: then detect on this same frame and call `update`.
        """
        luma, scale = flow_picture(bgr)
        if self._luma is None or luma.shape != self._luma.shape:
            return None
        visible = [track for track in self._tracks if track.visible]
        moved = follow_points(self._luma, luma, [track.face for track in visible], scale)
        if any(face is None for face in moved):
            return None
        self._luma = luma
        self._age += 1
        for track, face in zip(visible, moved, strict=True):
            if face is not None:
                track.face = face
        return self._visible()

    def update(self, bgr: Image, detected: Sequence[Face]) -> tuple[Face, ...]:
        """Give the faces detected on this frame their ids."""
        for track in self._tracks:
            track.age += self._age + 1
        self._luma, _ = flow_picture(bgr)
        self._age = 0
        pairs = match([track.expected() for track in self._tracks], detected)
        for number, track in enumerate(self._tracks):
            if number in pairs:
                track.found(detected[pairs[number]])
            else:
                track.missed += 1
        self._tracks = [track for track in self._tracks if track.age <= self._keep]
        for number in sorted(set(range(len(detected))) - set(pairs.values())):
            face = replace(detected[number], track=self._next_id)
            self._tracks.append(_Track(face, face))
            self._next_id += 1
        return self._visible()

    def _visible(self) -> tuple[Face, ...]:
        return tuple(track.face for track in self._tracks if track.visible)


def match(known: Sequence[Face], detected: Sequence[Face]) -> dict[int, int]:
    """Index of the detected face for each index of a known one, nearest pairs first; each is used once."""
    costs = [
        (cost, i, j)
        for i, face in enumerate(known)
        for j, other in enumerate(detected)
        if (cost := distance(face, other)) <= MAX_STEP
    ]
    pairs: dict[int, int] = {}
    for _, i, j in sorted(costs):
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def distance(face: Face, other: Face) -> float:
    """Mean distance of the five points in widths of the larger face; inf when the sizes differ too much."""
    small, large = sorted((max(face.width, 1e-3), max(other.width, 1e-3)))
    if large > MAX_GROWTH * small:
        return float("inf")
    return float(np.linalg.norm(face.points - other.points, axis=1).mean()) / large


def flow_picture(bgr: Image) -> tuple[Image, float]:
    """Luma, uint8 [h, w] with at most FLOW_SIDE pixels a side, and the scale from frame pixels to its pixels."""
    scale = min(1.0, FLOW_SIDE / max(bgr.shape[:2]))
    if scale < 1:
        size = (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale)))
        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8), scale


def follow_points(before: Image, after: Image, faces: Sequence[Face], scale: float) -> list[Face | None]:
    """Each face moved by the similarity its points underwent, None where they cannot be followed.

    before, after: uint8 [h, w] luma. scale: from frame pixels to their pixels.
    """
    if not faces:
        return []
    points: Floats = np.concatenate([face.points for face in faces]).astype(np.float32) * np.float32(scale)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)  # type: ignore[call-overload]
    back, status_back, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None)  # type: ignore[call-overload]
    error = np.linalg.norm(back - points, axis=1)
    error[(status.ravel() == 0) | (status_back.ravel() == 0)] = np.inf
    result: list[Face | None] = []
    for i, face in enumerate(faces):
        rows = slice(5 * i, 5 * i + 5)
        good = error[rows] <= max(MAX_RETURN * face.width * scale, 0.5)
        result.append(_moved(face, moved[rows] / scale, good, after.shape, scale))
    return result


def _moved(face: Face, points: Floats, good: np.ndarray, shape: tuple[int, ...], scale: float) -> Face | None:
    if good.sum() < MIN_POINTS:
        return None
    matrix, _ = cv2.estimateAffinePartial2D(face.points[good], points[good], method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    growth = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not 1 / MAX_GROWTH < growth < MAX_GROWTH:
        return None
    carried = face.points @ matrix[:, :2].T + matrix[:, 2]
    centre = matrix[:, :2] @ _centre(face) + matrix[:, 2]
    x, y = carried.mean(axis=0) * scale
    if not (0 <= x < shape[1] and 0 <= y < shape[0]):  # left the picture
        return None
    half = np.array([face.width, face.height]) / 2 * growth
    box = np.concatenate([centre - half, centre + half])
    return replace(face, box=box.astype(np.float32), points=carried.astype(np.float32))


def _centre(face: Face) -> np.ndarray:
    return np.asarray((face.box[:2] + face.box[2:]) / 2, dtype=np.float64)
