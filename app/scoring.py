"""From the observations of a whole clip to one score: that of its main face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dtda.app.pipeline import Pipeline
from dtda.app.sources import Source
from dtda.core.types import Label, Verdict


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in one frame. frame: its index. t: seconds of media time."""

    frame: int
    t: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ClipScore:
    """frames: looked at. scored: those in which the main face was scored. p_live: their mean, None without any.

    attack_reason: what speaks against live, empty for live. sightings: all faces of all frames, when asked for.
    cut_short: (frames there were, frames the file announces) when it ended early.
    """

    frames: int
    scored: int
    p_live: float | None
    label: Label
    attack_reason: str
    sightings: tuple[Sighting, ...] = ()
    cut_short: tuple[int, int] | None = None

    @property
    def non_response(self) -> int:
        """Frames without a score."""
        return self.frames - self.scored


@dataclass(slots=True)
class _Track:
    """extent: box areas added up over the frames, so that the main face is large and stays long."""

    extent: float = 0.0
    scores: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


def score_clip(
    source: Source,
    pipeline: Pipeline,
    every: int = 1,
    keep_sightings: bool = False,
    on_frame: Callable[[], object] = lambda: None,
) -> ClipScore:
    """Run the current clip of a source to its end. every: look at each such frame only. on_frame: called for each.

    Raises DtdaError when the clip cannot be read.
    """
    pipeline.reset(None if source.length is None else (source.length + every - 1) // every)
    tracks: dict[int, _Track] = {}
    sightings: list[Sighting] = []
    frames = read = 0
    while (frame := source.read()) is not None:
        on_frame()
        read += 1
        if frame.index % every:
            continue
        frames += 1
        seen = pipeline.process(frame)
        for face, verdict in zip(seen.aligned, seen.verdicts, strict=True):
            track = tracks.setdefault(verdict.track, _Track())
            track.extent += verdict.face.width * verdict.face.height
            track.refusals.update(reason.value for reason in face.quality.reasons)
            if verdict.scored:
                track.scores.append(verdict.p_frame)
            if keep_sightings:
                sightings.append(Sighting(frame.index, frame.t, verdict))
    score = _summary(frames, tracks, pipeline.threshold)
    # Containers are often wrong by a frame or two; a file that was cut lacks more.
    cut_short = (read, source.length) if source.length is not None and read < 0.9 * source.length else None
    return replace(score, sightings=tuple(sightings), cut_short=cut_short)


def _summary(frames: int, tracks: dict[int, _Track], threshold: float) -> ClipScore:
    if not tracks:
        return ClipScore(frames, 0, None, Label.CANNOT_TELL, "no face found")
    # A face that could be scored comes before one that could not.
    main = max(tracks.values(), key=lambda track: (bool(track.scores), track.extent))
    scored = len(main.scores)
    if not scored:
        reasons = ", ".join(name for name, _ in main.refusals.most_common())
        return ClipScore(frames, 0, None, Label.CANNOT_TELL, reasons)
    p_live = sum(main.scores) / scored
    if p_live >= threshold:
        return ClipScore(frames, scored, p_live, Label.LIVE, "")
    below = sum(score < threshold for score in main.scores)
    reason = f"{100 * below / scored:.0f} % of {scored} scored frames below {threshold:.3g}"
    return ClipScore(frames, scored, p_live, Label.SPOOF, reason)
