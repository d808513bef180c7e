"""What every engine and every face detector offers, whatever runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dtda.core.types import EngineInfo, Face, Floats, Image


class Engine(Protocol):
    """A loaded student. Used and closed by the thread that opened it."""

    info: EngineInfo

    def infer(self, chips: Image) -> Floats:
        """P(live) of each chip.

        chips: uint8 [N, S, S, 3] RGB as `preprocess.crop` makes them, S = info.size, N >= 0. An engine of several
        networks takes a batch for each, of the same faces, cut by each of `preprocess.rules(info)`. Returns a fresh
        float32 [N] in [0, 1]. Raises ValueError on other shapes or dtypes and after `close`,
        DtdaError when the graph fails or returns no probabilities.
        """

    def close(self) -> None:
        """Release the session. Idempotent."""


class Detector(Protocol):
    """A face detector. Used and closed by the thread that opened it."""

    name: str

    def detect(self, bgr: Image) -> list[Face]:
        """Faces of a frame, uint8 [H, W, 3] BGR, best first, `track` -1. Raises ValueError on other shapes."""

    def close(self) -> None:
        """Release the session. Idempotent."""


def check_chips(chips: Image, size: int) -> None:
    """Raises ValueError unless chips are uint8 [N, size, size, 3]."""
    if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (size, size, 3):
        raise ValueError(f"chips must be uint8 [N, {size}, {size}, 3], not {chips.dtype} {list(chips.shape)}")


def check_frame(bgr: Image) -> None:
    """Raises ValueError unless bgr is uint8 [H, W, 3] and not empty."""
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.size == 0:
        raise ValueError(f"a frame must be uint8 [H, W, 3] BGR, not {bgr.dtype} {list(bgr.shape)}")
