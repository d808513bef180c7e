"""Periodic micro-structure of instruments (sub-pixels, halftone dots) as a camera pixel sees it.

The structure is stored as one small tile. It is low-passed with the transfer function of the camera's pixel aperture and
lens, exactly, in the Fourier series of the tile, and then *point-sampled* at the camera's pixels: whatever contrast
survives the aperture folds back as moire, at the frequency and angle the geometry dictates. Nothing is painted on.
"""

from __future__ import annotations

import cv2
import numpy as np

from dtda.core.types import Floats

SAMPLES = 8  # tile samples per structure period


def rgb_stripe(gap: float) -> Floats:
    """LCD pixel: three vertical stripes, BGR order of channels. gap: black-matrix share of each side, 0..0.5."""
    return _cells([(0, 2 / 3, 0, 1 / 3, 1), (1, 1 / 3, 0, 1 / 3, 1), (2, 0, 0, 1 / 3, 1)], gap, 1)


def pentile(gap: float) -> Floats:
    """OLED diamond-like RGBG layout over 2x2 pixels: green in each pixel, red and blue in every second."""
    cells = [(1, x + 0.5, y + 0.5 * (x % 2), 0.5, 0.5) for x in (0, 1) for y in (0, 1)]
    cells += [(2, 0, 0.25, 0.5, 0.6), (2, 1, 1.25, 0.5, 0.6), (0, 1, 0.25, 0.5, 0.6), (0, 0, 1.25, 0.5, 0.6)]
    return _cells(cells, gap, 2)


def _cells(cells: list[tuple[int, float, float, float, float]], gap: float, periods: int) -> Floats:
    """Tile float32 [n, n, 3], mean 1 per channel, from lit cells (channel, x, y, width, height) in pixel units."""
    fine = 16  # finer than SAMPLES so that edges are not quantised
    tile = np.zeros((fine * periods, fine * periods, 3), np.float32)
    for channel, x, y, width, height in cells:
        x0, x1 = x + gap * width, x + (1 - gap) * width
        y0, y1 = y + gap * height, y + (1 - gap) * height
        xs = np.arange(round(x0 * fine), max(round(x1 * fine), round(x0 * fine) + 1)) % tile.shape[1]
        ys = np.arange(round(y0 * fine), max(round(y1 * fine), round(y0 * fine) + 1)) % tile.shape[0]
        tile[np.ix_(ys, xs, [channel])] = 1
    tile = cv2.resize(tile, (SAMPLES * periods, SAMPLES * periods), interpolation=cv2.INTER_AREA)
    return np.asarray(tile / tile.mean((0, 1)), np.float32)


def am_dots() -> Floats:
    """Zero-mean round-dot halftone function of one ink, float32 [SAMPLES, SAMPLES], in [-1, 1]."""
    phase = 2 * np.pi * (np.arange(SAMPLES) + 0.5) / SAMPLES
    return np.asarray((np.cos(phase)[None, :] + np.cos(phase)[:, None]) / 2, np.float32)


def filtered(tile: Floats, periods: int, step: tuple[float, float], aperture: float, blur: float) -> Floats:
    """The tile after the camera's aperture and lens.

    periods: structure periods per tile side. step: periods per camera pixel along the tile's x and y. aperture: side of
    the light-sensitive square, camera pixels. blur: Gaussian sigma of the lens, camera pixels. Transfer function:
    sinc(f a) exp(-2 pi^2 sigma^2 f^2), f in cycles per camera pixel (Boreman, Modulation Transfer Function, 2001).
    """
    n = tile.shape[0]
    cycles = np.fft.fftfreq(n, 1 / n) / periods  # cycles per structure period
    fx, fy = cycles * step[0], cycles * step[1]

    def transfer(f: np.ndarray) -> np.ndarray:
        return np.sinc(f * aperture) * np.exp(-2 * (np.pi * blur * f) ** 2)

    gain = transfer(fy)[:, None] * transfer(fx)[None, :]
    spectrum = np.fft.fft2(tile, axes=(0, 1))
    return np.fft.ifft2(spectrum * (gain[..., None] if tile.ndim == 3 else gain), axes=(0, 1)).real.astype(np.float32)


def sampled(tile: Floats, places: tuple[Floats, Floats]) -> Floats:
    """Point-sample a periodic tile.

    places: (across, down) of every pixel, float32 [h, w], in samples of the tile, altered. Returns float32 [h, w(,
    channels)].
    """
    side = tile.shape[0]
    for part in places:
        part -= side * np.floor(part * np.float32(1 / side))
    wrapped = cv2.copyMakeBorder(tile, 0, 1, 0, 1, cv2.BORDER_WRAP)
    return np.asarray(cv2.remap(wrapped, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
