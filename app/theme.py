"""Colours of the window, light and dark. Verdicts are blue and orange, which colour-blind people tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from dtda.core.types import Label

THEMES = ("auto", "light", "dark", "contrast")
TITLES = {"auto": "as the desktop", "contrast": "high contrast"}  # of the others their names
NAMES = {Label.LIVE: "LIVE", Label.SPOOF: "SPOOF", Label.CANNOT_TELL: "CANNOT TELL"}
# Tags on the picture look the same in both themes: white text on these.
TAGS = {Label.LIVE: "#0b62c1", Label.SPOOF: "#bf4f00", Label.CANNOT_TELL: "#4b545f"}
# One per track, away from the verdict colours.
TRACKS = ("#22a06b", "#a566d6", "#e0609b", "#a79a1a", "#14a3a8", "#a8714a")


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours as #rrggbb. surface: panels and fields. raised: buttons. stage: around the picture."""

    name: str
    window: str
    surface: str
    raised: str
    stage: str
    line: str
    text: str
    muted: str
    accent: str
    live: str
    spoof: str
    unknown: str
    warn: str
    error: str

    def verdict(self, label: Label) -> QColor:
        return QColor({Label.LIVE: self.live, Label.SPOOF: self.spoof}.get(label, self.unknown))


LIGHT = Theme(
    name="light",
    window="#f3f4f6",
    surface="#ffffff",
    raised="#e8ebef",
    stage="#dfe3e8",
    line="#d0d5dc",
    text="#1b2027",
    muted="#596370",
    accent="#1565c0",
    live="#0b62c1",
    spoof="#c25400",
    unknown="#68727e",
    warn="#8a6100",
    error="#b3261e",
)
DARK = Theme(
    name="dark",
    window="#16191d",
    surface="#1e2228",
    raised="#2a3038",
    stage="#0e1013",
    line="#343b45",
    text="#e7eaef",
    muted="#9aa4b1",
    accent="#5ba8ff",
    live="#57a5ff",
    spoof="#ff9a3d",
    unknown="#97a1ae",
    warn="#e5b93c",
    error="#ff7a70",
)

CONTRAST = Theme(
    name="contrast",
    window="#000000",
    surface="#000000",
    raised="#1f1f1f",
    stage="#000000",
    line="#ffffff",
    text="#ffffff",
    muted="#e4e4e4",
    accent="#ffd800",
    live="#6cb8ff",
    spoof="#ffa23e",
    unknown="#e4e4e4",
    warn="#ffd800",
    error="#ff9a92",
)
NAMED = {theme.name: theme for theme in (LIGHT, DARK, CONTRAST)}


def track_color(track: int) -> QColor:
    return QColor(TRACKS[max(track, 0) % len(TRACKS)])


def resolve(choice: str) -> Theme:
    """The theme of that name; "auto" follows the desktop."""
    if choice in NAMED:
        return NAMED[choice]
    hints = QGuiApplication.styleHints()
    wanted = hints.accessibility().contrastPreference() if hasattr(hints, "accessibility") else None  # Qt 6.10
    if wanted is not None and wanted == Qt.ContrastPreference.HighContrast:
        return CONTRAST
    return DARK if hints.colorScheme() == Qt.ColorScheme.Dark else LIGHT


def apply(app: QApplication, theme: Theme) -> None:
    """Give the whole application this look."""
    app.setStyle("Fusion")
    app.setPalette(_palette(theme))
    app.setStyleSheet(_sheet(theme) + (_outlines(theme) if theme is CONTRAST else ""))


def _palette(theme: Theme) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for where, color in {
        role.Window: theme.window,
        role.WindowText: theme.text,
        role.Base: theme.surface,
        role.AlternateBase: theme.raised,
        role.Text: theme.text,
        role.PlaceholderText: theme.muted,
        role.Button: theme.raised,
        role.ButtonText: theme.text,
        role.ToolTipBase: theme.surface,
        role.ToolTipText: theme.text,
        role.Highlight: theme.accent,
        role.HighlightedText: theme.window,
        role.Link: theme.accent,
        role.BrightText: theme.error,
        role.Mid: theme.line,
    }.items():
        palette.setColor(where, QColor(color))
    for where in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, where, QColor(theme.muted).darker(120))
    return palette


