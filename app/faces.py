"""The side panel: a card for each face, and the crop the network saw of the one selected."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from dtda.app import theme as themes
from dtda.app.icons import bold, draw_mark
from dtda.app.theme import Theme
from dtda.core.types import AlignedFace, Observation, Verdict

PAD = 10


class FacePanel(QWidget):
    """selected: the track of the card that was clicked."""

    selected = Signal(int)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._cards: dict[int, FaceCard] = {}
        self._heading = QLabel("Faces")
        self._heading.setObjectName("heading")
        self._empty = QLabel("No face in view.", wordWrap=True)
        self._empty.setObjectName("muted")
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addWidget(self._empty)
        self._column.addStretch(1)
        scroll = QScrollArea(widgetResizable=True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._heading)
        layout.addWidget(scroll, 1)
        self.setMinimumHeight(170)

    @property
    def cards(self) -> list[FaceCard]:
        return [self._cards[track] for track in sorted(self._cards)]

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        for card in self._cards.values():
            card.set_theme(theme)

    def show_observation(self, observation: Observation | None, selected: int | None) -> None:
        verdicts = {v.track: v for v in observation.verdicts} if observation else {}
        for track in [track for track in self._cards if track not in verdicts]:
            card = self._cards.pop(track)
            self._column.removeWidget(card)
            card.deleteLater()
        for track in sorted(verdicts):
            if track not in self._cards:
                card = self._cards[track] = FaceCard(self._theme)
                card.clicked.connect(self.selected)
                self._column.insertWidget(sorted(self._cards).index(track) + 1, card)
            self._cards[track].show_verdict(
                verdicts[track], track == selected and len(verdicts) > 1, len(verdicts) == 1
            )
        self._empty.setVisible(not verdicts)
        self._heading.setText(f"Faces  ({len(verdicts)})" if verdicts else "Faces")


class FaceCard(QWidget):
    """Id, sign, verdict, score with its bar and the threshold on it, and the reason."""

    clicked = Signal(int)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._verdict: Verdict | None = None
        self._selected = self._large = False
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        reason = self._verdict is not None and bool(self._verdict.reasons)
        line = round(QFontMetricsF(self._strong()).height())
        return QSize(200, 2 * PAD + line + 16 + (self.fontMetrics().height() + 4 if reason else 0))

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.update()

    def show_verdict(self, verdict: Verdict, selected: bool, large: bool) -> None:
        """selected: its crop is shown. large: it is the only one."""
        before = self.sizeHint()
        self._verdict, self._selected, self._large = verdict, selected, large
        if self.sizeHint() != before:
            self.updateGeometry()
        self.setAccessibleName(f"Face {verdict.track}: {self.text}")
        self.setToolTip(self.text)
        self.update()

    @property
    def text(self) -> str:
        """All the card says, as words."""
        if self._verdict is None:
            return ""
        score = "" if self._verdict.p_live != self._verdict.p_live else f" {self._verdict.p_live:.2f}"
        reasons = ", ".join(reason.value for reason in self._verdict.reasons)
        return f"{themes.NAMES[self._verdict.label]}{score}" + (f" ({reasons})" if reasons else "")

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self._verdict is not None:
            self.clicked.emit(self._verdict.track)

    def paintEvent(self, event: QPaintEvent) -> None:
        verdict = self._verdict
        if verdict is None:
            return
        theme = self._theme
        color = theme.verdict(verdict.label)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme.accent if self._selected else theme.line), 1))
        painter.setBrush(QColor(theme.surface))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        line = self._paint_words(painter, verdict, color)
        bar = QRectF(PAD, PAD + line + 7, self.width() - 2 * PAD, 6)
        self._paint_bar(painter, bar, verdict, color)
        if verdict.reasons:
            painter.setFont(self.font())
            painter.setPen(QColor(theme.muted))
            row = QRectF(PAD, bar.bottom() + 7, self.width() - 2 * PAD, self.fontMetrics().height())
            text = ", ".join(reason.value for reason in verdict.reasons)
            text = QFontMetricsF(self.font()).elidedText(text, Qt.TextElideMode.ElideRight, row.width())
            painter.drawText(row, Qt.AlignmentFlag.AlignVCenter, text)

    def _paint_words(self, painter: QPainter, verdict: Verdict, color: QColor) -> float:
        """Id, sign, verdict and score, smaller where the card is too narrow for them. Returns the height of the row."""
        strong = self._strong()
        metrics = QFontMetricsF(strong)
        line = metrics.height()
        middle = Qt.AlignmentFlag.AlignVCenter
        number = f"#{verdict.track}"
        text = f"{verdict.p_live:.2f}" if verdict.p_live == verdict.p_live else "–"
        words = sum(metrics.horizontalAdvance(word) for word in (number, themes.NAMES[verdict.label], text))
        room = self.width() - 2 * PAD - (line + 20)  # the sign, and gaps on its left and before the score
        if 0 < room < words:
            strong.setPointSizeF(strong.pointSizeF() * room / words)
            metrics = QFontMetricsF(strong)
        painter.setFont(strong)
        painter.setPen(themes.track_color(verdict.track))
        painter.drawText(QRectF(PAD, PAD, self.width(), line), middle, number)
        x = PAD + metrics.horizontalAdvance(number) + 8
        draw_mark(painter, QRectF(x, PAD + line * 0.1, line * 0.8, line * 0.8), verdict.label, color)
        painter.setPen(color)
        x += line + 2
        painter.drawText(QRectF(x, PAD, self.width(), line), middle, themes.NAMES[verdict.label])
        painter.setPen(QColor(self._theme.text))
        score = QRectF(0, PAD, self.width() - PAD, line)
        painter.drawText(score, Qt.AlignmentFlag.AlignRight | middle, text)
        return line

    def _paint_bar(self, painter: QPainter, bar: QRectF, verdict: Verdict, color: QColor) -> None:
        """The score from 0 to 1, with a tick at the threshold."""
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._theme.raised))
        painter.drawRoundedRect(bar, 3, 3)
        if verdict.p_live == verdict.p_live:
            painter.setBrush(color)
            painter.drawRoundedRect(QRectF(bar.x(), bar.y(), max(bar.width() * verdict.p_live, 6), 6), 3, 3)
        painter.setBrush(QColor(self._theme.text))
        painter.drawRect(QRectF(bar.x() + bar.width() * verdict.threshold - 1, bar.y() - 3, 2, 12))

    def _strong(self) -> QFont:
        font = bold(self.font())
        if self._large:
            font.setPointSizeF(font.pointSizeF() * 1.35)
        return font


class CropInspector(QWidget):
    """The chip of one face, pixel for pixel as the network got it, with what the quality gate measured."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._chip: QImage | None = None
        self._aligned: AlignedFace | None = None
        heading = QLabel("What the network saw")
        heading.setObjectName("heading")
        self._facts = QLabel(wordWrap=True)
        self._facts.setObjectName("muted")
        self._space = _Chip(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(heading)
        layout.addWidget(self._space)
        layout.addWidget(self._facts)
        self.show_face(None)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._space.update()

    @property
    def chip(self) -> QImage | None:
        return self._chip

    @property
    def theme(self) -> Theme:
        return self._theme

    @property
    def facts(self) -> str:
        return self._facts.text()

    def show_face(self, aligned: AlignedFace | None) -> None:
        self._aligned = aligned
        if aligned is None or aligned.chip is None:
            self._chip = None
            self._facts.setText("Not shown to the network." if aligned else "Nothing yet.")
        else:
            chip = aligned.chip
            height, width = chip.shape[:2]
            # Shares the array's memory, which `_aligned` keeps alive.
            self._chip = QImage(chip.data, width, height, chip.strides[0], QImage.Format.Format_RGB888)
            quality = aligned.quality
            yaw = round(quality.yaw, 2) + 0.0  # no minus before a zero
            self._facts.setText(
                f"#{aligned.face.track}, {width}\u2009×\u2009{height} px from a face of {quality.size:.0f} px. "
                f"Sharpness {quality.sharpness:.2g}, brightness {quality.brightness:.0f}, yaw {yaw:+.2f}."
            )
        self._space.update()


class _Chip(QWidget):
    def __init__(self, owner: CropInspector) -> None:
        super().__init__()
        self._owner = owner
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setMinimumHeight(72)

    def sizeHint(self) -> QSize:
        return QSize(168, 168)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        side = min(self.width(), self.height())
        place = QRectF(0, 0, side, side)
        painter.fillRect(place, QColor(self._owner.theme.stage))
        if self._owner.chip is not None:
            painter.drawImage(place, self._owner.chip)
