"""Icons, drawn: they follow the theme's colours and need no files. Shapes live on a 24 x 24 grid."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QIcon, QLinearGradient, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from dtda.core.types import Label

GRID = 24.0


def icon(name: str, color: QColor, selected: QColor | None = None) -> QIcon:
    """A symbol: play, pause, back, forward, previous, next, loop, close; ready, elsewhere, stale.

    selected: its colour in a selected row.
    """
    made = QIcon()
    for side in (20, 40, 60):
        made.addPixmap(_pixmap(side, lambda painter: _symbol(painter, name, color)))
        if selected is not None:
            made.addPixmap(_pixmap(side, lambda painter: _symbol(painter, name, selected)), QIcon.Mode.Selected)
    return made


def app_icon() -> QIcon:
    made = QIcon()
    for side in (16, 32, 64, 128, 256):
        made.addPixmap(_pixmap(side, _emblem))
    return made


def draw_mark(painter: QPainter, rect: QRectF, label: Label, color: QColor) -> None:
    """The sign of a verdict: a check, a cross or a question mark, so that colour is never the only difference."""
    painter.save()
    painter.translate(rect.topLeft())
    painter.scale(rect.width() / GRID, rect.height() / GRID)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(_pen(color, 3.4))
    if label is Label.LIVE:
        painter.drawPolyline(_points((4.5, 12.5), (10, 18), (19.5, 6.5)))
    elif label is Label.SPOOF:
        painter.drawLine(QPointF(6, 6), QPointF(18, 18))
        painter.drawLine(QPointF(18, 6), QPointF(6, 18))
    else:
        path = QPainterPath(QPointF(7, 8))
        path.cubicTo(QPointF(7, 1.5), QPointF(17.5, 1.5), QPointF(17, 8))
        path.cubicTo(QPointF(16.6, 11.5), QPointF(12, 11), QPointF(12, 15))
        painter.drawPath(path)
        painter.drawPoint(QPointF(12, 20.3))
    painter.restore()


def _pixmap(side: int, draw: object) -> QPixmap:
    pixmap = QPixmap(side, side)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(side / GRID, side / GRID)
    draw(painter)  # type: ignore[operator]
    painter.end()
    return pixmap


def _pen(color: QColor, width: float) -> QPen:
    return QPen(color, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)


def _points(*points: tuple[float, float]) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in points])


def _symbol(painter: QPainter, name: str, color: QColor) -> None:
    painter.setBrush(color)
    painter.setPen(_pen(color, 1.6))
    if name in ("back", "previous"):  # mirror images of forward and next
        painter.translate(GRID, 0)
        painter.scale(-1, 1)
    match name:
        case "play":
            painter.drawPolygon(_points((7.5, 5), (7.5, 19), (19, 12)))
        case "pause":
            painter.drawRoundedRect(QRectF(6.5, 5, 3.6, 14), 1, 1)
            painter.drawRoundedRect(QRectF(14, 5, 3.6, 14), 1, 1)
        case "forward" | "back":
            painter.drawRoundedRect(QRectF(5, 6, 2.2, 12), 1, 1)
            painter.drawPolygon(_points((11, 6), (11, 18), (19.5, 12)))
        case "next" | "previous":
            painter.drawPolygon(_points((4, 6), (4, 18), (10.5, 12)))
            painter.drawPolygon(_points((11, 6), (11, 18), (17.5, 12)))
            painter.drawRoundedRect(QRectF(18.4, 6, 1.8, 12), 0.9, 0.9)
        case "loop":
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(_pen(color, 2))
            painter.drawArc(QRectF(5, 5, 14, 14), 60 * 16, 290 * 16)
            painter.setBrush(color)
            painter.drawPolygon(_points((15, 2.6), (20.2, 5.6), (15, 8.9)))
        case "close":
            painter.setPen(_pen(color, 2.2))
            painter.drawLine(QPointF(7, 7), QPointF(17, 17))
            painter.drawLine(QPointF(17, 7), QPointF(7, 17))
        case "ready" | "elsewhere" | "stale":  # a check, a bar, an exclamation mark in a ring
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(_pen(color, 2.2))
            painter.drawEllipse(QRectF(3, 3, 18, 18))
            if name == "ready":
                painter.drawPolyline(_points((7.8, 12.4), (10.8, 15.4), (16.4, 8.8)))
            elif name == "elsewhere":
                painter.drawLine(QPointF(8, 12), QPointF(16, 12))
            else:
                painter.drawLine(QPointF(12, 7.6), QPointF(12, 12.6))
                painter.drawPoint(QPointF(12, 16.3))
        case _:
            raise ValueError(name)


def _emblem(painter: QPainter) -> None:
    """A face in a finder frame, half of it a live blue, half the orange of a picture."""
    ground = QLinearGradient(0, 0, GRID, GRID)
    ground.setColorAt(0, QColor("#20262e"))
    ground.setColorAt(1, QColor("#11151a"))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(ground)
    painter.drawRoundedRect(QRectF(0, 0, GRID, GRID), 5.5, 5.5)
    for x, color in ((0.0, "#57a5ff"), (GRID / 2, "#ff9a3d")):
        painter.save()
        painter.setClipRect(QRectF(x, 0, GRID / 2, GRID))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(_pen(QColor(color), 1.7))
        for sx in (1, -1):
            for sy in (1, -1):
                painter.save()
                painter.translate(GRID / 2, GRID / 2)
                painter.scale(sx, sy)
                painter.drawPolyline(_points((-8.2, -4.6), (-8.2, -8.2), (-4.6, -8.2)))
                painter.restore()
        painter.drawEllipse(QRectF(7, 5.4, 10, 13))
        painter.drawArc(QRectF(9.4, 11, 5.2, 4.6), 200 * 16, 140 * 16)
        painter.setBrush(QColor(color))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawEllipse(QPointF(10, 10.6), 0.9, 0.9)
        painter.drawEllipse(QPointF(14, 10.6), 0.9, 0.9)
        painter.restore()


def bold(font: QFont) -> QFont:
    made = QFont(font)
    made.setBold(True)
    return made
