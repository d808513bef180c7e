"""The message bar: one sentence per matter on what happened and the way out, until dismissed."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from dtda.app import icons
from dtda.app.records import Notice
from dtda.app.theme import Theme

AT_MOST = 3
INFO_S = 8.0  # an info goes by itself, warnings and errors stay
SIGNS = {"info": "i", "warn": "!", "error": "!"}


class MessageBar(QWidget):
    """Rows of notices, the newest below. A notice takes the place of the one with the same topic.

    rebuild: path of the engine whose Rebuild button was pressed.
    """

    rebuild = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._rows: list[_Row] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self.hide()

    @property
    def notices(self) -> list[Notice]:
        return [row.notice for row in self._rows]

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        for row in self._rows:
            row.set_theme(theme)

    def tell(self, notice: Notice) -> None:
        for row in [row for row in self._rows if row.notice.topic == notice.topic]:
            self._drop(row)
        row = _Row(notice, self._theme)
        row.dismiss.clicked.connect(lambda: self._drop(row))
        row.cure.clicked.connect(lambda: self._rebuild(row))
        if notice.level == "info":
            QTimer.singleShot(round(INFO_S * 1000), row, lambda: self._drop(row))
        self._rows.append(row)
        self._layout.addWidget(row)
        for old in self._rows[:-AT_MOST]:
            self._drop(old)
        self.show()

    def clear(self, topic: str) -> None:
        """The matter has settled itself."""
        for row in [row for row in self._rows if row.notice.topic == topic]:
            self._drop(row)

    def _rebuild(self, row: _Row) -> None:
        self._drop(row)
        self.rebuild.emit(row.notice.rebuild)

    def _drop(self, row: _Row) -> None:
        if row in self._rows:
            self._rows.remove(row)
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.setVisible(bool(self._rows))


class _Row(QWidget):
    def __init__(self, notice: Notice, theme: Theme) -> None:
        super().__init__()
        self.notice = notice
        self._sign = _Sign(SIGNS[notice.level])
        self._text = QLabel(notice.text, wordWrap=True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.cure = QPushButton("Rebuild")
        self.cure.setVisible(bool(notice.rebuild))
        self.dismiss = QToolButton()
        self.dismiss.setToolTip("Dismiss")
        self.dismiss.setAccessibleName("Dismiss")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 5, 5, 5)
        layout.setSpacing(10)
        layout.addWidget(self._sign)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.cure)
        layout.addWidget(self.dismiss)
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._color = QColor({"info": theme.accent, "warn": theme.warn, "error": theme.error}[self.notice.level])
        self._sign.set_colors(self._color, QColor(theme.surface))
        self.dismiss.setIcon(icons.icon("close", QColor(theme.muted)))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground = QColor(self._color)
        ground.setAlpha(30)
        painter.setBrush(ground)
        edge = QColor(self._color)
        edge.setAlpha(120)
        painter.setPen(edge)
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)


class _Sign(QWidget):
    """A letter in a disc."""

    def __init__(self, letter: str) -> None:
        super().__init__()
        self._letter = letter
        self._disc, self._ink = QColor("black"), QColor("white")
        self.setFixedSize(QSize(18, 18))

    def set_colors(self, disc: QColor, ink: QColor) -> None:
        self._disc, self._ink = disc, ink
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._disc)
        painter.drawEllipse(self.rect())
        painter.setPen(self._ink)
        painter.setFont(icons.bold(self.font()))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._letter)
