"""The simulator's one configuration: ranges by domain, all seeded, read from TOML or taken from these defaults.

A domain is a camera, a room and the instruments shown to that camera. Ranges are (low, high); a shot draws each value
uniformly, or log-uniformly where the docstring says so. Values marked (est.) are our estimates, not measurements.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dtda.core.errors import DtdaError


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= bounds[1]:
        raise ValueError("the first number of a range must not be above the second")
    return bounds


def _positive(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError("both numbers must be above 0")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
LogRange = Annotated[Range, AfterValidator(_positive)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Camera(Part):
    """What turns radiance into a JPEG.

    sensor, output: (width, height) in pixels; an old webcam interpolates a small sensor. blur: lens Gaussian sigma, sensor
    pixels (est.; streams below the sensor's own resolution see a lens sharper than their pixels). aperture: side of the
    light-sensitive square, pixels; small where lines are skipped. electrons: collected per cd/m2 at the longest
    exposure, log-uniform: pixel area x exposure x f-number x QE, e.g. 2 um, f/2.2, 1/30 s gives about 60. full_well:
    electrons (image-sensor data sheets: 4 000-10 000 for 1.4-3 um pixels). read_noise: electrons rms. bias: exposure
    error in stops. centre: weight of the centre in metering. awb: share of the grey-world correction applied. cast: sd of
    the remaining log2 gain. denoise, chroma_denoise: Gaussian sigma, pixels. sharpen: unsharp amount. contrast: slope of
    the S-curve. saturation: factor. jpeg: quality. mosaic: share of shots through a Bayer mosaic at output resolution.
    """

    sensor: tuple[int, int] = (640, 480)
    output: tuple[int, int] = (640, 480)
    blur: Range = (0.1, 0.8)
    aperture: Range = (0.2, 0.95)
    electrons: LogRange = (8.0, 80.0)
    full_well: Range = (3000.0, 9000.0)
    read_noise: Range = (2.0, 8.0)
    bias: Range = (-0.7, 0.7)
    centre: Range = (0.3, 1.0)
    awb: Range = (0.4, 1.0)
    cast: float = 0.14
    denoise: Range = (0.0, 1.4)
    chroma_denoise: Range = (0.0, 2.0)
    sharpen: Range = (0.0, 0.8)
    contrast: Range = (0.9, 1.4)
    saturation: Range = (0.7, 1.2)
    jpeg: tuple[int, int] = (55, 95)
    mosaic: Share = 0.5


class Room(Part):
    """Light and surroundings.

    lux: illuminance on the subject, log-uniform (EN 12464-1: offices 500 lx; homes in the evening 30-150 lx, est.).
    kelvin: colour temperature. reflectance: of the walls. side: log2 ratio of light across the face. backlight: share of
    shots with a window or lamp behind the subject, 3 to 20 times the walls. background_blur: sigma, pixels.
    """

    lux: LogRange = (30.0, 600.0)
    kelvin: Range = (2700.0, 6500.0)
    reflectance: Range = (0.1, 0.8)
    side: Range = (0.0, 1.6)
    backlight: Share = 0.2
    background_blur: Range = (0.5, 7.0)


class Print(Part):
    """A printed photo.

    paper: reflectance of the white paper (office paper 0.8-0.9, ISO 2470). ink: darkest reflectance, D = 1.3 to 2.0.
    gain: exponent of dot gain. gamut: share of chroma kept. screen: halftone rulings in lines per inch, 0 for stochastic
    inkjet. dots: contrast of the halftone. grain: relative noise of paper and stochastic dots at 1 mm. gloss: specular
    reflectance of a lamp. bend: sagitta over width. face_mm: printed width of the face. border: white border over width.
    """

    kind: Literal["print"] = "print"
    name: str = "laser"
    paper: Range = (0.72, 0.9)
    ink: Range = (0.02, 0.06)
    gain: Range = (0.85, 1.35)
    gamut: Range = (0.75, 0.98)
    screen: Range = (65.0, 141.0)
    dots: Range = (0.25, 0.6)
    grain: Range = (0.005, 0.02)
    gloss: Range = (0.0, 0.02)
    bend: Range = (0.0, 0.08)
    face_mm: LogRange = (30.0, 150.0)
    border: Range = (0.0, 0.08)


class Display(Part):
    """An emissive screen.

    pitch_mm: pixel pitch (phone 0.055-0.065, tablet 0.096, laptop 0.17-0.25, monitor 0.23-0.31, television 0.4-0.6: data
    sheets). white: cd/m2 shown for white in a room of 500 lx, log-uniform; automatic or by hand, screens are dimmed in
    dark rooms, as (lux / 500) ** 0.45 (est.). black: of white (LCD 1/1000 plus flare). gamma: display exponent
    over the picture's own. layout: sub-pixels. gap: black matrix. kelvin: white point, night mode included. roll_off:
    brightness lost across the panel, stops. flicker: relative depth of rolling-shutter bands. reflect: diffuse reflectance
    of the glass. glare: specular reflectance of a lamp or window. bezel: width over picture width. video_jpeg: quality of
    the video shown. video_side: long side of that video, pixels. face_mm: width of the face on the screen.
    """

    kind: Literal["display"] = "display"
    name: str = "phone"
    pitch_mm: Range = (0.055, 0.065)
    white: LogRange = (120.0, 500.0)
    black: LogRange = (0.001, 0.01)
    gamma: Range = (0.9, 1.2)
    layout: Literal["stripe", "pentile"] = "stripe"
    gap: Range = (0.05, 0.2)
    kelvin: Range = (4300.0, 7500.0)
    roll_off: Range = (0.0, 0.25)
    flicker: Range = (0.0, 0.06)
    reflect: Range = (0.005, 0.03)
    glare: Range = (0.0, 0.02)
    bezel: Range = (0.02, 0.1)
    video_jpeg: tuple[int, int] = (40, 90)
    video_side: Range = (360.0, 900.0)
    face_mm: LogRange = (40.0, 65.0)


Instrument = Annotated[Print | Display, Field(discriminator="kind")]

LASER = Print()
INKJET = Print(name="inkjet", screen=(0, 0), grain=(0.01, 0.03), gamut=(0.85, 1.0), gloss=(0.0, 0.06), ink=(0.01, 0.04))
MAGAZINE = Print(name="magazine", screen=(133, 175), dots=(0.4, 0.7), gloss=(0.01, 0.05), face_mm=(25, 110))
PHONE = Display(layout="pentile")
TABLET = Display(name="tablet", pitch_mm=(0.09, 0.1), white=(120, 450), face_mm=(40, 120))
LAPTOP = Display(name="laptop", pitch_mm=(0.15, 0.25), white=(100, 350), roll_off=(0.0, 0.45), face_mm=(30, 150))
MONITOR = Display(name="monitor", pitch_mm=(0.23, 0.31), white=(100, 350), face_mm=(35, 190), video_side=(480, 1000))
TELEVISION = Display(
    name="television", pitch_mm=(0.4, 0.6), white=(100, 400), face_mm=(70, 320), video_side=(480, 1000)
)


class Domain(Part):
    """One acquisition condition. held_out: never trained on; only its test identities are rendered."""

    name: str
    camera: Camera
    room: Room
    instruments: Annotated[list[Instrument], Field(min_length=1)]
    held_out: bool = False


DOMAINS = [
    Domain(
        name="office-laptop",
        camera=Camera(electrons=(12, 80), jpeg=(70, 95)),
        room=Room(lux=(120, 700), kelvin=(3500, 5500)),
        instruments=[LASER, PHONE, MONITOR],
    ),
    Domain(
        name="home-webcam",
        camera=Camera(
            sensor=(400, 300),
            electrons=(4, 40),
            read_noise=(3, 12),
            blur=(0.1, 0.8),
            jpeg=(45, 85),
            denoise=(0, 1.3),
            saturation=(0.5, 1.1),
            contrast=(0.85, 1.3),
            mosaic=0.8,
        ),
        room=Room(lux=(25, 250), kelvin=(2600, 4000), backlight=0.3),
        instruments=[INKJET, PHONE, LAPTOP],
    ),
    Domain(
        name="window-phone",
        camera=Camera(
            sensor=(540, 720),
            output=(540, 720),
            electrons=(20, 120),
            sharpen=(0.2, 1.4),
            contrast=(1.0, 1.5),
            saturation=(0.85, 1.35),
            denoise=(0, 1.0),
            jpeg=(75, 96),
        ),
        room=Room(lux=(100, 1500), kelvin=(4500, 7500), side=(0.0, 2.2), backlight=0.35),
        instruments=[LASER, INKJET, TABLET, LAPTOP],
    ),
    Domain(
        name="kiosk",
        camera=Camera(
            sensor=(720, 405),
            output=(720, 405),
            electrons=(10, 60),
            jpeg=(50, 85),
            blur=(0.1, 0.8),
            contrast=(0.9, 1.5),
            mosaic=0.2,
        ),
        room=Room(lux=(60, 900), kelvin=(3000, 6500)),
        instruments=[MAGAZINE, TELEVISION],
        held_out=True,
    ),
]


class SimulateConfig(Part):
    """A data set.

    seed: everything follows from it. live, attack: shots per portrait and domain. face: width of the face over the width
    of the frame. split: shares of the identities in train and dev, the rest is test. portraits: use at most so many.
    """

    seed: int = 0
    live: Annotated[int, Field(ge=1)] = 2
    attack: Annotated[int, Field(ge=1)] = 2
    face: LogRange = (0.16, 0.42)
    split: tuple[Share, Share] = (0.7, 0.15)
    portraits: Annotated[int, Field(ge=3)] | None = None
    domains: Annotated[list[Domain], Field(min_length=1)] = DOMAINS

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
        return SimulateConfig.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise DtdaError(f"{path}: no such configuration file; leave --config out for the defaults.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DtdaError(f"{path}: not valid TOML ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DtdaError(f"{path}: {where}: {first['msg']}.") from error
