"""Does an engine still say what its student says? Both score the same face chips, and a bad engine is refused.

The chips are cut from the generated sample clips and from whatever pictures and clips the user names, and each is scored
as it is and varied in light, colour and framing. The variations matter: the sample shows one person, and the shipped
student in INT8, calibrated on that person alone, is within 0.02 of FP32 on her frames, but off by 0.75 on other people;
on her varied frames it is off by 0.50, so that the gate sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from dtda.core.errors import DtdaError
from dtda.core.types import Floats, Image

if TYPE_CHECKING:
    from dtda.core.preprocess import CropRule
    from dtda.engines.base import Engine

# Largest |dp| that passes. Measured with onnxruntime on the CPU, shipped student, over 323 photos of other people than the
# sample's: FP16 0.0024 at most, 0.0004 on average; INT8 0.12 and 0.018; INT8 calibrated on the sample alone 0.75 and
# 0.068. Kernels of a GPU round elsewhere, so there is room above. In FP32 (TF32 is off) only the order of additions differs.
LIMITS = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.2}
MEAN_SHARE = 0.2  # the mean |dp| may be this part of the limit
FLIP_SHARE = 0.05  # verdicts that may differ: faces whose P(live) lies next to the threshold
PER_CLIP = 10  # frames looked at of each clip
PER_FOLDER = 200  # files of a folder, evenly spread over their names: more faces change little, and each takes its time
VARIATIONS = 2  # varied copies of each chip
BATCH = 32
REPEATS = 5  # calls with one size of batch, so that a CUDA graph is made of it and replayed
SIZES = (1,) * REPEATS + (3,) * REPEATS  # before the largest


class Parity(BaseModel):
    """Engine against reference on the same chips.

    frames: how many scores. max_dp, mean_dp: of |difference of P(live)|. flips: verdicts at the student's threshold that
    differ. limit: see LIMITS. passed: max_dp within it, mean_dp and flips within their shares, max_px within limit_px.
    reference: what the engine was compared with. max_px, limit_px: of a detector's boxes and points, see `heatmaps`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    frames: int = Field(ge=1)
    max_dp: float = Field(ge=0)
    mean_dp: float = Field(ge=0)
    flips: int = Field(ge=0)
    limit: float = Field(ge=0)
    passed: bool
    reference: str
    max_px: float | None = None
    limit_px: float | None = None

    def sentence(self) -> str:
        return (
            f"{'within' if self.passed else 'outside of'} the limits: max |dp| {self.max_dp:.2g} (at most {self.limit:g}), "
            f"mean {self.mean_dp:.2g} (at most {self.limit * MEAN_SHARE:g}), {self.flips} of {self.frames} verdicts differ "
            f"(at most {FLIP_SHARE:.0%}){self._pixels()}, against {self.reference}"
        )

    def _pixels(self) -> str:
        if self.max_px is None:
            return ""
        return f", boxes and points {self.max_px:.2g} pixels off (at most {self.limit_px:g})"


def compare(engine: Engine, reference: Engine, chips: Image, threshold: float, limit: float) -> Parity:
    """Both engines on the same chips, uint8 [N, S, S, 3] RGB, N >= 1. limit: one of LIMITS.

    An engine of a largest batch is tried REPEATS times in ones, threes and that: with few chips, on some of them again.
    """
    least = REPEATS * (1 + 3 + engine.info.max_batch) if engine.info.max_batch else 0
    order = np.arange(max(len(chips), least)) % len(chips)
    found, expected = infer(engine, chips[order]), infer(reference, chips)[order]
    return judge(found, expected, threshold, limit, reference.info.backend)


def infer(engine: Engine, chips: Image) -> Floats:
    """P(live) of any number of chips, in batches the engine takes. Raises DtdaError as the engine does.

    The first ones go alone and in threes, as faces come from a camera: TensorRT has other kernels for each size.
    """
    parts, start = [], 0
    for size in sizes(len(chips), engine.info.max_batch or BATCH):
        parts.append(engine.infer(chips[start : start + size]))
        start += size
    return np.concatenate(parts)


def sizes(count: int, most: int) -> list[int]:
    """Of the batches that `count` chips are scored in, none above `most`: ones, threes, and then as many as go at once."""
    few = [size for size in SIZES if size <= most]
    out: list[int] = []
    while sum(out) < count:
        size = few[len(out)] if len(out) < len(few) else most
        out.append(min(size, count - sum(out)))
    return out


def judge(found: Floats, expected: Floats, threshold: float, limit: float, reference: str) -> Parity:
    """The verdict on scores, both float32 [N]."""
    flips = int(((found >= threshold) != (expected >= threshold)).sum())
    return verdict(found - expected, flips, len(found), limit, reference)


