"""Reads still pictures: by any file name on any system, and with None for whatever cannot be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dtda.core.types import Image


def read_picture(path: Path) -> Image | None:
    """uint8 [H, W, 3] BGR, turned as its EXIF says; None when there is no readable picture.

    Not cv2.imread, which on Windows cannot open names outside the system's code page.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):  # cv2.error: dimensions beyond what OpenCV decodes
        return None
    return None if picture is None else np.asarray(picture, np.uint8)
