"""A picture of the simulator: live, print and display crops of one person beside each other, one line a domain."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dtda.core.simulate.capture import Capture, attack, bona_fide, draw_setting, files
from dtda.core.simulate.config import SimulateConfig
from dtda.core.simulate.ingredients import reduced
from dtda.core.simulate.portrait import Portrait
from dtda.core.simulate.presentation import draw_presentation
from dtda.core.simulate.sources import draw_sources
from dtda.core.types import Image

CONTEXT = 2.7  # of the crops, in face widths: what students see
SIDE = 224
BAR = 18


def draw_sheet_of(people: Sequence[Portrait], config: SimulateConfig, live: int = 2, attacks: int = 4) -> Image:
    """uint8 BGR, people in turn: `live` bona fide crops, then attacks with each instrument of the domain in turn."""
    config = reduced(config)
    streams = [np.random.default_rng((config.seed, number)) for number in range(len(people))]
    sources = draw_sources(people, config, streams)
    taken: list[Capture] = []
    names: list[str] = []
    for row, domain in enumerate(config.domains):
        portrait, held, rng = (part[row % len(people)] for part in (people, sources, streams))
        for column in range(live + attacks):
            setting = draw_setting(portrait, domain, config.face, rng, config.context)
            if column < live:
                taken.append(bona_fide(portrait, setting, rng))
            else:
                instrument = domain.instruments[(column - live) % len(domain.instruments)]
                shown = draw_presentation(portrait, held, instrument, setting.light, rng)
                taken.append(attack(portrait, shown, setting, rng))
            names.append(f"{domain.name}: {taken[-1].instrument or 'live'}")
    tiles = []
    for one, data, name in zip(taken, files(taken), names, strict=True):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        tile = np.full((SIDE + BAR, SIDE, 3), 255, np.uint8)
        tile[BAR:] = _square(np.asarray(picture, np.uint8), one)
        cv2.putText(tile, name, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    lines = [np.hstack(tiles[start : start + live + attacks]) for start in range(0, len(tiles), live + attacks)]
    return np.vstack(lines)


def _square(picture: Image, taken: Capture) -> Image:
    """CONTEXT face widths around the face; grey where the picture ends."""
    x1, y1, x2, y2 = taken.box
    scale = SIDE / (CONTEXT * max(x2 - x1, y2 - y1))
    matrix = np.array([[scale, 0, SIDE / 2 - scale * (x1 + x2) / 2], [0, scale, SIDE / 2 - scale * (y1 + y2) / 2]])
    if scale < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.35 / scale)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128))
    )
