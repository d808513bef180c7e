"""The camera both classes go through: metering, lens, sensor noise, mosaic, white balance, tone, firmware.

Light is float32 radiance; from the sensor on, numbers are integers, as in cameras, which is also what makes it fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle

import cv2
import numpy as np

from dtda.core.simulate.config import Camera
from dtda.core.types import Floats, Image

LUMA = np.array([0.0722, 0.7152, 0.2126], np.float32)  # BGR, ITU-R BT.709
MIDDLE_GREY = 0.2  # metering target: 18 % grey, plus the lift webcams give to faces
FACE_CD = 20.0  # cd/m2 that a face counts as sending where its light must not matter (about the median of the domains)
BEST = 98  # JPEG quality where compression must not matter
FACE_M = 0.14  # width of a head's face box, metres (bizygomatic breadth of adults is about 0.135 m)
WHITE, PEDESTAL, STEP = 56000, 4000, 8  # raw codes of white and black, and raw codes per entry of the tone table


@dataclass(frozen=True, slots=True)
class Shot:
    """One draw of every camera parameter; units as in `config.Camera`. cast: float32 [3] BGR gains. motion: (x, y) share
    of the face's width during the longest exposure."""

    sensor: tuple[int, int]
    output: tuple[int, int]
    focal: float
    blur: float
    pupil_mm: float
    focus_m: float | None
    aperture: float
    electrons: float
    full_well: float
    read_noise: float
    shutter_s: float
    readout_s: float
    bias: float
    centre: float
    on_face: float
    awb: float
    cast: Floats
    flare: float
    denoise: float
    chroma_denoise: float
    sharpen: float
    contrast: float
    saturation: float
    mosaic: bool
    jpeg: int
    qp: int | None
    motion: tuple[float, float]
    metering: str
    ideal: bool


def draw_shot(camera: Camera, rng: np.random.Generator) -> Shot:
    ratio = log_uniform(rng, camera.finer) if rng.random() < camera.skips else 1.0
    missed = rng.random() < camera.focus_error
    focus = log_uniform(rng, camera.focus_m)
    qp = int(rng.integers(camera.qp[0], camera.qp[1] + 1))
    shot = Shot(
        sensor=camera.sensor,
        output=camera.output,
        focal=rng.uniform(*camera.focal),
        blur=rng.uniform(*camera.blur) / ratio,
        pupil_mm=rng.uniform(*camera.pupil_mm),
        focus_m=focus if missed else None,
        aperture=rng.uniform(*camera.aperture) / ratio,
        electrons=log_uniform(rng, camera.electrons),
        full_well=rng.uniform(*camera.full_well),
        read_noise=rng.uniform(*camera.read_noise),
        shutter_s=log_uniform(rng, camera.shutter_s),
        readout_s=log_uniform(rng, camera.readout_s),
        bias=rng.uniform(*camera.bias),
        centre=rng.uniform(*camera.centre),
        on_face=rng.uniform(*camera.on_face),
        awb=rng.uniform(*camera.awb),
        cast=np.exp2(rng.normal(0, camera.cast, 3)).astype(np.float32),
        flare=rng.uniform(*camera.flare),
        denoise=rng.uniform(*camera.denoise),
        chroma_denoise=rng.uniform(*camera.chroma_denoise),
        sharpen=rng.uniform(*camera.sharpen),
        contrast=rng.uniform(*camera.contrast),
        saturation=rng.uniform(*camera.saturation),
        mosaic=bool(rng.random() < camera.mosaic),
        jpeg=int(rng.integers(camera.jpeg[0], camera.jpeg[1] + 1)),
        qp=qp if camera.codec == "h264" else None,
        motion=tuple(rng.normal(0, camera.motion, 2)),
        metering=camera.metering,
        ideal=camera.ideal,
    )
    return replace(shot, jpeg=BEST) if camera.codec == "none" else shot


def log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


@dataclass(frozen=True, slots=True)
class Metering:
    """exposure: 1 / radiance of white, m2/cd. gains: white balance, float32 [3] BGR. veil: flare, float32 [3] cd/m2.
    electrons: in a white pixel. open_s: exposure time."""

    exposure: float
    gains: Floats
    veil: Floats
    electrons: float
    open_s: float


