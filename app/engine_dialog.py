"""The engine manager: what can run here and what cannot, with the reason and the cure. It does not hold up the window."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QProcess, Qt, Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from dtda.app import engine_texts as texts
from dtda.app.engine_table import EngineTable
from dtda.app.machine_note import CopyLine
from dtda.app.theme import Theme
from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo

if TYPE_CHECKING:
    from dtda.app.inventory import Row, Survey

NAME = "Engines"


class EngineDialog(QDialog):
    """used: the Row to run. rebuilt, shown: path of an engine. building: a new one. refresh: look again, also at the
    machine. changed: an engine was deleted or checked.
    """

    used = Signal(object)
    rebuilt = Signal(str)
    shown = Signal(str)
    building = Signal()
    refresh = Signal()
    changed = Signal()

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(NAME)
        self._info: EngineInfo | None = None
        self._install = ""
        self._building = False
        self._said = ("", "")  # path of the engine checked last, and what came of it
        self._machine = QLabel(wordWrap=True)
        self._machine.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table = EngineTable(theme)
        self.table.selectionModel().currentRowChanged.connect(lambda: self._show_chosen())
        self.table.activated.connect(self._on_activated)
        self.details = QLabel(wordWrap=True)
        self.details.setTextFormat(Qt.TextFormat.PlainText)
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.details.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.command = CopyLine("Command that installs what is missing")
        self.use = self._button("&Use", self._use)
        self.check = self._button("&Check", self._check)
        self.rebuild = self._button("&Rebuild", lambda: self.rebuilt.emit(str(self._row.path)))
        self.folder = self._button("Show in &folder", lambda: self.shown.emit(str(self._row.path)))
        self.delete = self._button("&Delete…", self._ask_to_delete)
        self.again = self._button("Look a&gain", self.refresh.emit)
        self.build = self._button("&Build…", self.building.emit)
        self.leave = self._button("Close", self.close)
        self._place()
        self._checker: QProcess | None = None
        self._show_chosen()
        room = self.screen().availableSize()
        self.resize(min(1000, room.width() - 40), min(500, room.height() - 60))

    def _place(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 12)
        layout.setSpacing(10)
        layout.addWidget(self._machine)
        layout.addWidget(self.table, 1)
        area = QScrollArea(widgetResizable=True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidget(self.details)
        area.setFixedHeight(self.fontMetrics().height() * 7)
        layout.addWidget(area)
        layout.addWidget(self.command)
        for buttons in (
            (self.use, self.check, self.rebuild, self.folder, self.delete),
            (self.build, self.again, None, self.leave),
        ):
            row = QHBoxLayout()
            for button in buttons:
                if button is None:
                    row.addStretch(1)
                else:
                    row.addWidget(button)
            if None not in buttons:
                row.addStretch(1)
            layout.addLayout(row)

    def _button(self, text: str, action: Callable[[], object]) -> QPushButton:
        button = QPushButton(text, autoDefault=False)
        button.clicked.connect(lambda: action())
        return button

    @property
    def _row(self) -> Row:
        row = self.table.chosen
        assert row is not None
        return row

    # -- what it is told ------------------------------------------------------------------------------------------

    def offer(self) -> None:
        self.show()
        self.raise_()
        self.activateWindow()
        self.table.setFocus()

    def show_survey(self, survey: Survey | None, in_use: str, error: str = "") -> None:
        """survey: None while the first is being made, or when that failed, as `error` says."""
        if survey is None:
            self._machine.setText(error or "Checking what can run here…")
            return
        built = any(row.is_engine for row in survey.rows)
        none = "" if built else " No engine has been built yet."
        self._machine.setText(texts.machine(survey.probe) + none)
        self._install = survey.probe.install
        self.table.show_rows(survey.rows)
        self._show_chosen()

    def show_in_use(self, info: EngineInfo | None) -> None:
        self._info = info
        self.table.source.show_in_use(info)
        self._show_chosen()

    def show_building(self, building: bool) -> None:
        """Two builds at once are not possible."""
        self._building = building
        self.rebuild.setToolTip("A build is running." if building else "")
        self._show_buttons()

    def set_theme(self, theme: Theme) -> None:
        self.table.source.set_theme(theme)

    # -- the chosen one -------------------------------------------------------------------------------------------

    def _show_chosen(self) -> None:
        row = self.table.chosen
        self._show_buttons()
        checked = [self._said[1]] if row is not None and str(row.path) == self._said[0] else []
        self.details.setText("\n".join([*checked, *([describe(row)] if row else [])]))
        missing = self._install if row is not None and row.state == "elsewhere" and row.is_engine else ""
        self.command.setVisible(bool(missing))
        self.command.show_text(missing)

    def _show_buttons(self) -> None:
        row = self.table.chosen
        used = row is not None and row.runs(self._info)
        engine = row is not None and row.is_engine
        student = row is None or row.is_student
        self.use.setEnabled(row is not None and row.state == "ready" and student and not used)
        self.use.setToolTip("" if student else "A face detector: start the program with --detector and this file.")
        self.check.setEnabled(engine and self._checker is None)
        self.rebuild.setEnabled(engine and not self._building)
        self.folder.setEnabled(row is not None)
        self.delete.setEnabled(engine and not used)
        self.delete.setToolTip("It is in use." if engine and used else "")

    def _on_activated(self) -> None:
        """Enter or a double click."""
        if self.use.isEnabled():
            self._use()

    def _use(self) -> None:
        self.used.emit(self._row)

    def _check(self) -> None:
        """`dtda engine check` in a child: it may have to run the engine, beside onnxruntime."""
        path = str(self._row.path)
        process = self._checker = QProcess(self)
        process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
        process.finished.connect(lambda: self._on_checked(path))
        process.errorOccurred.connect(lambda: self._on_checked(path))
        self._said = (path, "Checking…")
        self._show_chosen()
        process.start(sys.executable, ["-m", "dtda.app.cli", "engine", "check", path])

    def _on_checked(self, path: str) -> None:
        process, self._checker = self._checker, None
        if process is None:
            return
        said = bytes(process.readAll().data()).decode(errors="replace").strip() or process.errorString()
        process.deleteLater()
        self._said = (path, f"Checked: {said.removeprefix(f'{path}: ')}")
        self._show_chosen()
        self.changed.emit()

    def _ask_to_delete(self) -> None:
        row = self._row
        text = f"Delete {row.path.name}? It can be built again from its student."
        box = QMessageBox(QMessageBox.Icon.NoIcon, NAME, text, parent=self)
        yes = box.addButton("&Delete", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("&Keep", QMessageBox.ButtonRole.RejectRole))
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.finished.connect(lambda: self._delete(row) if box.clickedButton() is yes else None)
        box.open()

    def _delete(self, row: Row) -> None:
        from dtda.engines import store

        try:
            store.remove(row.path)
        except (DtdaError, OSError) as error:
            self.details.setText(str(error))
        self.changed.emit()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.stop()
        event.accept()

    def stop(self) -> None:
        """End a check that runs."""
        process, self._checker = self._checker, None
        if process is not None:
            process.kill()
            process.waitForFinished(1000)
            process.deleteLater()


def describe(row: Row) -> str:
    """All that is known, and above it what is wrong."""
    lines = [f"{name}: {value}" for name, value in texts.facts(row)]
    return "\n".join([*([row.reason[:1].upper() + row.reason[1:]] if row.reason else []), *lines])
