"""The menu bar. It only names things: what an entry does is a method of the window."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu

from dtda.app import dialogs
from dtda.app.theme import THEMES, TITLES

if TYPE_CHECKING:
    from dtda.app.inventory import Row
    from dtda.app.window import MainWindow

SHORTCUTS = (
    ("Space", "play or pause"),
    ("Left, Right", "one frame back or forward (pauses)"),
    ("Home", "start of the clip"),
    ("N, P", "next or previous clip"),
    ("[, ]", "slower or faster"),
    ("L", "loop"),
    ("Ctrl+O", "open a file"),
    ("Ctrl+Shift+O", "open a folder"),
    ("Ctrl+U", "open a URL"),
    ("Ctrl+B", "build a TensorRT engine"),
    ("Ctrl+E", "manage engines"),
    ("F11", "full screen"),
    ("Ctrl+Q", "quit"),
)


class Menus:
    """Builds the menus of a window; the entries that change are filled when their menu opens."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._file()
        self._camera()
        self._playback()
        self._engine()
        self._view()
        self._help()

    def _file(self) -> None:
        window = self._window
        menu = self._menu("&File")
        self._add(menu, "&Open file…", lambda: window.ask_source(dialogs.ask_file), "Ctrl+O")
        self._add(menu, "Open &folder…", lambda: window.ask_source(dialogs.ask_folder), "Ctrl+Shift+O")
        self._add(menu, "Open &URL…", window.ask_url, "Ctrl+U")
        self._add(menu, "&Sample clips", lambda: window.open("sample"))
        self.recent = menu.addMenu("&Recent")
        self.recent.aboutToShow.connect(self.fill_recent)
        menu.addSeparator()
        self._add(menu, "&Quit", window.close, "Ctrl+Q")

    def _camera(self) -> None:
        self.camera = self._menu("&Camera")
        self.camera.aboutToShow.connect(self.fill_cameras)

    def _playback(self) -> None:
        window, player = self._window, self._window.session.player
        menu = self._menu("&Playback")
        self._add(menu, "&Play or pause", window.transport.toggle, "Space")
        self._add(menu, "Step &forward", lambda: player.step(1), "Right")
        self._add(menu, "Step &back", lambda: player.step(-1), "Left")
        self._add(menu, "&Start of the clip", lambda: player.seek(0), "Home")
        menu.addSeparator()
        self._add(menu, "&Next clip", lambda: player.move_clip(1), "N")
        self._add(menu, "Pre&vious clip", lambda: player.move_clip(-1), "P")
        menu.addSeparator()
        self._add(menu, "F&aster", lambda: window.transport.nudge_speed(1), "]")
        self._add(menu, "S&lower", lambda: window.transport.nudge_speed(-1), "[")
        self._add(menu, "L&oop", lambda: player.set_loop(not player.state.loop), "L")

    def _engine(self) -> None:
        engines = self._window.engines
        menu = self.engine = self._menu("&Engine")
        self.in_use = self._add(menu, "", lambda: None)
        self.in_use.setEnabled(False)
        menu.addSeparator()
        self._switches: QActionGroup | None = None
        self._offered: tuple[list[Row], str] = ([], "")
        self._below = menu.addSeparator()
        self._add(menu, "Open &student…", engines.ask_student)
        self._add(menu, "&Default student", lambda: engines.use("auto"))
        self._add(menu, "&Load again", engines.reload)
        self._add(menu, "Student's own &threshold", lambda: engines.use_threshold(None))
        menu.addSeparator()
        self._add(menu, "&Build TensorRT engine…", engines.build, "Ctrl+B")
        self._add(menu, "&Manage engines…", engines.manage, "Ctrl+E")
        menu.aboutToShow.connect(self._open_engines)
        engines.surveyor.changed.connect(self.fill_engines)

    def _open_engines(self) -> None:
        self.fill_engines()
        self._window.engines.look()

    def fill_engines(self) -> None:
        """What can run here, as far as is known: the menu stays open while it is found out."""
        engines = self._window.engines
        self.in_use.setText(f"In use: {engines.name}".replace("&", "&&"))
        rows, error = engines.ready_rows(), engines.surveyor.error
        group = self._switches
        if group is None or (rows, error) != self._offered:  # else what the mouse is on stays where it is
            group = self._offer(rows, error)
        for row, entry in zip(rows, group.actions(), strict=False):
            entry.setChecked(row.runs(engines.info))  # a click marks it too soon, and for good where opening fails

    def _offer(self, rows: list[Row], error: str) -> QActionGroup:
        self._offered = (rows, error)
        if self._switches is not None:
            for entry in self._switches.actions():
                self.engine.removeAction(entry)
            self._switches.deleteLater()
        group = self._switches = QActionGroup(self.engine)
        for row in rows:
            entry = QAction(row.title.replace("&", "&&"), group)
            entry.setCheckable(True)
            entry.triggered.connect(partial(self._window.engines.use_row, row))
        if error or not rows:
            QAction(error or "Checking what can run here…", group).setEnabled(False)
        self.engine.insertActions(self._below, group.actions())
        return group

    def _view(self) -> None:
        window = self._window
        menu = self._menu("&View")
        for title, widget in window.views.panels().items():
            action = self._add(menu, title, lambda: None)
            action.setCheckable(True)
            action.setChecked(not widget.isHidden())
            action.toggled.connect(widget.setVisible)
        menu.addSeparator()
        group = QActionGroup(menu)
        for name in THEMES:
            action = self._add(menu, f"Theme: {TITLES.get(name, name)}", partial(window.use_theme, name))
            action.setCheckable(True)
            action.setChecked(name == window.theme_choice)
            group.addAction(action)
        menu.addSeparator()
        self._add(menu, "&Full screen", window.toggle_full_screen, "F11")

    def _help(self) -> None:
        window = self._window
        menu = self._menu("&Help")
        self._add(menu, "&Keyboard shortcuts", window.show_shortcuts)
        self._add(menu, "&What the score means", window.explain_score)
        self._add(menu, "&About", window.show_about)

    def fill_recent(self) -> None:
        self.recent.clear()
        recent = self._window.recent()
        for spec in recent:
            self._add(self.recent, spec.replace("&", "&&"), partial(self._window.open, spec))
        if not recent:
            self.recent.addAction("Nothing opened yet").setEnabled(False)

    def fill_cameras(self) -> None:
        self.camera.clear()
        found = self._window.cameras()
        for index, name in found:
            spec = f"camera:{index}"
            self._add(self.camera, f"{name}  ({index})".replace("&", "&&"), partial(self._window.open, spec))
        if not found:
            self.camera.addAction("No camera found").setEnabled(False)

    def _menu(self, title: str) -> QMenu:
        return self._window.menuBar().addMenu(title)

    def _add(self, menu: QMenu, title: str, action: Callable[[], object], shortcut: str = "") -> QAction:
        entry = menu.addAction(title)
        if shortcut:
            entry.setShortcut(QKeySequence(shortcut))
        entry.triggered.connect(lambda: action())
        return entry
