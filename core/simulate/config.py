"""The simulator's one configuration: ranges by domain, all seeded, read from TOML or taken from `domains.py`.

A domain is a camera, a room and the instruments shown to that camera. Ranges are (low, high); a shot draws each value
uniformly, or log-uniformly where the type is LogRange. Sources of the ranges are in docs/simulator.md; what is marked
(assumed) there and here is our estimate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from dtda.core.settings import read_toml, wrong_field


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= bounds[1]:
        raise ValueError("the first number of a range must not be above the second")
    return bounds


def _positive(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError("both numbers must be above 0")
    return bounds


Ingredient = Literal["lattice", "exposure", "context", "glare", "camera", "codec", "motion"]


def _named_once(names: tuple[Ingredient, ...]) -> tuple[Ingredient, ...]:
    return tuple(sorted(set(names)))


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
LogRange = Annotated[Range, AfterValidator(_positive)]
Share = Annotated[float, Field(ge=0, le=1)]
Sides = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    # Fields that came later; a record leaves them out at their defaults, so that older sets can be gone on with.
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _recorded(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        defaults = {name: type(self).model_fields[name].default for name in self.later}
        return {name: value for name, value in handler(self).items() if defaults.get(name, ...) != getattr(self, name)}


class Camera(Part):
    """What turns radiance into a picture file.

    sensor, output: (width, height), pixels; an old webcam interpolates a small sensor. focal: focal length in frame
    widths (0.87 is a view of 60 degrees). blur: Gaussian sigma of the lens in focus, sensor pixels. skips: share of
    cameras whose stream takes every n-th pixel of a finer sensor, n from finer; lens and aperture are those of its
    pixels. pupil_mm: diameter of the entrance pupil; focus_m: distance that is sharp, of a fixed-focus lens; focus_error:
    share of shots of an autofocus that miss, 1 for fixed focus. aperture: side of the light-sensitive square, pixels.
    electrons: collected per cd/m2 at the longest exposure: pixel area x exposure x f-number x QE, e.g. 2 um, f/2.2, 1/30
    s gives about 60. full_well, read_noise: electrons. shutter_s: longest exposure. readout_s: time between the first and
    the last row. bias: exposure error, stops. centre: weight of the centre in metering. on_face: weight of the face that
    it finds. awb: share of the grey-world correction applied. cast: sd of the remaining log2 gain. flare: share of the
    scene's mean light that veils the picture. denoise: strength of luma smoothing, 0 none; chroma_denoise: Gaussian
    sigma, pixels. sharpen: unsharp amount. contrast: slope of the S-curve. saturation: factor. mosaic: share of shots
    through a Bayer mosaic at sensor resolution, the others are binned. codec: jpeg pictures, frames of H.264 video, or
    neither: JPEG at the highest quality used. jpeg: quality. qp: H.264 quantiser. motion: sd of the movement in one longest
    exposure, share of the face's width. metering: of the scene as above, or such that every face is as bright in the
    picture and collects as many electrons, whatever light it sends. ideal: neither noise nor mosaic.
    """

    later = ("metering", "ideal")

    sensor: Sides = (640, 480)
    output: Sides = (640, 480)
    focal: Range = (0.8, 1.2)
    blur: Range = (0.3, 0.8)
    skips: Share = 0.6
    finer: LogRange = (2.0, 6.0)
    pupil_mm: Range = (0.4, 1.1)
    focus_m: LogRange = (0.25, 1.0)
    focus_error: Share = 1.0
    aperture: Range = (0.6, 0.95)
    electrons: LogRange = (8.0, 80.0)
    full_well: Range = (3000.0, 9000.0)
    read_noise: Range = (2.0, 8.0)
    shutter_s: LogRange = (0.03, 0.07)
    readout_s: LogRange = (0.015, 0.033)
    bias: Range = (-0.7, 0.7)
    centre: Range = (0.3, 1.0)
    on_face: Range = (0.2, 1.0)
    awb: Range = (0.4, 1.0)
    cast: float = 0.14
    flare: Range = (0.0, 0.06)
    denoise: Range = (0.0, 1.2)
    chroma_denoise: Range = (0.3, 2.5)
    sharpen: Range = (0.0, 0.8)
    contrast: Range = (0.9, 1.4)
    saturation: Range = (0.7, 1.2)
    mosaic: Share = 0.6
    codec: Literal["jpeg", "h264", "none"] = "jpeg"
    jpeg: tuple[int, int] = (55, 95)
    qp: tuple[int, int] = (22, 36)
    motion: float = 0.008
    metering: Literal["scene", "face"] = "scene"
    ideal: bool = False


class Room(Part):
    """Light and surroundings.

    lux: illuminance on the subject. kelvin: colour temperature. reflectance: of the walls. side: log2 ratio of light across
    the face. backlight: share of shots with a window or lamp behind the subject. flicker: relative depth of the lamps' 100
    or 120 Hz. background_blur: sigma, shares of the frame's width. as_photographed: share of shots in which live people
    stand before the background of their photo, and all pictures end where that photo would.
    """

    later = ("as_photographed",)

    lux: LogRange = (30.0, 600.0)
    kelvin: Range = (2700.0, 6500.0)
    reflectance: Range = (0.1, 0.8)
    side: Range = (0.0, 1.0)
    backlight: Share = 0.2
    flicker: Range = (0.0, 0.1)
    background_blur: Range = (0.0, 0.01)
    as_photographed: Share = 0.0


class Medium(Part):
    """What prints and displays share.

    width_mm, height_mm: of the sheet or screen held upright. upright: share held upright. fill: share of its width that
    the picture takes, 1 is full-screen. picture: short side of the shown picture over the width of its face. facing:
    light that falls on it relative to that on a face in its place, stops. held: share held in a hand. tilt: sd of yaw and
    pitch, degrees. borderless: what is shown fills the frame, a smooth rim beyond its own end: no edge, bezel or hand is
    seen; its size in millimetres stays.
    """

    later = ("borderless",)

    width_mm: LogRange
    height_mm: LogRange
    upright: Share = 0.5
    full: Share = 0.6
    fill: Range = (0.4, 0.95)
    picture: LogRange = (1.7, 6.0)
    facing: Range = (0.0, 0.0)
    held: Share = 0.7
    tilt: float = 9.0
    borderless: bool = False


class Print(Medium):
    """A printed photo.

    paper: reflectance of the white paper. ink: darkest reflectance. gain: exponent of dot gain. gamut: share of chroma
    kept. punch: slope of the driver's tone curve. screen: halftone rulings, lines per inch, 0 for error diffusion. dots:
    contrast of the halftone. dot_mm: dot of error diffusion. grain: relative noise of the paper at 1 mm. gloss: specular
    reflectance. rough: blur of the mirrored room, 0 mirror, 1 matt. bend: sagitta over width. holes: share with eyes and
    mouth cut out. outline: share cut along the head.
    """

    kind: Literal["print"] = "print"
    facing: Range = (0.0, 1.6)
    name: str = "laser"
    width_mm: LogRange = (148.0, 210.0)
    height_mm: LogRange = (210.0, 297.0)
    upright: Share = 0.8
    paper: Range = (0.75, 0.92)
    ink: Range = (0.01, 0.03)
    gain: Range = (0.75, 1.2)
    gamut: Range = (0.85, 1.2)
    punch: Range = (1.0, 1.5)
    screen: Range = (85.0, 150.0)
    dots: Range = (0.4, 0.8)
    dot_mm: Range = (0.04, 0.1)
    grain: Range = (0.004, 0.012)
    gloss: Range = (0.0, 0.015)
    rough: Range = (0.5, 1.0)
    bend: Range = (0.0, 0.08)
    holes: Share = 0.0
    outline: Share = 0.0


class Display(Medium):
    """An emissive screen.

    pitch_mm: pixel pitch. white: cd/m2 shown for white in a room of 500 lx; set by a light sensor or by hand, screens are
    dimmed in dark rooms, as (lux / 500) ** follow. black: of white. gamma: display exponent over the picture's own.
    layout: sub-pixels. gap: black matrix. kelvin: white point, night mode included. vivid: chroma gain of the panel's wide
    gamut. roll_off: brightness lost across the panel, stops. flicker: relative depth of pulse-width dimming or backlight
    ripple, at hertz. gloss, rough: as in Print. haze: diffuse reflectance. bezel: width over the screen's.
    """

    kind: Literal["display"] = "display"
    name: str = "phone"
    width_mm: LogRange = (58.0, 71.0)
    height_mm: LogRange = (110.0, 156.0)
    upright: Share = 0.8
    picture: LogRange = (1.5, 3.2)
    pitch_mm: Range = (0.055, 0.065)
    white: LogRange = (70.0, 320.0)
    follow: Range = (0.3, 0.7)
    black: LogRange = (0.0005, 0.002)
    gamma: Range = (0.9, 1.2)
    layout: Literal["stripe", "pentile"] = "stripe"
    gap: Range = (0.05, 0.2)
    kelvin: Range = (4000.0, 7500.0)
    vivid: Range = (0.9, 1.3)
    roll_off: Range = (0.0, 0.3)
    flicker: Range = (0.0, 0.15)
    hertz: LogRange = (60.0, 250.0)
    gloss: Range = (0.01, 0.045)
    rough: Range = (0.0, 0.25)
    haze: Range = (0.002, 0.012)
    bezel: Range = (0.02, 0.1)


Instrument = Annotated[Print | Display, Field(discriminator="kind")]


class Domain(Part):
    """One acquisition condition. held_out: never trained on; only its test identities are rendered."""

    name: str
    camera: Camera
    room: Room
    instruments: Annotated[list[Instrument], Field(min_length=1)]
    held_out: bool = False


def _domains() -> list[Domain]:
    from dtda.core.simulate.domains import DOMAINS

    return list(DOMAINS)


class SimulateConfig(Part):
    """A data set.

    seed: everything follows from it. live, attack: shots per portrait and domain. face: width of the face over the
    shorter side of the frame. context: side of a picture over the width of its face box, the frame's borders permitting.
    sources: pictures of a person that attackers have. video_qp, video_side: H.264 quantiser and long side, pixels, of
    those shown as a video. clip: frames of a clip for each shot, 0 for stills. split: shares of the identities in train
    and dev, the rest is test. portraits: use at most so many. video_codec: of the pictures that are shown. without: causes
    that are switched off (see `ingredients.py`). people: of these splits alone, if any are named.
    """

    later = ("video_codec", "without", "people")

    seed: int = 0
    live: Annotated[int, Field(ge=1)] = 2
    attack: Annotated[int, Field(ge=1)] = 2
    face: LogRange = (0.15, 0.45)
    context: Annotated[float, Field(ge=2.0)] = 4.0
    sources: Annotated[int, Field(ge=1)] = 3
    video_qp: tuple[int, int] = (20, 36)
    video_side: LogRange = (400.0, 1000.0)
    clip: Annotated[int, Field(ge=0)] = 0
    split: tuple[Share, Share] = (0.7, 0.15)
    portraits: Annotated[int, Field(ge=3)] | None = None
    video_codec: Literal["h264", "none"] = "h264"
    without: Annotated[tuple[Ingredient, ...], AfterValidator(_named_once)] = ()
    people: tuple[Literal["train", "dev", "test"], ...] = ()
    domains: Annotated[list[Domain], Field(min_length=1, default_factory=_domains)]

    @model_validator(mode="after")
    def _checked(self) -> SimulateConfig:
        if sum(self.split) >= 1:
            raise ValueError("split: the shares of train and dev must leave some for test")
        return self


def read_config(path: Path | None) -> SimulateConfig:
    """Defaults, or a TOML file. Raises DtdaError naming the first wrong field."""
    if path is None:
        return SimulateConfig()
    try:
        values = read_toml(path, "no such configuration file; leave --config out for the defaults")
        return SimulateConfig.model_validate(values)
    except ValidationError as error:
        raise wrong_field(path, error) from error
