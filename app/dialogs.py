"""Questions to the user: which file, folder, address or student; and boxes with text."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QWidget

from dtda.app.preferences import Preferences

FOLDER = "source/folder"  # where the last file was chosen


def ask_file(parent: QWidget, preferences: Preferences) -> str:
    """A video or picture, "" when the user thought better of it."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open a video or picture", preferences.text(FOLDER))
    return _chosen(path, Path(path).parent, preferences)


def ask_folder(parent: QWidget, preferences: Preferences) -> str:
    title = "Open a folder of videos and pictures"
    path = QFileDialog.getExistingDirectory(parent, title, preferences.text(FOLDER))
    return _chosen(path, Path(path), preferences)


def ask_student(parent: QWidget, preferences: Preferences) -> str:
    kinds = "Students and descriptions of other networks (*.onnx *.json *.engine);;All files (*)"
    path, _ = QFileDialog.getOpenFileName(parent, "Open a student", preferences.text(FOLDER), kinds)
    return path


def ask_url(parent: QWidget) -> str:
    url, accepted = QInputDialog.getText(parent, "Open URL", "Address of a stream, such as rtsp://camera.local/1")
    return url.strip() if accepted else ""


def show_text(parent: QWidget, title: str, html: str) -> None:
    """A box that does not hold up the window."""
    box = QMessageBox(QMessageBox.Icon.NoIcon, title, html, QMessageBox.StandardButton.Close, parent)
    box.setTextFormat(Qt.TextFormat.RichText)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.open()


def _chosen(path: str, folder: Path, preferences: Preferences) -> str:
    if path:
        preferences.store({FOLDER: str(folder)})
    return path
