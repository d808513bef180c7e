"""What was found on this machine and, where something is missing, the command that brings it, to be copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from dtda.app import engine_texts as texts

if TYPE_CHECKING:
    from dtda.app.inventory import Survey


class MachineNote(QWidget):
    """The verdict on this machine, the command, and what can be done without it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = QLabel(wordWrap=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.command = CopyLine("Command that installs what is missing")
        self.offer = muted("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.text, self.command, self.offer):
            layout.addWidget(widget)
        self.show_survey(None)

    def show_survey(self, survey: Survey | None, error: str = "") -> None:
        """None: it is being made, or that failed."""
        if survey is None:
            self.text.setText(error or "Checking what this machine can do…")
        else:
            self.text.setText(texts.machine(survey.probe))
            self.command.show_text(survey.probe.install)
            self.offer.setText(texts.build_offer(survey.probe))
        self.command.setVisible(survey is not None and bool(survey.probe.install))
        self.offer.setVisible(bool(self.offer.text()))


class CopyLine(QWidget):
    """A command in a field that can be selected, with a button that copies it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._field = QLineEdit(readOnly=True)
        self._field.setAccessibleName(name)
        self._field.setStyleSheet("font-family: monospace")
        self._button = QPushButton("Copy")
        self._button.clicked.connect(self._copy)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._field, 1)
        layout.addWidget(self._button)

    @property
    def content(self) -> str:
        return self._field.text()

    def show_text(self, text: str) -> None:
        if text != self._field.text():
            self._field.setText(text)
            self._field.setCursorPosition(0)
            self._button.setText("Copy")

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._field.text())
        self._button.setText("Copied")


def muted(text: str) -> QLabel:
    """An explanation, in the quieter colour of the theme."""
    label = QLabel(text, wordWrap=True)
    label.setObjectName("muted")
    return label
