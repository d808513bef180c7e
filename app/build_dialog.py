"""The build dialog: settings, then the build as it runs, then what came of it. It does not hold up the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from dtda.app import engine_texts as texts
from dtda.app.build_form import BuildForm, Wish
from dtda.app.build_run import BuildRun
from dtda.app.builds import Builds
from dtda.app.theme import Theme

if TYPE_CHECKING:
    from dtda.app.inventory import Row, Survey
    from dtda.engines.events import Done, Event, Failed
    from dtda.engines.plan import Header

NAME = "Build a TensorRT engine"


class BuildDialog(QDialog):
    """used: path of the engine to run now. shown: path to show in the file manager. opened: path of a report to read.
    refresh: look at the machine again.

    command: the argv of the child for a wish.
    """

    used = Signal(str)
    shown = Signal(str)
    opened = Signal(str)
    refresh = Signal()

    def __init__(self, builds: Builds, command: Callable[[Wish], list[str]], theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(NAME)
        self._builds, self._command = builds, command
        self._awaited = ""  # path of the engine to build again, once the machine is known
        self._path = ""  # of the engine that was built
        self._report = ""
        self._end = ""  # how the last build went: done, failed or cancelled
        self._runs_here = False
        self._question: QMessageBox | None = None
        self._leaving = False  # once the build has stopped
        self.form, self.run = BuildForm(), BuildRun(theme)
        self._pages = QStackedWidget()
        self._pages.addWidget(_scrolled(self.form))
        self._pages.addWidget(_scrolled(self.run))
        self.build = self._button("&Build", self._begin)
        self.cancel = self._button("&Cancel", self._cancel)
        self.again = self._button("&Check again", self.refresh.emit)
        self.settings = self._button("&Settings", self._show_form)
        self.folder = self._button("Show in &folder", lambda: self.shown.emit(self._path))
        self.report = self._button("Open &report", lambda: self.opened.emit(self._report))
        self.fp32 = self._button("&Try FP32", self._try_fp32)
        self.leave = self._button("Close", self.close)
        self.use = self._button("&Use it now", self._use)
        row = QHBoxLayout()
        for button in (self.again, self.settings, self.folder, self.report):
            row.addWidget(button)
        row.addStretch(1)
        for button in (self.leave, self.cancel, self.fp32, self.use, self.build):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 12)
        layout.setSpacing(12)
        layout.addWidget(self._pages, 1)
        layout.addLayout(row)
        self.form.changed.connect(self._update)
        builds.happened.connect(self._on_event)
        self._show_form()
        room = self.screen().availableSize()
        self.resize(min(620, room.width() - 40), min(500, room.height() - 60))

    def _button(self, text: str, action: Callable[[], object]) -> QPushButton:
        button = QPushButton(text, autoDefault=False)
        button.clicked.connect(lambda: action())
        return button

    def set_theme(self, theme: Theme) -> None:
        self.run.set_theme(theme)

    # -- what it is told ------------------------------------------------------------------------------------------

    def show_survey(self, survey: Survey | None, in_use: str, error: str = "") -> None:
        """survey: None while it is being made, or when that failed, as `error` says."""
        self.form.show_survey(survey, in_use, error)
        row = survey.row(self._path) if survey is not None and self._path else None
        if row is not None and row.header is not None and not self._builds.running:
            self.run.show_facts(self._facts(row.bytes, texts.facts(row), row.latency_ms))
        awaited = survey.row(self._awaited) if survey is not None and self._awaited else None
        if awaited is not None:
            self._awaited = ""
            self._rebuild(awaited)

    def await_engine(self, path: str) -> None:
        """Build this engine again as soon as the machine is known. Not while a build runs."""
        self._awaited = path

    def _rebuild(self, row: Row) -> None:
        """With the settings it was built with; where they are not known, or it cannot be built, the form tells."""
        header = row.header
        if header is None:
            self.form.use_wish(Wish("", out=str(row.path)), f"{row.reason} Choose the student it was built from.")
            return
        if row.is_student and not Path(header.onnx_path).is_file():
            remark = f"{header.onnx_path}, which it was built from, is not there; choose the student."
            self.form.use_wish(wish_again(header, row.path, ""), remark)
            return
        self.form.use_wish(wish_again(header, row.path, header.spec))
        if self.form.ready:
            self._begin()

    def offer(self) -> None:
        """Show the settings, or the build that runs."""
        if not self._builds.running:
            self._show_form()
        self.show()
        self.raise_()
        self.activateWindow()

    # -- pages ----------------------------------------------------------------------------------------------------

    def _show_form(self) -> None:
        self._awaited = self._end = self._path = self._report = ""
        self._pages.setCurrentIndex(0)
        self._update()
        self.setWindowTitle(NAME)

    def _begin(self) -> None:
        wish = self.form.wish()
        if self._builds.running:
            return
        self._end = self._path = self._report = ""
        self.run.begin(f"{Path(wish.student).stem} in {wish.precision.upper()}")
        self._pages.setCurrentIndex(1)
        self._builds.start(self._command(wish))
        self._update()
        self.cancel.setFocus()

    def _cancel(self) -> None:
        self._builds.cancel()
        self.run.say_cancelling()
        self.cancel.setEnabled(False)

    def _use(self) -> None:
        self.used.emit(self._path)
        self.close()

    def _try_fp32(self) -> None:
        self.form.use_precision("fp32")
        self._begin()

    def _update(self) -> None:
        """Which buttons there are."""
        form, running, end = self._pages.currentIndex() == 0, self._builds.running, self._end
        for button, visible in {
            self.build: form,
            self.again: form and not self.form.ready,
            self.cancel: running,
            self.settings: not form and not running,
            self.folder: end == "done",
            self.report: bool(self._report),
            self.fp32: end == "failed" and self.form.precision != "fp32",
            self.leave: not running,
            self.use: end == "done" and self._runs_here,
        }.items():
            button.setVisible(visible)
        self.build.setEnabled(self.form.ready)
        self.cancel.setEnabled(True)
        for button in (self.use, self.fp32, self.build):
            button.setDefault(button.isVisibleTo(self) and button.isEnabled())

    # -- the build ------------------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event.event:
            case "done":
                self._on_done(event)
            case "failed":
                self._on_failed(event)
            case "cancelled":
                self.run.end("cancelled", "Cancelled. Nothing was left behind.", [])
                self._after("cancelled")
            case _:
                self.run.show_event(event)
                if event.event == "phase":
                    self.setWindowTitle(f"{self.run.fraction:.0%} – {NAME}")

    def _on_done(self, event: Done) -> None:
        self._path = event.path
        headline = "The engine is built." if event.runs_here else f"The engine is built, but {event.why.rstrip('.')}."
        self.run.end("done", headline, self._facts(event.bytes, [("File", event.path)], None, event.seconds))
        self._runs_here = event.runs_here
        self.run.toggle.setChecked(False)
        self._after("done")

    def _on_failed(self, event: Failed) -> None:
        self._report = event.report or ""
        facts = [("Report", self._report)] if self._report else []
        self.run.end("failed", "The build failed.", facts, event.text[:1].upper() + event.text[1:])
        self.run.toggle.setChecked(True)
        self._after("failed")

    def _after(self, end: str) -> None:
        if self._question is not None:
            self._question.close()
        self._end = end
        self._update()
        self.setWindowTitle(NAME)
        next(button for button in (self.use, self.fp32, self.leave) if button.isVisibleTo(self)).setFocus()
        leaving, self._leaving = self._leaving, False
        if leaving:
            self.close()

    def _facts(
        self, count: int, facts: list[tuple[str, str]], latency: float | None, seconds: float | None = None
    ) -> list[tuple[str, str]]:
        out = [("Size", texts.size(count)), *facts]
        out += [("Took", f"{seconds:.1f} s")] if seconds is not None else []
        out += [("Latency", f"{texts.milliseconds(latency)} for one face")] if latency is not None else []
        return out

    # -- closing --------------------------------------------------------------------------------------------------

    def reject(self) -> None:
        """Escape."""
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._builds.running:
            event.ignore()
            self._ask_to_stop()
        else:
            self._awaited = ""
            event.accept()

    def _ask_to_stop(self) -> None:
        if self._question is not None:
            return
        text = "The build is still running. Stop it?"
        box = self._question = QMessageBox(QMessageBox.Icon.NoIcon, NAME, text, parent=self)
        stop = box.addButton("&Stop the build", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("&Keep building", QMessageBox.ButtonRole.RejectRole))
        box.finished.connect(lambda: self._on_answer(box.clickedButton() is stop))
        box.open()

    def _on_answer(self, stop: bool) -> None:
        if self._question is not None:
            self._question.deleteLater()
            self._question = None
        if stop and self._builds.running:
            self._leaving = True
            self._cancel()


def wish_again(header: Header, path: Path, student: str) -> Wish:
    """The settings an engine was built with. One that was built for a GPU that was there is built for the one that is."""
    targets = () if header.gpu else tuple(header.compute_capabilities)
    return Wish(student, header.precision, header.batch.max, targets, out=str(path))


def _scrolled(page: QWidget) -> QScrollArea:
    """A page that scrolls where the dialog is too low for it."""
    area = QScrollArea(widgetResizable=True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(page)
    return area
