"""The cards of faces beside the picture."""

from __future__ import annotations

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from dtda.app import theme as themes
from dtda.app.faces import FaceCard
from dtda.core.types import Face, Label, Reason, Verdict


@pytest.mark.parametrize("track", [6, 47, 1234])
@pytest.mark.parametrize("large", [False, True])
def test_verdict_and_score_stand_apart_in_a_narrow_card(track: int, large: bool, qtbot: QtBot) -> None:
    card = FaceCard(themes.LIGHT)
    qtbot.addWidget(card)
    face = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1.0, track)
    card.show_verdict(Verdict(face, Label.CANNOT_TELL, 1.0, 1.0, 0.5, (Reason.WARMING_UP,)), False, large)
    card.resize(200, card.sizeHint().height())
    image = card.grab().toImage()

    def columns(color: str) -> list[int]:
        row = range(10, card.height() // 2 - 6)  # above the bar, which has the same colours
        return [x for x in range(image.width()) if any(image.pixelColor(x, y).name() == color for y in row)]

    name, score = columns(themes.LIGHT.unknown), columns(themes.LIGHT.text)
    assert name
    assert score
    assert max(name) + 4 < min(score)
    assert max(score) < card.width() - 8
