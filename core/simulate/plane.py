"""A flat instrument in front of the camera: its homography, mask, and coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dtda.core.simulate.scene import Pose
from dtda.core.types import Floats


@dataclass(frozen=True)
class Plane:
    """A picture of `picture` (width, height) pixels held so that its face lands as `pose` says.

    size: (width, height) of the camera frame. face: centre of the face on the picture, its pixels. face_pixels: width of
    the face on the picture. face_mm: physical width of that face. bend: sagitta over width of a sheet bent about its
    upright axis (0 = flat).
    """

    picture: tuple[int, int]
    size: tuple[int, int]
    pose: Pose
    face: tuple[float, float]
    face_pixels: float
    face_mm: float
    bend: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        return self.pose.x, self.pose.y

    @property
    def face_width(self) -> float:
        return self.pose.width

    @property
    def mm_per_pixel(self) -> float:
        """Millimetres of the instrument under one camera pixel, at the face."""
        return self.face_mm / self.pose.width

    @cached_property
    def homography(self) -> np.ndarray:
        """float64 [3, 3] from picture pixels to camera pixels; pinhole with a focal length of 1.1 frame widths."""
        focal = 1.1 * self.size[0]
        scale = self.pose.width / self.face_pixels
        roll, yaw, pitch = np.radians([-self.pose.roll, self.pose.yaw, self.pose.pitch])
        turn = cv2.Rodrigues(np.array([0, 0, roll]))[0]
        tilt = cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
        rotation = tilt @ turn
        to_plane = np.array([[scale, 0, -scale * self.face[0]], [0, scale, -scale * self.face[1]], [0, 0, 1]])
        view = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, focal]])
        camera = np.array([[focal, 0, self.pose.x], [0, focal, self.pose.y], [0, 0, 1]])
        return np.asarray(camera @ view @ to_plane)

    def warp(self, texture: Floats, border: tuple[float, float, float]) -> Floats:
        """Texture float32 [h, w, 3], any size with the picture's aspect, to camera pixels; `border` outside of it."""
        scale = self.picture[0] / texture.shape[1]
        shrink = self.pose.width / self.face_pixels / scale
        if shrink < 0.6:  # low-pass before shrinking
            texture = cv2.resize(texture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            scale = self.picture[0] / texture.shape[1]
        matrix = self.homography @ np.diag([scale, scale, 1.0])
        if not self.bend:
            return cv2.warpPerspective(
                texture, matrix, self.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border
            )
        across, down = self.coordinates()
        h, w = texture.shape[:2]
        return cv2.remap(
            texture, across * w, down * h, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border
        )

    def coordinates(self) -> tuple[Floats, Floats]:
        """Position on the picture of every camera pixel, in [0, 1] inside it: across, down, float32 [H, W]."""
        return self._coordinates

    @cached_property
    def _coordinates(self) -> tuple[Floats, Floats]:
        width, height = self.size
        inverse = np.linalg.inv(self.homography)
        x, y = np.arange(width, dtype=np.float64)[None, :], np.arange(height, dtype=np.float64)[:, None]
        w = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
        across = ((inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) / w / self.picture[0]).astype(np.float32)
        down = ((inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) / w / self.picture[1]).astype(np.float32)
        if self.bend:
            down = down + self._sag(across).astype(np.float32)
        return across, down

    def _sag(self, across: np.ndarray) -> np.ndarray:
        """Rows, as a share of the picture, by which a bent sheet shows higher than a flat one, nil at the face.

        To first order a bend about the upright axis shifts rows by the sagitta, seen from slightly above.
        """
        at_face = 2 * self.face[0] / self.picture[0] - 1
        return self.bend * 0.6 * (at_face**2 - (2 * np.clip(across, -0.5, 1.5) - 1) ** 2)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Where points of the picture, float [N, 2] pixels, land in the frame, bend included; float64 [N, 2] pixels."""
        shown = points.astype(np.float64)
        if self.bend:
            shown = (
                shown
                - np.column_stack([np.zeros(len(shown)), self._sag(shown[:, 0] / self.picture[0])]) * self.picture[1]
            )
        return np.asarray(cv2.perspectiveTransform(shown[None], self.homography)[0])

    def mask(self, margin: float = 0.0) -> Floats:
        """1 inside the picture enlarged by `margin` picture widths on each side, soft over a pixel, float32 [H, W]."""
        across, down = self._coordinates
        aspect = self.picture[1] / self.picture[0]
        pixel = self.face_pixels / self.pose.width / self.picture[0]
        inside_x = np.minimum(across + margin, 1 + margin - across)
        inside_y = np.minimum(down + margin / aspect, 1 + margin / aspect - down) * aspect
        return np.clip(np.minimum(inside_x, inside_y) / pixel + 0.5, 0, 1).astype(np.float32)

    def to_millimetres(self, degrees: float, scale: float) -> np.ndarray:
        """float64 [3, 3] from camera pixels to instrument millimetres turned by `degrees` and multiplied by `scale`.

        The origin is moved far inside, so that periodic tiles are read at positive coordinates.
        """
        mm = self.face_mm / self.face_pixels
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return np.asarray(np.diag([scale, scale, 1]) @ turned @ np.diag([mm, mm, 1]) @ np.linalg.inv(self.homography))

    def spot(self, across: float, down: float, radius: float) -> Floats:
        """Soft reflection of a lamp at a place of the picture, float32 [H, W] in [0, 1]."""
        u, v = self._coordinates
        aspect = self.picture[1] / self.picture[0]
        distance = ((u - across) ** 2 + ((v - down) * aspect) ** 2) / np.float32(radius**2)
        return np.exp(-np.minimum(distance, 30)).astype(np.float32)
