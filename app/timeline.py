"""The score of each face over time. pyqtgraph is imported in a thread, after the window shows: it takes a second."""

from __future__ import annotations

import threading
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QSizePolicy, QStackedLayout, QWidget

from dtda.app.loading import load
from dtda.app.records import PlayerState
from dtda.app.series import ScoreSeries
from dtda.app.theme import Theme, track_color
from dtda.core.types import Observation

# Cycled with the colours, so that two faces differ by more than hue.
DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)


class Timeline(QWidget):
    """sought: frame index that was clicked. threshold_moved: where the user left the threshold line."""

    sought = Signal(int)
    threshold_moved = Signal(float)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._series = ScoreSeries()
        self._threshold: float | None = None
        self._caption = ""
        self._stale = True  # the plot lags behind the series
        self._plot: Any = None
        self._importer: threading.Thread | None = None
        self._curves: dict[int, Any] = {}
        self._marks: list[tuple[float, str]] = []  # seconds, what changed there
        self._lines: list[Any] = []
        self._stack = QStackedLayout(self)
        self._waiting = QLabel("The score over time appears here.", alignment=Qt.AlignmentFlag.AlignCenter)
        self._waiting.setObjectName("muted")
        self._stack.addWidget(self._waiting)
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setAccessibleName("Score over time")

    def sizeHint(self) -> QSize:
        return QSize(640, 180)

    @property
    def series(self) -> ScoreSeries:
        return self._series

    @property
    def ready(self) -> bool:
        """Whether the plot is there."""
        return self._plot is not None

    def load(self) -> None:
        """Import pyqtgraph in a thread; `refresh` builds the plot once it is there."""
        if self._importer is None:
            _make_types()
            self._importer = threading.Thread(target=load, args=("pyqtgraph",), name="plot import", daemon=True)
            self._importer.start()

    def close_down(self, timeout: float) -> None:
        if self._importer is not None:
            self._importer.join(timeout)

    def start_clip(self, state: PlayerState) -> None:
        """Forget the curves; the axis is the clip, or the last seconds of a live source."""
        self._series = ScoreSeries(None if state.live else state.length, state.fps or 15.0)
        self._marks.clear()
        self._draw_marks()
        self._stale = True
        self.refresh()

    def add(self, observation: Observation) -> None:
        self._series.add(observation)
        self._stale = True

    def mark(self, text: str) -> None:
        """From here on the scores are those of another engine. Of two marks at the same place the last one stays."""
        now, left = self._series.now, self._series.span[0]
        self._marks = [mark for mark in self._marks if left <= mark[0] != now] + [(now, text)]
        self._draw_marks()

    @property
    def marks(self) -> list[tuple[float, str]]:
        return self._marks

    def set_threshold(self, value: float | None, caption: str) -> None:
        """value: None while no engine is loaded. caption: said beside the line."""
        self._threshold, self._caption = value, caption
        self._place_threshold()

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._paint_plot()

    def refresh(self) -> None:
        """Draw what was added since; called a few times per second, not per frame."""
        if self._plot is None:
            if self._importer is None or self._importer.is_alive():
                return
            self._build()
        if not self._stale:
            return
        self._stale = False
        left, right = self._series.span
        self._plot.setXRange(left, right, padding=0.01)
        self._now.setPos(self._series.now)
        curves = self._series.curves()
        for track in [track for track in self._curves if track not in curves]:
            self._plot.removeItem(self._curves.pop(track))
        for track, (x, y) in curves.items():
            if track not in self._curves:
                self._curves[track] = self._plot.plot(name=f"#{track}", connect="finite", antialias=True)
                self._curves[track].setPen(self._track_pen(track))
            self._curves[track].setData(x, y)
        spots = [{"pos": (self._series.now, p), "brush": track_color(t)} for t, p in self._series.latest.items()]
        self._dots.setData(spots)

    def _draw_marks(self) -> None:
        if self._plot is None:
            return
        import pyqtgraph as pg

        for line in self._lines:
            self._plot.removeItem(line)
        pen = pg.mkPen(self._theme.accent, width=1, style=Qt.PenStyle.DotLine)
        label = {"position": 0.9, "color": self._theme.accent, "fill": self._theme.surface, "movable": False}
        label["anchors"] = [(0, 0.5), (1, 0.5)]
        self._lines = [pg.InfiniteLine(x, 90, pen, label=text, labelOpts=label) for x, text in self._marks]
        for line in self._lines:
            self._plot.getPlotItem().addItem(line, ignoreBounds=True)

    def _track_pen(self, track: int) -> Any:
        import pyqtgraph

        return pyqtgraph.mkPen(track_color(track), width=2, style=DASHES[track // 6 % len(DASHES)])

    def _build(self) -> None:
        import pyqtgraph as pg

        self._plot = pg.PlotWidget()
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(False, False)
        item.setYRange(0, 1, padding=0.03)
        item.setContentsMargins(0, 4, 8, 0)
        axis = item.getAxis("left")
        axis.setTicks([[(0, "0"), (0.5, "0.5"), (1, "1")]])
        axis.setWidth(34)
        item.getAxis("bottom").tickStrings = lambda values, scale, spacing: [f"{value:g} s" for value in values]
        self._legend = item.addLegend(offset=(6, 4), horSpacing=14, verSpacing=-4, colCount=6)
        self._sides = [
            pg.LinearRegionItem(orientation="horizontal", movable=False, pen=pg.mkPen(None)) for _ in range(2)
        ]
        self._words = [pg.TextItem("LIVE", anchor=(1, 0)), pg.TextItem("SPOOF", anchor=(1, 1))]
        self._line = pg.InfiniteLine(0.5, angle=0, movable=True, bounds=(0, 1))
        label = {"position": 0.02, "anchors": [(0, 0), (0, 1)]}
        self._line.label = pg.InfLineLabel(self._line, text="", **label)
        self._now = pg.InfiniteLine(0.0, angle=90)
        self._dots = pg.ScatterPlotItem(size=9, pen=pg.mkPen(None))  # a frame alone, as after a seek, has no line
        for part in (*self._sides, *self._words, self._line, self._now, self._dots):
            item.addItem(part, ignoreBounds=True)
        self._line.setZValue(10)
        for word in self._words:
            word.setZValue(15)  # over the curves, which would run through it
        self._dots.setZValue(20)
        self._line.sigPositionChanged.connect(self._on_line_moving)
        self._line.sigPositionChangeFinished.connect(self._on_line_moved)
        item.vb.sigXRangeChanged.connect(self._place_words)
        item.vb.sigResized.connect(self._place_words)
        self._plot.scene().sigMouseClicked.connect(self._on_click)
        self._stack.addWidget(self._plot)
        self._stack.setCurrentWidget(self._plot)
        self._paint_plot()

    def _paint_plot(self) -> None:
        if self._plot is None:
            return
        import pyqtgraph as pg

        theme = self._theme
        self._plot.setBackground(theme.surface)
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(theme.line)
            axis.setTextPen(theme.muted)
        self._legend.setLabelTextColor(theme.text)
        for region, word, color in zip(self._sides, self._words, (theme.live, theme.spoof), strict=True):
            faint = QColor(color)
            faint.setAlpha(26)
            region.setBrush(faint)
            word.setColor(color)
            word.fill = pg.mkBrush(theme.surface)
        self._line.setPen(pg.mkPen(theme.text, width=1.5, style=Qt.PenStyle.DashLine))
        self._line.setHoverPen(pg.mkPen(theme.accent, width=3))
        self._line.label.setColor(theme.text)
        self._line.label.fill = pg.mkBrush(theme.surface)
        self._now.setPen(pg.mkPen(theme.muted, width=1))
        for track, curve in self._curves.items():
            curve.setPen(self._track_pen(track))
        self._draw_marks()
        self._place_threshold()

    def _place_threshold(self) -> None:
        if self._plot is None:
            return
        known = self._threshold is not None
        for part in (self._line, *self._sides, *self._words):
            part.setVisible(known)
        if self._threshold is not None:
            self._line.blockSignals(True)
            self._line.setValue(self._threshold)
            self._line.blockSignals(False)
            self._line.label.setFormat(self._caption)
            self._place_sides(self._threshold)

    def _place_sides(self, value: float) -> None:
        self._sides[0].setRegion((value, 1.2))
        self._sides[1].setRegion((-0.2, value))
        self._place_words()

    def _place_words(self) -> None:
        view = self._plot.getPlotItem().vb
        right = view.viewRange()[0][1] - 8 * view.viewPixelSize()[0]  # clear of the line of a clip at its end
        self._words[0].setPos(right, 1.02)
        self._words[1].setPos(right, -0.02)

    def _on_line_moving(self) -> None:
        value = float(self._line.value())
        self._line.label.setFormat(f"threshold {value:.2f}")
        self._place_sides(value)

    def _on_line_moved(self) -> None:
        self.threshold_moved.emit(round(float(self._line.value()), 3))

    def _on_click(self, event: Any) -> None:
        if self._series.length is not None and event.button() == Qt.MouseButton.LeftButton:
            seconds = self._plot.getPlotItem().vb.mapSceneToView(event.scenePos()).x()
            self.sought.emit(min(max(round(seconds * self._series.fps), 0), self._series.length - 1))


def _make_types() -> None:
    """Let PySide make all types now. It makes each at its first use, and when two threads do so at once the process dies;
    an import of pyqtgraph uses them all."""
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            getattr(module, name)
