"""A flat instrument in front of the camera: its homography, masks, and coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np

from dtda.core.simulate.scene import Pose, View
from dtda.core.types import Floats, Image

Rect = tuple[float, float, float, float]  # x1, y1, x2, y2, picture pixels


@dataclass(frozen=True)
class Plane:
    """A sheet or screen held so that the face of the picture on it lands as `pose` says.

    focal: of the camera, frame pixels. face: centre of the face on the picture, its pixels. face_pixels: width of the face
    on the picture. face_mm: physical width of that face. medium: the sheet's or screen's edges. bend: sagitta over width
    of a sheet bent about its upright axis (0 = flat).
    """

    focal: float
    pose: Pose
    face: tuple[float, float]
    face_pixels: float
    face_mm: float
    medium: Rect
    bend: float = 0.0

    @property
    def distance_m(self) -> float:
        return self.face_mm / 1000 * self.focal / self.pose.width

    @property
    def mm_per_pixel(self) -> float:
        """Millimetres of the instrument under one frame pixel, at the face."""
        return self.face_mm / self.pose.width

    @cached_property
    def homography(self) -> np.ndarray:
        """float64 [3, 3] from picture pixels to frame pixels; a pinhole whose axis passes through the face."""
        scale = self.pose.width / self.face_pixels
        roll, yaw, pitch = np.radians([-self.pose.roll, self.pose.yaw, self.pose.pitch])
        turn = cv2.Rodrigues(np.array([0, 0, roll]))[0]
        tilt = cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
        rotation = tilt @ turn
        to_plane = np.array([[scale, 0, -scale * self.face[0]], [0, scale, -scale * self.face[1]], [0, 0, 1]])
        view = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, self.focal]])
        camera = np.array([[self.focal, 0, self.pose.x], [0, self.focal, self.pose.y], [0, 0, 1]])
        return np.asarray(camera @ view @ to_plane)

    def warp(self, view: View, texture: Image, corner: tuple[float, float], border: tuple[int, ...] | None) -> Image:
        """A piece of the picture, uint8 [h, w(, 3)], its first pixel at `corner`, in the view; `border` outside of it, None
        to go on as its rim is."""
        mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
        scale = self.pose.width / self.face_pixels * view.scale
        shrunk = (1.0, 1.0)
        if scale < 0.5:  # low-pass before shrinking; whole factors are fast
            factor = int(1 / scale)
            h, w = (max(1, side // factor) for side in texture.shape[:2])
            whole = texture[: h * factor, : w * factor]
            shrunk = (w / whole.shape[1], h / whole.shape[0])
            texture = cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA)
            scale /= shrunk[0]
        if scale < 0.75:
            texture = cv2.GaussianBlur(texture, (3, 3), 0.4 / scale)
        if not self.bend:
            to_picture = np.array(
                [
                    [1 / shrunk[0], 0, 0.5 / shrunk[0] - 0.5 + corner[0]],
                    [0, 1 / shrunk[1], 0.5 / shrunk[1] - 0.5 + corner[1]],
                    [0, 0, 1],
                ]
            )
            matrix = view.matrix @ self.homography @ to_picture
            return np.asarray(
                cv2.warpPerspective(
                    texture,
                    matrix,
                    view.size,
                    flags=cv2.INTER_LINEAR,
                    borderMode=mode,
                    borderValue=border or (),
                )
            )
        across, down = self.coordinates(view.coarse())
        maps = [
            view.fine((part - at + 0.5) * factor - 0.5)
            for part, at, factor in ((across, corner[0], shrunk[0]), (down, corner[1], shrunk[1]))
        ]
        return np.asarray(cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=mode, borderValue=border or ()))

    def coordinates(self, view: View) -> tuple[Floats, Floats]:
        """Picture pixel under every pixel of the view: across, down, float32 [h, w]."""
        inverse = np.linalg.inv(view.matrix @ self.homography)
        x, y = np.arange(view.size[0])[None, :], np.arange(view.size[1])[:, None]
        w = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
        across = (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) / w
        down = (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) / w
        if self.bend:
            down = down + self._sag(across)
        return across.astype(np.float32), down.astype(np.float32)

    def _sag(self, across: np.ndarray) -> np.ndarray:
        """Picture pixels by which a bent sheet shows higher than a flat one, nil at the face.

        To first order a bend about the upright axis shifts rows by the sagitta, seen from slightly above.
        """
        left, top, right, bottom = self.medium
        at_face = 2 * (self.face[0] - left) / (right - left) - 1
        place = 2 * np.clip((across - left) / (right - left), -0.5, 1.5) - 1
        return self.bend * 0.6 * (bottom - top) * (at_face**2 - place**2)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Where points of the picture, float [N, 2] pixels, land in the frame, bend included; float64 [N, 2] pixels."""
        shown = np.array(points, np.float64)
        if self.bend:
            shown[:, 1] -= self._sag(shown[:, 0])
        return np.asarray(cv2.perspectiveTransform(shown[None], self.homography)[0])

    def mask(self, view: View, outline: np.ndarray | Rect | None, holes: tuple[np.ndarray, ...] = ()) -> Floats:
        """1 inside an outline of the picture, float [N, 2] picture pixels or a rectangle, softly; float32 [h, w]. None: it
        is wherever the view is."""
        filled = np.full((view.size[1], view.size[0]), 255 if outline is None else 0, np.uint8)
        border = _edges(outline) if isinstance(outline, tuple) else outline
        edges = () if border is None else ((border, 255),)
        for polygon, value in (*edges, *((hole, 0) for hole in holes)):
            seen = cv2.perspectiveTransform(self.to_frame(polygon)[None], view.matrix)[0]
            cv2.fillPoly(filled, [np.rint(np.clip(seen, -8000, 8000) * 16).astype(np.int32)], value, cv2.LINE_AA, 4)
        return filled.astype(np.float32) * np.float32(1 / 255)

    def on_medium(self, view: View, degrees: float, per_mm: float) -> tuple[Floats, Floats]:
        """Places on the medium under every pixel of the view, counted from the face's centre along axes turned by `degrees`,
        in units of which `per_mm` make a millimetre; float32 [h, w] each. Dots follow the bend of a sheet."""
        across, down = self.coordinates(view.coarse())
        scale = per_mm * self.face_mm / self.face_pixels
        x, y = (across - self.face[0]) * scale, (down - self.face[1]) * scale
        c, s = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
        return view.fine(c * x - s * y).copy(), view.fine(s * x + c * y).copy()


def _edges(rect: Rect, pieces: int = 12) -> np.ndarray:
    """The rectangle's outline with points along its edges, which a bend makes curved, float64 [4 * pieces, 2]."""
    x1, y1, x2, y2 = rect
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
    steps = np.arange(pieces)[:, None] / pieces
    return np.vstack([a + steps * (b - a) for a, b in pairwise(corners)])
