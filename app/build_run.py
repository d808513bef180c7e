"""The second page of the build dialog: what the build is doing, and what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QColor, QTextCursor
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from dtda.app import engine_texts as texts
from dtda.app.icons import icon
from dtda.app.status import ElidedText
from dtda.app.theme import Theme

if TYPE_CHECKING:
    from dtda.engines.events import Event

STEPS = 1000
LOG_LINES = 5000
SEEN_AT_ONCE = 6  # warnings and errors beside the log
TICK_MS = 250
SIGNS = {"done": "ready", "failed": "stale", "cancelled": "elsewhere"}


class BuildRun(QWidget):
    """Progress, phase, time, notes and log; then the outcome."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._began = 0.0
        self._outcome = ""
        self._remarks: list[str] = []
        self.title = QLabel(wordWrap=True)
        self.title.setObjectName("title")
        self.bar = QProgressBar(maximum=STEPS, textVisible=False)
        self.bar.setAccessibleName("Progress of the build")
        self.phase = ElidedText(QSizePolicy.Policy.Ignored)
        self.percent = QLabel()
        self.time = QLabel()
        self.time.setObjectName("muted")
        self.time.setAccessibleName("Time since the build began")
        self._sign = QLabel()
        self._sign.setFixedSize(QSize(24, 24))
        self.headline = QLabel(wordWrap=True)
        self.headline.setObjectName("title")
        self.headline.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.reason = QLabel(wordWrap=True)
        self.reason.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._facts = QWidget()
        self._grid = QGridLayout(self._facts)
        self._grid.setContentsMargins(34, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(5)
        self._grid.setColumnStretch(1, 1)
        self.remarks = QLabel(wordWrap=True)
        self.remarks.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.toggle = QToolButton()
        self.toggle.setText("Log")
        self.toggle.setCheckable(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setArrowType(Qt.ArrowType.RightArrow)
        self.toggle.toggled.connect(self._show_log)
        self.log = QPlainTextEdit(readOnly=True, maximumBlockCount=LOG_LINES)
        self.log.setAccessibleName("Log of the build")
        self.log.setStyleSheet("font-family: monospace")
        self._place()
        self.toggle.setChecked(True)
        self._clock = QTimer(self, interval=TICK_MS)
        self._clock.timeout.connect(self._tick)

    def _place(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self._progress = QWidget()
        progress = QVBoxLayout(self._progress)
        progress.setContentsMargins(0, 0, 0, 0)
        progress.setSpacing(6)
        progress.addWidget(self.bar)
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(self.phase, 1)
        row.addWidget(self.percent)
        row.addWidget(self.time)
        progress.addLayout(row)
        outcome = QHBoxLayout()
        outcome.setSpacing(10)
        outcome.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        outcome.addWidget(self.headline, 1)
        layout.addWidget(self.title)
        layout.addWidget(self._progress)
        layout.addLayout(outcome)
        layout.addWidget(self.reason)
        layout.addWidget(self._facts)
        layout.addWidget(self.remarks)
        layout.addWidget(self.toggle)
        layout.addWidget(self.log, 1)
        layout.addStretch(0)
        layout.setAlignment(self.toggle, Qt.AlignmentFlag.AlignLeft)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._paint_sign()

    # -- while it runs --------------------------------------------------------------------------------------------

    def begin(self, title: str) -> None:
        self.title.setText(title)
        self._began = time.monotonic()
        self._outcome = ""
        self._remarks.clear()
        self.remarks.hide()
        self.log.clear()
        self.toggle.setChecked(True)
        self.headline.hide()
        self.reason.hide()
        self._sign.hide()
        self._facts.hide()
        self._progress.show()
        self._advance(0)
        self._say("Starting TensorRT…")
        self._tick()
        self._clock.start()

    def show_event(self, event: Event) -> None:
        """Any event but the last."""
        match event.event:
            case "start":
                where = event.gpu or texts.cards(event.target)
                runtime = _runtime(event.package, event.version)
                self.title.setText(f"{event.student} in {event.precision.upper()} with {runtime}, for {where}")
            case "phase":
                self._advance(max(self.bar.value(), round(event.progress * STEPS)))
                self._say(event.name)
            case "log":
                self.log.appendPlainText(event.text if event.level == "info" else f"{event.level}: {event.text}")
                if event.level != "info":
                    self._remark(f"{event.level.capitalize()}: {event.text}")
            case "note":
                self.log.appendPlainText(event.text)
                self._remark(event.text)
            case "parity":
                self.log.appendPlainText(texts.parity_sentence(event))

    def say_cancelling(self) -> None:
        self._say("Cancelling: TensorRT ends its present step first…")

    @property
    def fraction(self) -> float:
        return self.bar.value() / STEPS

    def _advance(self, steps: int) -> None:
        self.bar.setValue(steps)
        self.percent.setText(f"{self.fraction:.0%}")

    def _say(self, phase: str) -> None:
        self.phase.set_texts(phase, phase)

    def _remark(self, text: str) -> None:
        """Beside the log, where it is seen with the log folded."""
        self._remarks = [*(old for old in self._remarks if old != text), text][-SEEN_AT_ONCE:]
        self._show_remarks()

    def _show_remarks(self) -> None:
        self.remarks.setText("\n".join(f"• {remark}" for remark in self._remarks))
        self.remarks.setVisible(bool(self._remarks))

    def _tick(self) -> None:
        self.time.setText(texts.elapsed(time.monotonic() - self._began))

    def _show_log(self, shown: bool) -> None:
        self.toggle.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.log.setVisible(shown)

    # -- afterwards -----------------------------------------------------------------------------------------------

    def end(self, outcome: str, headline: str, facts: list[tuple[str, str]], reason: str = "") -> None:
        """outcome: done, failed or cancelled. reason: the sentence of a failure."""
        self._clock.stop()
        self._outcome = outcome
        self._progress.hide()
        self.headline.setText(headline)
        self.headline.show()
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))
        self.log.moveCursor(QTextCursor.MoveOperation.End)
        self._sign.show()
        self._paint_sign()
        self.show_facts(facts)

    def show_facts(self, facts: list[tuple[str, str]]) -> None:
        for old in self._facts.findChildren(QLabel):
            self._grid.removeWidget(old)
            old.setParent(None)
        for row, (name, value) in enumerate(facts):
            label, text = QLabel(name), QLabel(value, wordWrap=True)
            label.setObjectName("muted")
            text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(text, row, 1)
        self._facts.setVisible(bool(facts))
        told = " ".join([self.reason.text(), *(value for _, value in facts)])
        self._remarks = [remark for remark in self._remarks if remark.removeprefix("Error: ") not in told]
        self._show_remarks()

    @property
    def facts(self) -> list[str]:
        """The texts of the outcome, for tests and assistive tools."""
        return [label.text() for label in self._facts.findChildren(QLabel)]

    def _paint_sign(self) -> None:
        if self._outcome:
            color = {"done": self._theme.live, "failed": self._theme.error}.get(self._outcome, self._theme.muted)
            self._sign.setPixmap(icon(SIGNS[self._outcome], QColor(color)).pixmap(QSize(24, 24)))


def _runtime(package: str, version: str) -> str:
    from dtda.engines.nvidia import title

    return title(package, version)
