"""The camera both classes go through: metering, lens, sensor noise, mosaic, white balance, tone, sharpening, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dtda.core.simulate.config import Camera
from dtda.core.types import Floats, Image

LUMA = np.array([0.0722, 0.7152, 0.2126], np.float32)  # BGR, ITU-R BT.709
MIDDLE_GREY = 0.2  # metering target: 18 % grey, plus the lift webcams give to faces


@dataclass(frozen=True, slots=True)
class Shot:
    """One draw of every camera parameter; units as in `config.Camera`. cast: float32 [3] BGR gains."""

    sensor: tuple[int, int]
    output: tuple[int, int]
    blur: float
    aperture: float
    electrons: float
    full_well: float
    read_noise: float
    bias: float
    centre: float
    awb: float
    cast: Floats
    denoise: float
    chroma_denoise: float
    sharpen: float
    contrast: float
    saturation: float
    jpeg: int
    mosaic: bool


def draw_shot(camera: Camera, rng: np.random.Generator) -> Shot:
    return Shot(
        sensor=camera.sensor,
        output=camera.output,
        blur=rng.uniform(*camera.blur),
        aperture=rng.uniform(*camera.aperture),
        electrons=log_uniform(rng, camera.electrons),
        full_well=rng.uniform(*camera.full_well),
        read_noise=rng.uniform(*camera.read_noise),
        bias=rng.uniform(*camera.bias),
        centre=rng.uniform(*camera.centre),
        awb=rng.uniform(*camera.awb),
        cast=np.exp2(rng.normal(0, camera.cast, 3)).astype(np.float32),
        denoise=rng.uniform(*camera.denoise),
        chroma_denoise=rng.uniform(*camera.chroma_denoise),
        sharpen=rng.uniform(*camera.sharpen),
        contrast=rng.uniform(*camera.contrast),
        saturation=rng.uniform(*camera.saturation),
        jpeg=int(rng.integers(camera.jpeg[0], camera.jpeg[1] + 1)),
        mosaic=bool(rng.random() < camera.mosaic),
    )


def log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def metered(radiance: Floats, shot: Shot) -> tuple[float, Floats]:
    """Exposure (1 / radiance of white, m2/cd) and white-balance gains float32 [3] BGR for the scene in view."""
    small = cv2.resize(radiance, (48, 36), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[-1:1:36j, -1:1:48j]
    weight = (1 - shot.centre) + shot.centre * np.exp(-(x**2 + y**2) / 0.25)
    weight /= weight.sum()
    luma = small @ LUMA
    # Metering works on a compressed signal, so that a small bright window does not blacken the rest.
    mean = float(np.exp((weight * np.log(luma + 1e-3)).sum())) * 0.5 + float((weight * luma).sum()) * 0.5
    exposure = MIDDLE_GREY * 2.0**shot.bias / max(mean, 1e-3)
    grey = (small * np.minimum(1.0, 1.0 / (luma * exposure + 1e-6))[..., None]).reshape(-1, 3).mean(0) + 1e-6
    gains = (grey[1] / grey) ** shot.awb
    return exposure, np.asarray(np.clip(gains, 0.4, 2.5) * shot.cast, np.float32)


def capture(
    radiance: Floats, shot: Shot, rng: np.random.Generator, metering: tuple[float, Floats] | None = None
) -> tuple[Image, bytes]:
    """Take a picture.

    radiance: float32 [H, W, 3] BGR in cd/m2 at the sensor's resolution, not altered. metering: fixed exposure and
    white balance, for clips. Returns the decoded frame, uint8 [output H, W, 3] BGR, and its JPEG file.
    """
    exposure, gains = metering or metered(radiance, shot)
    signal = radiance * np.float32(exposure)
    if shot.blur > 0.2:
        signal = cv2.GaussianBlur(signal, (0, 0), shot.blur)
    signal = _noisy(signal, exposure, shot, rng)
    if shot.mosaic:
        signal = _demosaiced(signal)
    signal = signal * gains
    code = _toned(signal, shot)
    code = _processed(code, shot)
    frame = np.clip(code, 0, 255).astype(np.uint8)
    if shot.output != shot.sensor:
        frame = cv2.resize(frame, shot.output, interpolation=cv2.INTER_LINEAR)
    ok, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, shot.jpeg])
    if not ok:
        raise RuntimeError("JPEG encoding failed")
    return cv2.imdecode(data, cv2.IMREAD_COLOR), data.tobytes()


def _noisy(signal: Floats, exposure: float, shot: Shot, rng: np.random.Generator) -> Floats:
    """Add photon and read noise (Poisson as Gaussian). signal 1 = white; a dim room gives white fewer electrons."""
    electrons = min(shot.full_well, shot.electrons / exposure)
    noise = np.empty_like(signal)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, (0, 0, 0), (1, 1, 1))
    variance = np.maximum(signal, 0) / electrons + (shot.read_noise / electrons) ** 2
    return np.minimum(signal + noise * np.sqrt(variance), 1.0)


def _demosaiced(signal: Floats) -> Floats:
    """Through an RGGB mosaic and bilinear demosaicing at 16 bits."""
    codes = np.clip(signal * 16000 + 1000, 0, 65535).astype(np.uint16)  # the pedestal keeps negative noise
    raw = codes[:, :, 1].copy()
    raw[0::2, 0::2] = codes[0::2, 0::2, 2]
    raw[1::2, 1::2] = codes[1::2, 1::2, 0]
    colour = cv2.demosaicing(raw, cv2.COLOR_BayerRGGB2BGR)
    return (colour.astype(np.float32) - 1000) / 16000


def _toned(signal: Floats, shot: Shot) -> Floats:
    """sRGB transfer, S-curve and saturation. Returns float32 codes in about [0, 255]."""
    index = np.clip(signal * 2047, 0, 2047).astype(np.uint16)
    linear = np.arange(2048, dtype=np.float64) / 2047
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    # Logistic S-curve through (0, 0), (1, 1), slope `contrast` in the middle where it is above 1.
    steep = 4 * (shot.contrast - 1) if shot.contrast > 1 else 0.0
    if steep > 1e-3:
        curve = 1 / (1 + np.exp(-steep * (srgb - 0.5)))
        srgb = (curve - curve[0]) / (curve[-1] - curve[0])
    else:
        srgb = 0.5 + (srgb - 0.5) * shot.contrast
    table = (srgb * 255).astype(np.float32)
    code = table[index]
    luma = (code @ LUMA)[..., None]
    return luma + (code - luma) * np.float32(shot.saturation)


def _processed(code: Floats, shot: Shot) -> Floats:
    """Chroma and luma denoising, then sharpening, as camera firmware does."""
    if shot.chroma_denoise > 0.3:
        luma = (code @ LUMA)[..., None]
        code = cv2.GaussianBlur(code - luma, (0, 0), shot.chroma_denoise) + luma
    if shot.denoise > 0.3:
        code = cv2.GaussianBlur(code, (0, 0), shot.denoise)
    if shot.sharpen > 0.05:
        code = code + shot.sharpen * (code - cv2.GaussianBlur(code, (0, 0), 1.2))
    return code
