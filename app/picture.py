"""The picture, letterboxed, with a box, a sign and the score for each face."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from dtda.app import theme as themes
from dtda.app.icons import bold, draw_mark
from dtda.app.theme import Theme
from dtda.core.types import Label, Observation, Verdict

GAP = 4.0  # pixels between a box and its tag, and inside tags


class PictureView(QWidget):
    """Shows the newest observation. clicked: the track of the face that was clicked."""

    clicked = Signal(int)
    painted = Signal()  # once, after the first paint

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._image: QImage | None = None
        self._observation: Observation | None = None
        self._hint = ("", "")
        self._told = self.stale = False
        self.setMinimumSize(240, 160)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Picture")

    def sizeHint(self) -> QSize:
        return QSize(640, 400)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.update()

    def show_observation(self, observation: Observation) -> None:
        bgr = observation.frame.bgr
        height, width = bgr.shape[:2]
        # Qt reads the array's own memory: `_observation` keeps it alive as long as the image.
        self._image = QImage(bgr.data, width, height, bgr.strides[0], QImage.Format.Format_BGR888)
        self._observation = observation
        self.update()

    def show_hint(self, title: str, text: str = "") -> None:
        """Shown while there is no picture."""
        if (title, text) != self._hint:
            self._hint = (title, text)
            self.update()

    def clear(self) -> None:
        self._image = self._observation = None
        self.update()

    def set_stale(self, stale: bool) -> None:
        """The picture is old: shown dimmed and without verdicts."""
        self.stale = stale
        self.update()

    @property
    def observation(self) -> Observation | None:
        return self._observation

    def target(self) -> QRectF:
        """Where the picture is drawn, widget pixels."""
        if self._image is None:
            return QRectF(self.rect())
        size = QSize(self._image.size()).scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        return QRectF(
            (self.width() - size.width()) / 2, (self.height() - size.height()) / 2, size.width(), size.height()
        )

    def mousePressEvent(self, event: QMouseEvent) -> None:
        for verdict in self._observation.verdicts if self._observation else ():
            if self._box(verdict).contains(event.position()):
                self.clicked.emit(verdict.track)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        painter.fillRect(self.rect(), QColor(self._theme.stage))
        if self._image is None or self._observation is None:
            self._paint_hint(painter)
        else:
            painter.setOpacity(0.35 if self.stale else 1.0)
            painter.drawImage(self.target(), self._image)
            painter.setOpacity(1.0)
            if not self.stale:
                self._paint_faces(painter, self._observation.verdicts)
        painter.end()
        if not self._told:
            self._told = True
            self.painted.emit()

    def _paint_hint(self, painter: QPainter) -> None:
        title, text = self._hint
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 1.35)
        metrics = QFontMetricsF(font)
        middle = self.height() / 2
        area = QRectF(24, middle - metrics.height() * 1.6, self.width() - 48, metrics.height() * 1.4)
        painter.setFont(font)
        painter.setPen(QColor(self._theme.text))
        painter.drawText(area, Qt.AlignmentFlag.AlignCenter, title)
        painter.setFont(self.font())
        painter.setPen(QColor(self._theme.muted))
        below = QRectF(24, middle, self.width() - 48, self.height() / 2)
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap, text)

    def _box(self, verdict: Verdict) -> QRectF:
        """The face's box in widget pixels."""
        assert self._image is not None
        target = self.target()
        scale = target.width() / self._image.width()
        x0, y0, x1, y1 = (float(value) * scale for value in verdict.face.box)
        return QRectF(target.x() + x0, target.y() + y0, x1 - x0, y1 - y0).intersected(target)

    def _paint_faces(self, painter: QPainter, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._paint_box(painter, verdict)
        font = QFont(self.font())
        font.setPointSizeF(min(max(self.width() / 80, 7.5), 1.3 * font.pointSizeF()))
        taken: list[QRectF] = []  # largest faces first: their tags get the best places
        for verdict in sorted(verdicts, key=lambda v: -v.face.width):
            taken.append(
                _Tag(verdict, font, self._box(verdict), len(verdicts) > 1).paint(painter, QRectF(self.rect()), taken)
            )

    def _paint_box(self, painter: QPainter, verdict: Verdict) -> None:
        box = self._box(verdict)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(0, 0, 0, 130), 4.5))
        painter.drawRoundedRect(box, 6, 6)
        dashed = verdict.label is Label.CANNOT_TELL
        pen = QPen(themes.DARK.verdict(verdict.label), 2.5, Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine)
        painter.setPen(pen)
        painter.drawRoundedRect(box, 6, 6)


