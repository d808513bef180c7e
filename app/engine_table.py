"""The table of the engine manager: one row for each way to run a student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt
from PySide6.QtGui import QColor, QFont, QIcon
from PySide6.QtWidgets import QAbstractItemView, QTableView

from dtda.app import engine_texts as texts
from dtda.app.icons import icon
from dtda.app.inventory import Row
from dtda.app.theme import Theme
from dtda.core.types import EngineInfo

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole
SORT = Role.UserRole
RANK = {"ready": 0, "stale": 1, "elsewhere": 2}


# heading -> text of a cell, and what it is sorted by
COLUMNS: dict[str, tuple[Callable[[Row], str], Callable[[Row], Any]]] = {
    "State": (lambda row: texts.STATES[row.state], lambda row: RANK[row.state]),
    "Student": (lambda row: row.student, lambda row: row.student.lower()),
    "Backend": (lambda row: row.backend, lambda row: row.backend.lower()),
    "Precision": (lambda row: row.precision.upper() or texts.UNKNOWN, lambda row: row.precision),
    "Device": (texts.device, lambda row: row.device.lower()),
    "Faces": (texts.batch, lambda row: row.batch or 0),
    "Parity": (texts.parity, lambda row: row.parity.max_dp if row.parity else 2.0 + (not row.is_engine)),
    "Latency": (lambda row: texts.milliseconds(row.latency_ms), lambda row: row.latency_ms or 1e9),
    "Size": (lambda row: texts.size(row.bytes), lambda row: row.bytes),
    "Built": (lambda row: texts.built(row.built), lambda row: row.built),
}
TIPS = {
    "Faces": "How many faces go in one call",
    "Parity": "Largest difference of P(live) from onnxruntime on the same faces, and verdicts that flip",
    "Latency": "Milliseconds for one face, where it was built",
}
HEADINGS = tuple(COLUMNS)
PAD = 4
STATE = HEADINGS.index("State")
RIGHT = {HEADINGS.index(name) for name in ("Faces", "Latency", "Size")}


class EngineModel(QAbstractTableModel):
    """Rows of the inventory; the one in use is bold and says so."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()
        self._info: EngineInfo | None = None
        self._theme = theme
        self._icons = _icons(theme)

    def show_rows(self, rows: Sequence[Row]) -> None:
        if tuple(rows) != self._rows:
            self.beginResetModel()
            self._rows = tuple(rows)
            self.endResetModel()

    def show_in_use(self, info: EngineInfo | None) -> None:
        self._info = info
        self._repaint()

    def set_theme(self, theme: Theme) -> None:
        self._theme, self._icons = theme, _icons(theme)
        self._repaint()

    def _repaint(self) -> None:
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, len(HEADINGS) - 1))

    def row(self, index: int) -> Row:
        return self._rows[index]

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == Role.DisplayRole:
            return HEADINGS[section]
        return TIPS.get(HEADINGS[section]) if role == Role.ToolTipRole else None

    def data(self, index: Index, role: int = Role.DisplayRole) -> Any:
        row, column = self._rows[index.row()], index.column()
        text, order = COLUMNS[HEADINGS[column]]
        used = row.runs(self._info)
        match role:
            case Role.DisplayRole:
                return "In use" if used and column == STATE else text(row)
            case Role.ToolTipRole:
                return row.reason if column == STATE and row.reason else text(row)
            case Role.DecorationRole if column == STATE:
                return self._icons[row.state]
            case Role.FontRole if used:
                font = QFont()
                font.setBold(True)
                return font
            case Role.ForegroundRole if row.state != "ready":
                return QColor(self._theme.muted)
            case Role.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if column in RIGHT else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
            case _ if role == SORT:
                return -1 if used and column == STATE else order(row)
        return None


def _icons(theme: Theme) -> dict[str, QIcon]:
    """Drawn once: a view asks for them with every move of the mouse."""
    colors = {"ready": theme.live, "stale": theme.warn, "elsewhere": theme.muted}
    return {state: icon(state, QColor(color), QColor(theme.window)) for state, color in colors.items()}


class EngineTable(QTableView):
    """Rows are chosen as a whole and sorted by any column."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.source = EngineModel(theme)
        self._order = QSortFilterProxyModel(self)
        self._order.setSourceModel(self.source)
        self._order.setSortRole(SORT)
        self.setModel(self._order)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setShowGrid(False)
        self.setAlternatingRowColors(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSortingEnabled(True)
        self.sortByColumn(STATE, Qt.SortOrder.AscendingOrder)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 12)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.horizontalHeader().setStretchLastSection(True)
        self.setAccessibleName("Engines")

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Keeps the chosen row; chooses the first where there is none."""
        chosen = self.chosen
        self.source.show_rows(rows)
        self.resizeColumnsToContents()
        for column in range(len(HEADINGS)):
            self.setColumnWidth(column, self.columnWidth(column) + PAD)
        again = [
            number
            for number, row in enumerate(rows)
            if chosen and (row.path, row.provider) == (chosen.path, chosen.provider)
        ]
        if rows:
            index = self.source.index(again[0], 0) if again else self._order.mapToSource(self._order.index(0, 0))
            self.setCurrentIndex(self._order.mapFromSource(index))

    @property
    def chosen(self) -> Row | None:
        index = self._order.mapToSource(self.currentIndex())
        return self.source.row(index.row()) if index.isValid() else None