def metered(radiance: Floats, shot: Shot, face: tuple[float, float, float] | None = None) -> Metering:
    """What the camera chooses for the scene in view.

    radiance: float32 [h, w, 3] of the whole frame, any size. face: its centre and width, in frame widths, where the camera
    looks for faces: on a person, a print or a screen alike.
    """
    small = cv2.resize(radiance, (48, 36), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[-1:1:36j, -1:1:48j]
    weight = (1 - shot.centre) + shot.centre * np.exp(-(x**2 + y**2) / 0.25)
    weight /= weight.sum()
    if face is not None:
        across, down = (x + 1) / 2 - face[0], (y + 1) / 2 * shot.output[1] / shot.output[0] - face[1]
        near = np.exp(-2 * (across**2 + down**2) / face[2] ** 2) + 1e-9
        weight = (1 - shot.on_face) * weight + shot.on_face * near / near.sum()
    luma = small @ LUMA
    # Metering works on a compressed signal, so that a small bright window does not blacken the rest.
    mean = float(np.exp((weight * np.log(luma + 1e-3)).sum())) * 0.5 + float((weight * luma).sum()) * 0.5
    exposure = MIDDLE_GREY * 2.0**shot.bias / max(mean, 1e-3)
    grey = (small * np.minimum(1.0, 1.0 / (luma * exposure + 1e-6))[..., None]).reshape(-1, 3).mean(0) + 1e-6
    gains = np.asarray(np.clip((grey[1] / grey) ** shot.awb, 0.4, 2.5) * shot.cast, np.float32)
    # The sensor clips before the gains: with the smallest at 1 what is clipped stays white, as cameras see to.
    exposure, gains = exposure * float(gains.min()), gains / gains.min()
    veil = np.asarray(shot.flare * small.reshape(-1, 3).mean(0), np.float32)
    most = shot.electrons / exposure  # with the longest exposure; bright scenes fill the wells sooner
    if face is not None and shot.metering == "face":
        core = near**4 / (near**4).sum()  # the middle of the face
        sent = float(np.tensordot(core, (small + veil) * gains, 2) @ LUMA)
        exposure, most = MIDDLE_GREY / max(sent, 1e-3), shot.electrons * FACE_CD / MIDDLE_GREY
    return Metering(
        exposure, gains, veil, min(shot.full_well, most), shot.shutter_s * min(1.0, shot.full_well / max(most, 1e-6))
    )


def defocus(shot: Shot, distance_m: float) -> float:
    """Gaussian sigma, sensor pixels, of a thin lens focused elsewhere: the blur disc is focal x pupil x |1/d - 1/f|, and a
    disc of diameter c has the variance of a Gaussian of sigma c / 4."""
    if shot.focus_m is None:
        return 0.0
    disc = shot.focal * shot.sensor[0] * shot.pupil_mm * 1e-3 * abs(1 / distance_m - 1 / shot.focus_m)
    return float(min(disc / 4, 2.5))


def capture(
    radiance: Floats, shot: Shot, rng: np.random.Generator, metering: Metering | None = None, soft: float = 0.0,
    face: float = 100.0, size: tuple[int, int] | None = None, cells: Floats | None = None,
) -> Image:  # fmt: skip
    """Take a picture, before its file compression.

    radiance: float32 [H, W, 3] BGR in cd/m2 at the sensor's resolution, not altered; all of the frame or a part of it.
    metering: of the whole frame; of `radiance` when none is given. soft: sigma of defocus, sensor pixels. face: width of
    the face, sensor pixels, to which movement relates. size: (width, height) of the result, sensor pixels blown up;
    radiance's own when none is given. cells: factor float32 [H, W, 3] of a lattice finer than the pixels, as it is after
    lens and aperture: what the sensor's sampling folds back must not be blurred by the lens again. Returns uint8 [H, W,
    3] BGR.
    """
    light = metering or metered(radiance, shot)
    signal = cv2.add(radiance, (*(float(v) for v in light.veil), 0)) if shot.flare else radiance
    sigma = float(np.hypot(shot.blur, soft))
    if sigma > 0.2:
        signal = cv2.GaussianBlur(signal, (0, 0), sigma)
    signal = _moved(signal, shot, light, face)
    if cells is not None:
        signal = cv2.multiply(signal, cells)
    raw = _sensed(signal, light, shot, rng)
    code = _toned(raw, light, shot)
    code = _processed(code, shot)
    if size and size != (code.shape[1], code.shape[0]):
        code = cv2.resize(code, size, interpolation=cv2.INTER_LINEAR)
    return code


def encode(frame: Image, quality: int) -> bytes:
    """The frame as a JPEG file."""
    ok, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("JPEG encoding failed")
    return data.tobytes()


def _way(shot: Shot, light: Metering, face: float) -> np.ndarray:
    return np.array(shot.motion) * face * light.open_s / shot.shutter_s


def spread(shot: Shot, light: Metering, soft: float, face: float) -> float:
    """Sigma, sensor pixels, of lens, defocus and movement together (a line of length l has a deviation of l / sqrt(12))."""
    return float(np.sqrt(shot.blur**2 + soft**2 + (_way(shot, light, face) ** 2).sum() / 12))


def _moved(signal: Floats, shot: Shot, light: Metering, face: float) -> Floats:
    """Movement during the exposure: a line as long as it."""
    way = _way(shot, light, face)
    if np.abs(way).max() < 0.6:
        return signal
    way = np.clip(way, -6, 6)
    reach = int(np.ceil(np.abs(way).max() / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    ends = [[int((reach + sign * part / 2) * 256) for part in way] for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 8)
    return np.asarray(cv2.filter2D(signal, -1, kernel / max(float(kernel.sum()), 1e-6)))


@cache
def _noise() -> Floats:
    """Unit Gaussian noise, float32 [1536, 2048]; shots take pieces of it, which is much faster than drawing anew."""
    return np.random.default_rng(1).standard_normal((1536, 2048), np.float32)


def noise(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """A piece of the noise, float32 [h, w], tiled where the picture is larger."""
    store = _noise()
    while store.shape[0] < shape[0] or store.shape[1] < shape[1]:
        store = np.tile(store, (2, 2))
    y = int(rng.integers(store.shape[0] - shape[0] + 1))
    x = int(rng.integers(store.shape[1] - shape[1] + 1))
    piece = store[y : y + shape[0], x : x + shape[1]]
    return piece[:, ::-1] if rng.random() < 0.5 else piece


def _sensed(signal: Floats, light: Metering, shot: Shot, rng: np.random.Generator) -> Image:
    """Raw codes uint16 [H, W, 3] BGR after an RGGB mosaic (or binned without one), photon and read noise (Poisson as
    Gaussian)."""
    height, width = signal.shape[:2]
    grains = [noise((height, width), rng) for _ in range(1 if shot.mosaic else 3)]
    if shot.ideal:
        light = replace(light, electrons=np.inf)
    elif shot.mosaic:
        plane = signal[:, :, 1].copy()
        plane[0::2, 0::2] = signal[0::2, 0::2, 2]
        plane[1::2, 1::2] = signal[1::2, 1::2, 0]
        colour = _exposed(plane, light, shot, grains[0])
        return np.asarray(cv2.demosaicing(colour, cv2.COLOR_BayerRGGB2BGR))
    planes = [_exposed(p, light, shot, grain) for p, grain in zip(cv2.split(signal), cycle(grains), strict=False)]
    return np.asarray(cv2.merge(planes))


def _exposed(plane: Floats, light: Metering, shot: Shot, grain: Floats) -> Image:
    """uint16 codes of one plane of radiance. In numbers of white: s + n sqrt(s / e + (r / e)^2)."""
    signal = np.clip(plane * np.float32(light.exposure), 0, 1)
    spread = np.sqrt(signal * np.float32(1 / light.electrons) + np.float32((shot.read_noise / light.electrons) ** 2))
    spread *= grain
    spread += signal
    np.minimum(spread, np.float32(1.0), out=spread)
    spread *= WHITE
    spread += PEDESTAL
    np.maximum(spread, 0, out=spread)
    return spread.astype(np.uint16)


def _toned(raw: Image, light: Metering, shot: Shot) -> Image:
    """White balance, transfer function of ITU-R BT.709 and S-curve, uint8 [H, W, 3]."""
    codes = (np.arange(65536 // STEP) * STEP + STEP / 2 - PEDESTAL) / WHITE
    linear = np.clip(codes[:, None] * light.gains, 0, 1)
    coded = np.where(linear < 0.018, 4.5 * linear, 1.099 * np.maximum(linear, 1e-9) ** 0.45 - 0.099)
    # Logistic S-curve through (0, 0), (1, 1), slope `contrast` in the middle where it is above 1.
    steep = 4 * (shot.contrast - 1)
    if steep > 1e-3:
        low, high = 1 / (1 + np.exp(steep * 0.5)), 1 / (1 + np.exp(-steep * 0.5))
        coded = (1 / (1 + np.exp(-steep * (coded - 0.5))) - low) / (high - low)
    else:
        coded = 0.5 + (coded - 0.5) * shot.contrast
    table = np.clip(np.rint(coded * 255), 0, 255).astype(np.uint8)
    planes = cv2.split(raw >> STEP.bit_length() - 1)
    return np.asarray(cv2.merge([np.take(np.ascontiguousarray(table[:, c]), plane) for c, plane in enumerate(planes)]))


def _processed(code: Image, shot: Shot) -> Image:
    """Luma and chroma smoothing, sharpening and saturation, as camera firmware does in its YCC pipe."""
    luma, red, blue = cv2.split(cv2.cvtColor(code, cv2.COLOR_BGR2YCrCb))
    if shot.denoise > 0.8:  # newer firmware keeps edges
        luma = cv2.bilateralFilter(luma, 5, 18 * shot.denoise, 2.0)
    elif shot.denoise > 0.3:
        luma = cv2.GaussianBlur(luma, (0, 0), shot.denoise)
    if shot.sharpen > 0.05:
        luma = cv2.addWeighted(luma, 1 + shot.sharpen, cv2.GaussianBlur(luma, (0, 0), 1.2), -shot.sharpen, 0)
    levels = np.clip(np.rint((np.arange(256) - 128) * shot.saturation + 128), 0, 255).astype(np.uint8)
    half = ((code.shape[1] + 1) // 2, (code.shape[0] + 1) // 2)
    planes = [luma]
    for plane in (red, blue):
        small = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), max(0.3, shot.chroma_denoise / 2))
        small = cv2.LUT(small, levels)
        planes.append(cv2.resize(small, (code.shape[1], code.shape[0]), interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR))