class _Tag:
    """The label of one face: id, sign, verdict and score, and below them the reason."""

    def __init__(self, verdict: Verdict, font: QFont, box: QRectF, crowded: bool) -> None:
        self.verdict, self.box = verdict, box
        self.font, self.strong = font, bold(font)
        score = "" if verdict.p_live != verdict.p_live else f"{verdict.p_live:.2f}"
        name = themes.NAMES[verdict.label]
        # Small faces stand close together: their tags leave out the word, which the sign says too.
        short = crowded and box.width() < 84 and score
        self.words = score if short else " ".join(filter(None, [name, score]))
        self.reasons = ", ".join(reason.value for reason in verdict.reasons)
        strong, plain = QFontMetricsF(self.strong), QFontMetricsF(font)
        self.line = strong.height()
        self.id_width = strong.horizontalAdvance(f"#{verdict.track}") + 2 * GAP
        first = self.id_width + self.line + strong.horizontalAdvance(self.words) + 4 * GAP
        self.width = max(first, plain.horizontalAdvance(self.reasons) + 3 * GAP if self.reasons else 0)
        self.height = self.line * (2 if self.reasons else 1) + 2 * GAP

    def paint(self, painter: QPainter, room: QRectF, taken: list[QRectF]) -> QRectF:
        """Draws the tag at a free place near the box and returns that place."""
        place = self._place(room, taken)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(themes.TAGS[self.verdict.label]))
        painter.drawRoundedRect(place, 5, 5)
        chip = QRectF(place.x() + 2, place.y() + 2, self.id_width, self.line + 2 * GAP - 4)
        painter.setBrush(QColor(16, 18, 21))
        painter.drawRoundedRect(chip, 4, 4)
        painter.setFont(self.strong)
        painter.setPen(themes.track_color(self.verdict.track).lighter(125))
        painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, f"#{self.verdict.track}")
        side = self.line * 0.72
        x = chip.right() + 1.5 * GAP
        white = QColor("white")
        middle = place.y() + GAP + self.line / 2
        draw_mark(painter, QRectF(x, middle - side / 2, side, side), self.verdict.label, white)
        painter.setPen(white)
        x += side + GAP
        row = QRectF(x, place.y() + GAP, place.right() - x, self.line)
        painter.drawText(row, Qt.AlignmentFlag.AlignVCenter, self.words)
        if self.reasons:
            painter.setFont(self.font)
            row = QRectF(place.x() + 1.5 * GAP, place.y() + GAP + self.line, place.width(), self.line)
            painter.drawText(row, Qt.AlignmentFlag.AlignVCenter, self.reasons)
        return place

    def _place(self, room: QRectF, taken: list[QRectF]) -> QRectF:
        """Above the box, below it or on its edge, the first that is free; never so far that it seems another's."""
        lefts = (self.box.left(), self.box.right() - self.width, self.box.center().x() - self.width / 2)
        tops = (
            self.box.top() - GAP - self.height,
            self.box.bottom() + GAP,
            self.box.top(),
            self.box.bottom() - self.height,
        )
        places = [QRectF(round(x), round(y), round(self.width), round(self.height)) for y in tops for x in lefts]
        free = [place for place in places if room.contains(place) and not any(map(place.intersects, taken))]
        if free:
            return free[0]
        x = max(room.left(), min(lefts[0], room.right() - self.width))
        y = max(room.top(), min(tops[0], room.bottom() - self.height))
        return QRectF(x, y, self.width, self.height)
