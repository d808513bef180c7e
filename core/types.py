"""What flows through the live pipeline: frozen records with their units.

Arrays inside are shared, not copied: treat them as read-only.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from dtda.core.preprocess import CropRule

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Label(enum.Enum):
    """Three-way outcome for one face. CANNOT_TELL counts as a non-response (ISO/IEC 30107-3)."""

    LIVE = "live"
    SPOOF = "spoof"
    CANNOT_TELL = "cannot_tell"


class Reason(enum.Enum):
    """Why a face was not scored, or why its verdict is CANNOT_TELL; the value is the text shown to the user."""

    TOO_SMALL = "too small"
    BLURRED = "blurred"
    TOO_DARK = "too dark"
    TOO_BRIGHT = "too bright"
    CUT_OFF = "cut by the frame edge"
    TURNED_AWAY = "turned away"
    WARMING_UP = "warming up"
    UNSTABLE = "unstable"


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    index: 0-based position in its source. t: seconds of media time (files) or since the source opened (cameras).
    bgr: uint8 [H, W, 3] BGR. captured: seconds, time.perf_counter() when it was read; its age is now - captured.
    clip: name of the clip the frame belongs to (a folder plays several).
    """

    index: int
    t: float
    bgr: Image
    captured: float = 0.0
    clip: str = ""


@dataclass(frozen=True, slots=True)
class Face:
    """A detected or tracked face.

    box: float32 [4] xyxy, frame pixels. points: float32 [5, 2] frame pixels, in the order left eye, right eye, nose,
    left and right mouth corner, left being the left of the picture. score: detector confidence in [0, 1].
    track: stable id within one clip, -1 before tracking.
    """

    box: Floats
    points: Floats
    score: float
    track: int = -1

    @property
    def width(self) -> float:
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Quality:
    """What the quality gate measured on one face; `reasons` is empty when the face may be scored.

    size: shorter side of the box, frame pixels. sharpness: see quality.py. brightness: mean luma in [0, 255].
    yaw: signed nose offset from the middle of the eyes over the eye distance, 0 = frontal.
    """

    size: float
    sharpness: float
    brightness: float
    yaw: float
    reasons: tuple[Reason, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face ready for the engine. chip: uint8 [S, S, 3] RGB, None when the quality gate refused it."""

    face: Face
    chip: Image | None
    quality: Quality


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one face in one frame.

    p_live: temporally smoothed P(live) in [0, 1], NaN until something was scored. p_frame: P(live) of this frame alone,
    NaN when this frame was not scored. threshold: p_live >= threshold means LIVE. reasons: why CANNOT_TELL.
    """

    face: Face
    label: Label
    p_live: float
    p_frame: float
    threshold: float
    reasons: tuple[Reason, ...] = ()

    @property
    def track(self) -> int:
        return self.face.track

    @property
    def scored(self) -> bool:
        return not math.isnan(self.p_frame)


@dataclass(frozen=True, slots=True)
class Observation:
    """All that is known about one frame, as it leaves the pipeline.

    stage_ms: milliseconds by stage name (detect, track, quality, align, infer, decide). dropped: frames of a live
    source dropped so far. aligned: the chips behind the verdicts, for the crop inspector.
    """

    frame: Frame
    verdicts: tuple[Verdict, ...]
    stage_ms: Mapping[str, float]
    dropped: int = 0
    aligned: tuple[AlignedFace, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What really runs. provider is what the runtime reports after loading, never what was asked for. size, margin, crop:
    its `preprocess.CropRule`. further: those of further networks, where it averages several; see `preprocess.rules`."""

    name: str
    path: str
    backend: str
    provider: str
    precision: str
    size: int
    margin: float
    threshold: float
    sha256: str
    max_batch: int | None = None
    notes: tuple[str, ...] = field(default=())
    crop: Literal["aligned", "upright"] = "aligned"
    further: tuple[CropRule, ...] = ()
