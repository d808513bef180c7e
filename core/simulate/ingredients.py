"""What can be taken out of the simulator, one physical cause at a time, and what its absence is in the configuration.

A reduced configuration has the cause's ranges at the value at which it does nothing. It draws as many random numbers as
the full one, so that both sets have the same people, splits, poses, rooms and instruments, picture by picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dtda.core.simulate.config import Camera, Display, Domain, Ingredient, Part, Print, SimulateConfig

AnyPart = TypeVar("AnyPart", bound=Part)


@dataclass(frozen=True, slots=True)
class Absence:
    """says: what a set without the cause lacks. camera, paper, display, whole: fields of Camera, Print, Display and
    SimulateConfig that change. first: the camera that took the shown picture changes too."""

    says: str
    camera: Mapping[str, object] = field(default_factory=dict)
    paper: Mapping[str, object] = field(default_factory=dict)
    display: Mapping[str, object] = field(default_factory=dict)
    whole: Mapping[str, object] = field(default_factory=dict)
    first: bool = False


NONE = (0.0, 0.0)
FINEST = (1e-4, 1e-4)  # mm: no camera sees it

ABSENCES: dict[Ingredient, Absence] = {
    "lattice": Absence(
        "no sub-pixels, halftone or inkjet dots: instruments of continuous tone",
        paper={"screen": NONE, "dot_mm": FINEST},
        display={"pitch_mm": FINEST},
    ),
    "exposure": Absence(
        "no metering: every face equally bright, whatever light a person, print or screen sends",
        camera={"metering": "face", "bias": NONE},
    ),
    "context": Absence(
        "no hands, bezels, edges or room around an instrument: what it shows fills the frame",
        paper={"borderless": True},
        display={"borderless": True},
    ),
    "glare": Absence(
        "no mirrored room or lifted black on screens and paper, no fall-off across screens",
        paper={"gloss": NONE},
        display={"gloss": NONE, "haze": NONE, "roll_off": NONE},
    ),
    "camera": Absence(
        "no lens blur, flare, noise, mosaic, colour error, smoothing, sharpening or tone curve, in the first camera either",
        camera={
            "blur": NONE, "focus_error": 0.0, "flare": NONE, "cast": 0.0, "denoise": NONE, "chroma_denoise": NONE,
            "sharpen": NONE, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "ideal": True,
        },
        first=True,
    ),
    "codec": Absence(
        "no JPEG or H.264 of the camera, nor of the pictures and videos that are shown (files are JPEG of quality 98)",
        camera={"codec": "none"},
        whole={"video_codec": "none"},
        first=True,
    ),
    "motion": Absence(
        "no movement during an exposure",
        camera={"motion": 0.0},
        first=True,
    ),
}  # fmt: skip


def reduced(config: SimulateConfig) -> SimulateConfig:
    """The configuration that is rendered: without the causes in `config.without`. The same when applied again."""
    if not config.without:
        return config
    absences = [ABSENCES[name] for name in config.without]
    changed = config.model_copy(update={"domains": [_domain(domain, absences) for domain in config.domains]})
    return _changed(changed, [absence.whole for absence in absences])


def first_camera(camera: Camera, without: Sequence[Ingredient]) -> Camera:
    """The camera that took the picture which an attack shows."""
    return _changed(camera, [ABSENCES[name].camera for name in without if ABSENCES[name].first])


def _domain(domain: Domain, absences: Sequence[Absence]) -> Domain:
    instruments: list[Print | Display] = []
    for instrument in domain.instruments:
        if isinstance(instrument, Print):
            instruments.append(_changed(instrument, [absence.paper for absence in absences]))
        else:
            instruments.append(_changed(instrument, [absence.display for absence in absences]))
    camera = _changed(domain.camera, [absence.camera for absence in absences])
    return domain.model_copy(update={"camera": camera, "instruments": instruments})


def _changed(part: AnyPart, changes: Sequence[Mapping[str, object]]) -> AnyPart:
    return type(part).model_validate(dict(part) | {name: value for change in changes for name, value in change.items()})
