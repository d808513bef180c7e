"""The status line: engine really in use, frame rate, milliseconds per stage, age of the picture, dropped frames."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from dtda.app.engine_texts import NOT_COMPARED
from dtda.app.records import PlayerState
from dtda.app.tally import Tally
from dtda.core.types import EngineInfo

STAGES = ("detect", "track", "quality", "align", "infer", "decide")
PRIVACY = "Nothing is recorded"


class StatusLine(QWidget):
    """Texts that shorten themselves where the window is narrow; the tooltip has them in full."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.engine = ElidedText(QSizePolicy.Policy.Maximum)
        self.figures = ElidedText(QSizePolicy.Policy.Ignored)
        self.privacy = ElidedText(QSizePolicy.Policy.Fixed)
        self.privacy.set_texts(PRIVACY, "Pictures are shown and forgotten: nothing is stored, nothing is sent.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 4, 12, 5)
        layout.setSpacing(16)
        layout.addWidget(self.engine)
        layout.addWidget(self.figures, 1)
        layout.addWidget(self.privacy)

    def show_engine(self, info: EngineInfo | None, detector: str, loading: bool, parity: str = "") -> None:
        """parity: what is known of its scores beside those of its student."""
        if info is None:
            self.engine.set_texts("Loading the engine…" if loading else "No engine", "No face is judged without one.")
        else:
            precision, provider = info.precision.upper(), info.provider.removesuffix("ExecutionProvider")
            batch = "any number of" if info.max_batch is None else f"up to {info.max_batch}"
            known = [parity] if parity else info.notes  # what was found last, else what the engine was opened with
            warning = f" · {NOT_COMPARED}" if any(text.lower().startswith(NOT_COMPARED) for text in known) else ""
            notes = "".join(f"\n{note}" for note in (*info.notes, *([parity] if parity else [])))
            self.engine.set_texts(
                f"{info.name} · {info.backend} · {precision} · {provider}{warning}",
                f"Student: {info.name} ({info.size} px)\nFile: {info.path}\nRuns on: {info.backend}, {precision}, "
                f"{info.provider}\nFaces at once: {batch}\nDetector: {detector}{notes}",
            )

    def show_figures(self, tally: Tally, state: PlayerState, age_ms: float | None) -> None:
        """age_ms: of the frame on screen; None where that says nothing (paused, files)."""
        stages = tally.stage_ms()
        parts = [f"{tally.fps:.0f} fps" if tally.fps else "", short_stages(stages)]
        if age_ms is not None:
            parts.append(f"age {age_ms:.0f} ms" if age_ms < 2000 else f"age {age_ms / 1000:.0f} s")
        if state.live:
            parts.append(f"{state.dropped} dropped")
        lines = "\n".join(
            f"{name}: {ms:.1f} ms" for name, ms in sorted(stages.items(), key=lambda item: _rank(item[0]))
        )
        tip = f"Frames per second, and milliseconds per frame lately:\n{lines}\nage: since the camera gave the picture"
        self.figures.set_texts(" · ".join(filter(None, parts)), tip)


def short_stages(stages: Mapping[str, float]) -> str:
    """As "detect 12 + align 1 + infer 5 = 18 ms"; stages that take no time are left out of the sum shown."""
    if not stages:
        return ""
    shown = [f"{name} {stages[name]:.0f}" for name in sorted(stages, key=_rank) if stages[name] >= 0.5]
    total = f"{sum(stages.values()):.0f} ms"
    return f"{' + '.join(shown)} = {total}" if len(shown) > 1 else total


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


class ElidedText(QWidget):
    """One line, cut with an ellipsis where there is no room."""

    def __init__(self, policy: QSizePolicy.Policy) -> None:
        super().__init__()
        self.text = ""
        self.setSizePolicy(policy, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        metrics = QFontMetrics(self.font())
        return QSize(metrics.horizontalAdvance(self.text) + 2, metrics.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(40, QFontMetrics(self.font()).height())

    def set_texts(self, text: str, tip: str) -> None:
        if text != self.text:
            self.text = text
            self.setAccessibleName(text)
            self.updateGeometry()
            self.update()
        self.setToolTip(tip)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        text = QFontMetrics(self.font()).elidedText(self.text, Qt.TextElideMode.ElideRight, self.width())
        painter.setPen(self.palette().placeholderText().color())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, text)
