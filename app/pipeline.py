"""The path of a frame, in the order it is taken; start reading here. No Qt.

source -> detect (every n-th frame) / track -> quality gate -> align -> engine -> temporal decision -> Observation

`python -m dtda.app.pipeline` runs it on the generated sample and shows what each stage gets and how long it takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dtda.core.decide import Decider
from dtda.core.preprocess import crop, rules
from dtda.core.quality import QualityGate
from dtda.core.track import Tracker
from dtda.core.types import AlignedFace, Face, Floats, Frame, Image, Observation
from dtda.engines.base import Detector, Engine

if TYPE_CHECKING:
    from dtda.app.sources import Source

MIN_FRAMES = 3  # scored frames before the first verdict on a face


class Pipeline:
    """Everything between a frame and its observation. Used and closed by one thread."""

    def __init__(
        self, detector: Detector, engine: Engine, *, threshold: float | None = None, detect_every: int = 5
    ) -> None:
        """threshold: P(live) from which a face is LIVE, the engine's own unless named. Takes both over and closes them.

        detect_every: frames from one detection to the next; the faces between are tracked.
        """
        self.detector = detector
        self.engine = engine
        self._rule, *self._further = rules(engine.info)
        self._tracker = Tracker(detect_every)
        self._gate = QualityGate()
        self._decider = Decider(engine.info.threshold if threshold is None else threshold, MIN_FRAMES)

    @property
    def threshold(self) -> float:
        return self._decider.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._decider.threshold = value

    def process(self, frame: Frame) -> Observation:
        """Everything that is known about one frame. Frames of a clip come in order; `reset` before a jump."""
        stages = Stopwatch()
        faces = self._faces(frame.bgr, stages)
        with stages("quality"):
            qualities = [self._gate.measure(frame.bgr, face) for face in faces]
        with stages("align"):
            aligned = tuple(
                AlignedFace(face, crop(frame.bgr, face.points, self._rule) if quality.ok else None, quality)
                for face, quality in zip(faces, qualities, strict=True)
            )
            chips = self._chips(frame.bgr, aligned)
        with stages("infer"):
            scores = self._scores(aligned, chips)
        with stages("decide"):
            verdicts = self._decider.update(frame.t, aligned, scores.tolist())
        return Observation(frame, verdicts, stages.ms, aligned=aligned)

    def reset(self, length: int | None = None) -> None:
        """Forget the faces: a new clip or a seek. length: frames of the clip; a single picture is judged on its one."""
        self._tracker.reset()
        self._decider.reset()
        self._decider.min_frames = MIN_FRAMES if length is None else max(1, min(MIN_FRAMES, length))

    def close(self) -> None:
        """Close engine and detector. Idempotent."""
        self.engine.close()
        self.detector.close()

    def _faces(self, bgr: Image, stages: Stopwatch) -> tuple[Face, ...]:
        """The faces with their track ids: followed from the frame before, or detected."""
        if not self._tracker.due:
            with stages("track"):
                followed = self._tracker.follow(bgr)
            if followed is not None:
                return followed
        with stages("detect"):
            detected = self.detector.detect(bgr)
        with stages("track"):
            return self._tracker.update(bgr, detected)

    def _chips(self, bgr: Image, aligned: tuple[AlignedFace, ...]) -> list[Image]:
        """Of the faces that may be scored, a batch for each network of the engine; empty without such faces."""
        seen = [(face.face.points, face.chip) for face in aligned if face.chip is not None]
        if not seen:
            return []
        others = [np.stack([crop(bgr, points, rule) for points, _ in seen]) for rule in self._further]
        return [np.stack([chip for _, chip in seen]), *others]

    def _scores(self, aligned: tuple[AlignedFace, ...], chips: list[Image]) -> Floats:
        """P(live) of each face, NaN for those the quality gate refused. One batch."""
        scores = np.full(len(aligned), np.nan, np.float32)
        if chips:
            scores[[face.chip is not None for face in aligned]] = self.engine.infer(*chips)
        return scores


class Stopwatch:
    """Adds up milliseconds by stage name; a stage that did not run has no entry."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + (time.perf_counter() - start) * 1e3


def tour(source: Source, pipeline: Pipeline, count: int, write: Callable[[str], object]) -> None:
    """Run the first frames of a source through the pipeline and write what goes by."""
    write(f"source    {type(source).__name__}, {source.title}: {', '.join(source.clips)}\n")
    write(f"detector  {pipeline.detector.name}\nengine    {pipeline.engine.info}\n")
    for _ in range(count):
        frame = source.read()
        if frame is None:
            break
        seen = pipeline.process(frame)
        write(f"\nframe {frame.index} at {frame.t:.3f} s: {frame.bgr.dtype} {list(frame.bgr.shape)} BGR\n")
        write("  ms      " + ", ".join(f"{stage} {ms:.2f}" for stage, ms in seen.stage_ms.items()) + "\n")
        for face, verdict in zip(seen.aligned, seen.verdicts, strict=True):
            chip = "refused" if face.chip is None else f"{face.chip.dtype} {list(face.chip.shape)} RGB"
            label = " ".join([verdict.label.name, *(f"({reason.value})" for reason in verdict.reasons)])
            write(f"  face    track {verdict.track}, box {face.face.box.round().astype(int).tolist()}, chip {chip}\n")
            write(f"  quality {face.quality}\n")
            write(f"  verdict {label}, p_frame {verdict.p_frame:.3f}, p_live {verdict.p_live:.3f}\n")


def main() -> None:
    from dtda.app.sources import open_source
    from dtda.engines.detect import open_detector
    from dtda.engines.registry import open_engine

    pipeline = Pipeline(open_detector(), open_engine("auto"))
    source = open_source("sample")
    tour(source, pipeline, 8, sys.stdout.write)
    source.close()
    pipeline.close()


if __name__ == "__main__":
    from dtda.app.cli import report_errors

    sys.exit(report_errors("pipeline", main))
