"""The views of the window and their places: messages on top, picture over timeline, faces beside them, bars below."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from dtda.app.capture import Player
from dtda.app.faces import CropInspector, FacePanel
from dtda.app.messages import MessageBar
from dtda.app.picture import PictureView
from dtda.app.preferences import Preferences
from dtda.app.status import StatusLine
from dtda.app.theme import Theme
from dtda.app.timeline import Timeline
from dtda.app.transport import TransportBar


class Views(QWidget):
    """What fills the window below its menu bar."""

    def __init__(self, player: Player, theme: Theme) -> None:
        super().__init__()
        self.messages = MessageBar(theme)
        self.picture = PictureView(theme)
        self.timeline = Timeline(theme)
        self.faces = FacePanel(theme)
        self.inspector = CropInspector(theme)
        self.transport = TransportBar(player, theme)
        self.status = StatusLine()
        self._left = _splitter(Qt.Orientation.Vertical, self.picture, self.timeline, (430, 170))
        self._side = QWidget()
        _column(self._side, 10, (4, 0, 0, 0), self.faces, self.inspector).setStretchFactor(self.faces, 1)
        self._side.setMinimumWidth(190)
        self._across = _splitter(Qt.Orientation.Horizontal, self._left, self._side, (840, 240))
        middle = QWidget()
        _column(middle, 8, (10, 8, 10, 8), self.messages, self._across).setStretchFactor(self._across, 1)
        _column(self, 0, (0, 0, 0, 0), middle, self.transport, self.status).setStretchFactor(middle, 1)

    def panels(self) -> dict[str, QWidget]:
        """The parts that can be hidden, by the name of their menu entry."""
        return {
            "&Faces": self._side,
            "&Crop inspector": self.inspector,
            "&Timeline": self.timeline,
            "T&ransport bar": self.transport,
            "&Status line": self.status,
        }

    def set_theme(self, theme: Theme) -> None:
        for view in (self.messages, self.picture, self.timeline, self.faces, self.inspector, self.transport):
            view.set_theme(theme)

    def restore(self, preferences: Preferences) -> None:
        hidden = preferences.words("view/hidden")
        for name, panel in self.panels().items():
            panel.setHidden(name in hidden)
        for key, splitter in (("view/left", self._left), ("view/across", self._across)):
            layout = preferences.layout(key)
            if layout is not None:
                splitter.restoreState(layout)

    def saved(self) -> dict[str, object]:
        """What `restore` wants to find."""
        return {
            "view/hidden": [name for name, panel in self.panels().items() if panel.isHidden()],
            "view/left": self._left.saveState(),
            "view/across": self._across.saveState(),
        }


def _column(parent: QWidget, spacing: int, margins: tuple[int, int, int, int], *widgets: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(parent)
    column.setContentsMargins(*margins)
    column.setSpacing(spacing)
    for widget in widgets:
        column.addWidget(widget)
    return column


def _splitter(way: Qt.Orientation, first: QWidget, second: QWidget, sizes: tuple[int, int]) -> QSplitter:
    """Two widgets side by side or one over the other; the first takes what room there is."""
    splitter = QSplitter(way)
    splitter.setChildrenCollapsible(False)
    splitter.setHandleWidth(6)
    splitter.addWidget(first)
    splitter.addWidget(second)
    splitter.setStretchFactor(0, 1)
    splitter.setSizes(list(sizes))
    return splitter