def _sheet(theme: Theme) -> str:
    return f"""
        QMenuBar {{ background: {theme.window}; padding: 2px 4px; }}
        QMenuBar::item {{ padding: 4px 9px; border-radius: 4px; background: transparent; }}
        QMenuBar::item:selected {{ background: {theme.raised}; }}
        QMenu {{ background: {theme.surface}; border: 1px solid {theme.line}; padding: 4px; }}
        QMenu::item {{ padding: 5px 26px 5px 22px; border-radius: 4px; }}
        QMenu::item:selected {{ background: {theme.raised}; color: {theme.text}; }}
        QMenu::item:disabled {{ color: {theme.muted}; }}
        QMenu::separator {{ height: 1px; background: {theme.line}; margin: 4px 8px; }}
        QToolTip {{ color: {theme.text}; background: {theme.surface}; border: 1px solid {theme.line}; padding: 4px; }}
        QSplitter::handle {{ background: transparent; }}
        QScrollArea {{ border: none; background: transparent; }}
        QScrollArea > QWidget > QWidget {{ background: transparent; }}
        QToolButton {{ border: none; border-radius: 6px; padding: 5px; background: transparent; }}
        QToolButton:hover {{ background: {theme.raised}; }}
        QToolButton:checked {{ background: {theme.raised}; }}
        QToolButton:focus {{ border: 1px solid {theme.accent}; padding: 4px; }}
        QSlider::groove:horizontal {{ height: 4px; border-radius: 2px; background: {theme.line}; }}
        QSlider::sub-page:horizontal {{ background: {theme.accent}; border-radius: 2px; }}
        QSlider::handle:horizontal {{ width: 14px; height: 14px; margin: -5px 0; border-radius: 7px;
            background: {theme.accent}; }}
        QScrollBar:vertical {{ background: transparent; width: 8px; margin: 0; }}
        QScrollBar::handle:vertical {{ background: {theme.line}; border-radius: 4px; min-height: 24px; }}
        QScrollBar:horizontal {{ background: transparent; height: 8px; margin: 0; }}
        QScrollBar::handle:horizontal {{ background: {theme.line}; border-radius: 4px; min-width: 24px; }}
        QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
            background: transparent; width: 0; height: 0; }}
        QTableView {{ border: 1px solid {theme.line}; border-radius: 6px; outline: none; }}
        QTableView::item {{ padding: 0 6px; }}
        QTableView::item:selected {{ background: {theme.accent}; color: {theme.window}; }}
        QHeaderView {{ background: {theme.surface}; }}
        QHeaderView::section {{ background: {theme.surface}; color: {theme.muted}; font-weight: 600; border: none;
            border-bottom: 1px solid {theme.line}; padding: 5px 6px; }}
        QProgressBar {{ border: none; border-radius: 5px; background: {theme.raised};
            max-height: 10px; min-height: 10px; }}
        QProgressBar::chunk {{ background: {theme.accent}; border-radius: 5px; }}
        QRadioButton::indicator {{ width: 14px; height: 14px; border: 1px solid {theme.muted}; border-radius: 8px;
            background: {theme.surface}; }}
        QRadioButton::indicator:checked {{ width: 6px; height: 6px; border: 5px solid {theme.accent}; }}
        QRadioButton:focus {{ color: {theme.accent}; }}
        QPlainTextEdit {{ border: 1px solid {theme.line}; border-radius: 6px; }}
        QLabel#title {{ font-weight: 600; }}
        QLabel#heading {{ color: {theme.muted}; font-weight: 600; }}
        QLabel#muted {{ color: {theme.muted}; }}
        QWidget#bar {{ background: {theme.surface}; border-top: 1px solid {theme.line}; }}
    """


def _outlines(theme: Theme) -> str:
    """What can be pressed or filled in has an edge, and what has the focus a thick one."""
    return f"""
        QPushButton, QLineEdit, QPlainTextEdit, QMenu {{ border: 1px solid {theme.line}; background: {theme.window};
            border-radius: 4px; padding: 4px 10px; }}
        QPushButton:focus, QLineEdit:focus, QPlainTextEdit:focus, QTableView:focus {{ border: 3px solid {theme.accent};
            padding: 2px 8px; }}
        QPushButton:disabled {{ border: 1px dashed {theme.muted}; }}
        QComboBox, QAbstractSpinBox {{ border: 1px solid {theme.line}; }}
        QComboBox:focus, QAbstractSpinBox:focus {{ border: 2px solid {theme.accent}; }}
        QProgressBar {{ border: 1px solid {theme.line}; }}
    """