def verdict(difference: Floats, flips: int, frames: int, limit: float, reference: str) -> Parity:
    """Whether differences, of any shape, are small enough. What is not a number is as wrong as can be."""
    difference = np.where(np.isfinite(difference), np.abs(difference), 1.0)
    worst, mean = float(difference.max()), float(difference.mean(dtype=np.float64))
    return Parity(
        frames=frames,
        max_dp=worst,
        mean_dp=mean,
        flips=flips,
        limit=limit,
        passed=worst <= limit and mean <= limit * MEAN_SHARE and flips <= frames * FLIP_SHARE,
        reference=reference,
    )


def chips(rule: CropRule, extra: Sequence[Path] = (), step: Callable[[float], None] = lambda _: None) -> Image:
    """Face chips of the generated sample clips and of the pictures, clips and folders named, uint8 [N, S, S, 3] RGB.

    step: called with the part done, in [0, 1]; it may raise to stop. Raises DtdaError for what cannot be read, and when no
    face is found in what the user named.
    """
    from dtda.core.preprocess import crop
    from dtda.engines.detect import CenterFaceDetector

    detector = CenterFaceDetector()
    try:
        found: list[Image] = []
        own = 0
        for bgr, named in frames(extra, step):
            faces = [crop(bgr, face.points, rule) for face in detector.detect(bgr)]
            own += len(faces) if named else 0
            found += faces
    finally:
        detector.close()
    if extra and not own:
        raise DtdaError(f"{', '.join(map(str, extra))}: no face was found there; name pictures or clips of faces.")
    return np.stack(found)


def frames(extra: Sequence[Path] = (), step: Callable[[float], None] = lambda _: None) -> Iterator[tuple[Image, bool]]:
    """Some frames, uint8 [H, W, 3] BGR, of each sample clip, and of what the user names, which is True then; see `chips`."""
    from dtda.core.data.media import read_frames

    shown = _sample(step)
    files = [*shown, *_files(extra)]
    for number, path in enumerate(files):
        for _, bgr in read_frames(path, PER_CLIP):
            step((1 + number) / (2 + len(files)))
            yield bgr, number >= len(shown)


def varied(chips: Image, copies: int = VARIATIONS, seed: int = 0) -> Image:
    """`copies` of each chip, uint8 [N, S, S, 3], with another light, colour, contrast and framing: [N * copies, S, S, 3]."""
    rng = np.random.default_rng(seed)
    return np.stack([_vary(chip, rng) for chip in chips for _ in range(copies)])


def _vary(chip: Image, rng: np.random.Generator) -> Image:
    import cv2

    side = chip.shape[0]
    picture: npt.NDArray[Any] = (chip / 255.0) ** rng.uniform(0.5, 2)
    mean = picture.mean()
    picture = (picture - mean) * rng.uniform(0.6, 1.3) + mean * rng.uniform(0.6, 1.3)
    picture = picture * rng.uniform(0.8, 1.2, (1, 1, 3))
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-12, 12), rng.uniform(0.8, 1.25))
    affine = np.asarray(turn, np.float64) + [[0, 0, rng.uniform(-side / 16, side / 16)] for _ in range(2)]
    turned = cv2.warpAffine(
        np.ascontiguousarray(picture, np.float32), affine, (side, side), borderMode=cv2.BORDER_REFLECT
    )
    if rng.random() < 0.3:
        turned = cv2.GaussianBlur(turned, (0, 0), rng.uniform(0.5, 1.5))
    return np.asarray(np.clip(turned * 255, 0, 255), np.uint8)


def _sample(step: Callable[[float], None]) -> list[Path]:
    """The sample clips, where the window keeps them too; rendered (seconds) by whoever needs them first."""
    import platformdirs

    from dtda.core.simulate import sample

    folder = Path(platformdirs.user_cache_dir("dtda-demo", appauthor=False)) / f"sample-v{sample.VERSION}"
    paths = []
    for name in sample.CLIPS:
        path = folder / f"{name}.avi"
        if not path.is_file():

            def stopped() -> bool:
                step(0.0)
                return False

            sample.render_clip(name, path, stopped)
        paths.append(path)
    return paths


def _files(extra: Sequence[Path]) -> Iterator[Path]:
    """The media files named, folders as up to PER_FOLDER in them. Raises DtdaError for a folder without any."""
    from dtda.core.data.media import PICTURES, VIDEOS, picked

    for path in extra:
        if not path.is_dir():
            yield path
            continue
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES + VIDEOS)
        if not files:
            raise DtdaError(f"{path}: there are no pictures and no clips in this folder; name another.")
        yield from (files[index] for index in picked(len(files), PER_FOLDER))
