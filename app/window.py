"""The main window: puts the views together, shows what the threads deliver and turns gestures into their orders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from PySide6.QtCore import QSettings, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget

from dtda.app import dialogs, texts
from dtda.app import theme as themes
from dtda.app.engine_actions import EngineActions
from dtda.app.icons import app_icon
from dtda.app.loading import load
from dtda.app.menus import Menus
from dtda.app.preferences import Preferences
from dtda.app.records import CLIP, Notice, PlayerState
from dtda.app.session import CLOSE_S, Session
from dtda.app.views import Views
from dtda.core.types import Observation

NAME = "DTDA liveness"
TICK_MS = 125  # status line and timeline; the picture comes with each frame


class MainWindow(QMainWindow):
    """session: not started yet; the window starts it after its first paint and closes it.

    spec: the source to open, "" for the camera or else the sample. theme: None for the one in the settings.
    """

    first_frame = Signal()  # once
    failed = Signal(object)  # the Notice of every error shown
    surprised = Signal(str)  # `report`, from any thread

    def __init__(self, session: Session, settings: QSettings, spec: str = "", theme: str | None = None) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptDrops(True)
        self.setWindowTitle(NAME)
        self.setWindowIcon(app_icon())
        self.session, self._preferences = session, Preferences(settings)
        self.theme_choice = theme or self._preferences.text("view/theme", "auto")
        self._theme = themes.resolve(self.theme_choice)
        self._spec = spec or "?" + self._preferences.text("source/camera")
        self._selected: int | None = None
        self._take = -1
        self._shown = ("", -1)  # title and clip behind the timeline
        self._age_from: float | None = None
        self._started = False
        self._build()
        self._restore()
        self.menus = Menus(self)
        session.woken.connect(self._on_woken)
        self._timer = QTimer(self, interval=TICK_MS)
        self._timer.timeout.connect(self._on_tick)
        QApplication.styleHints().colorSchemeChanged.connect(self._on_scheme)
        self.surprised.connect(self.report)
        self.picture.painted.connect(self._start, Qt.ConnectionType.QueuedConnection)
        self.picture.show_hint("Starting…")

    def _build(self) -> None:
        self.views = views = Views(self.session.player, self._theme)
        self.messages, self.picture, self.timeline = views.messages, views.picture, views.timeline
        self.faces, self.inspector = views.faces, views.inspector
        self.transport, self.status = views.transport, views.status
        self.engines = EngineActions(self, self.session, self._preferences, views, self._theme)
        self.setCentralWidget(views)
        self.setMinimumSize(640, 480)
        self.resize(1100, 720)
        self.faces.selected.connect(self._select)
        self.picture.clicked.connect(self._select)
        self.timeline.sought.connect(self.session.player.seek)

    def _restore(self) -> None:
        preferences = self._preferences
        self.views.restore(preferences)
        geometry = preferences.layout("view/geometry")
        if geometry is not None:
            self.restoreGeometry(geometry)
        self.session.player.set_speed(preferences.number("play/speed", 1.0))
        self.session.player.set_loop(preferences.flag("play/loop"))

    def _save(self) -> None:
        state = self.session.player.state
        values = {"view/geometry": self.saveGeometry(), "play/speed": state.speed}
        if state.spec != "sample":  # which may loop without having been told to
            values["play/loop"] = state.loop
        self._preferences.store({**self.views.saved(), **values})

    def _start(self) -> None:
        """After the first paint: what takes long to import and to open happens behind a window that is there."""
        if not self._started:
            self._started = True
            self.status.show_engine(None, "", loading=True)
            self.session.start()
            self.session.player.open(self._spec)
            self._timer.start()

    # -- what the threads deliver ---------------------------------------------------------------------------------

    def _on_woken(self) -> None:
        state = self.session.player.state
        if state.take != self._take:
            self._on_take(state)
        for notice in self.session.notices():
            self._tell(notice)
        self.transport.show_state(state)
        self._show_stale(state.vanished or not state.open)
        if self.picture.observation is None:
            self._show_waiting(state)
        observation = self.session.fetch()
        if observation is not None:
            self._show(observation, state)
        self.engines.follow()  # after the last observation of the engine before

    def _show_stale(self, stale: bool) -> None:
        """While a camera is gone its last picture is dimmed, and nothing is said of the faces in it."""
        if stale != self.picture.stale:
            self.picture.set_stale(stale)
            if stale:
                self.faces.show_observation(None, None)
                self.inspector.show_face(None)

    def _show_waiting(self, state: PlayerState) -> None:
        if state.vanished:
            self.picture.show_hint("Waiting", f"{state.title} sends no pictures.")
        elif state.opening or state.open:
            self.picture.show_hint("Opening…", "A camera takes a moment; the sample is rendered on its first use.")
        else:
            self.picture.show_hint(
                "Nothing to show", "Drop a video, a picture or a folder here, or choose a camera from the Camera menu."
            )

    def _on_take(self, state: PlayerState) -> None:
        """Another source or clip, or a jump within it."""
        before, self._take = self._shown, state.take
        self._shown = (state.title, state.clip)
        if before != self._shown or state.live:  # the times of a camera that came back start again
            self.timeline.start_clip(state)
            clip = state.clips[state.clip] if state.clips else ""
            title = state.title if len(state.clips) < 2 else f"{state.title}: {clip}"
            self.setWindowTitle(f"{title} – {NAME}" if title else NAME)
            self._preferences.remember_source(state)
        self.messages.clear("end")
        self.session.processor.tally.rest()

    def _show(self, observation: Observation, state: PlayerState) -> None:
        first = self.picture.observation is None
        self.picture.show_observation(observation)
        self._age_from = observation.frame.captured
        if state.live or observation.frame.clip in ("", *state.clips[state.clip : state.clip + 1]):
            self.timeline.add(observation)
            self.transport.show_position(observation.frame.index)
        self._show_faces(observation)
        if first:
            self.first_frame.emit()

    def _show_faces(self, observation: Observation) -> None:
        tracks = [verdict.track for verdict in observation.verdicts]
        shown = self._selected if self._selected in tracks else min(tracks, default=None)
        self.faces.show_observation(observation, shown)
        if not self.inspector.isHidden():
            chips = {aligned.face.track: aligned for aligned in observation.aligned}
            self.inspector.show_face(chips.get(shown) if shown is not None else None)

    def _on_tick(self) -> None:
        processor, state = self.session.processor, self.session.player.state
        age = None
        if (state.live or state.playing) and self._age_from is not None:
            age = (time.perf_counter() - self._age_from) * 1e3
        if not state.playing:
            processor.tally.rest()
        self.status.show_figures(processor.tally, state, age)
        self.timeline.refresh()

    def _tell(self, notice: Notice) -> None:
        self.messages.tell(notice)
        if notice.level == "error":
            self.failed.emit(notice)

    def report(self, text: str) -> None:
        """Show an error that no part of the window expected."""
        self._tell(Notice("error", text, "unexpected"))

    # -- what the menus do ----------------------------------------------------------------------------------------

    def open(self, spec: str) -> None:
        """A camera, "sample", a file, a folder or a URL."""
        for topic in ("source", "open", "end", CLIP):
            self.messages.clear(topic)
        self.session.player.open(spec)

    def ask_source(self, ask: Callable[[QWidget, Preferences], str]) -> None:
        spec = ask(self, self._preferences)
        if spec:
            self.open(spec)

    def ask_url(self) -> None:
        url = dialogs.ask_url(self)
        if url:
            self.open(url)

    def recent(self) -> list[str]:
        return self._preferences.words("source/recent")

    def cameras(self) -> list[tuple[int, str]]:
        load("dtda.app.streams", "cv2_enumerate_cameras")
        from dtda.app.streams import cameras

        return cameras()

    def use_theme(self, choice: str) -> None:
        self.theme_choice = choice
        self._preferences.store({"view/theme": choice})
        self._theme = themes.resolve(choice)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        themes.apply(app, self._theme)
        self.views.set_theme(self._theme)
        self.engines.set_theme(self._theme)

    def _on_scheme(self) -> None:
        if self.theme_choice == "auto":
            self.use_theme("auto")

    def toggle_full_screen(self) -> None:
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def show_shortcuts(self) -> None:
        dialogs.show_text(self, "Keyboard shortcuts", texts.shortcuts())

    def explain_score(self) -> None:
        dialogs.show_text(self, "What the score means", texts.SCORE)

    def show_about(self) -> None:
        dialogs.show_text(self, "About", texts.about())

    def _select(self, track: int) -> None:
        self._selected = track
        if self.picture.observation is not None:
            self._show_faces(self.picture.observation)

    # -- Qt -------------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls() or event.mimeData().hasText():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        data = event.mimeData()
        url = data.urls()[0] if data.hasUrls() else QUrl(data.text().strip())
        if len(data.urls()) > 1:
            self._tell(Notice("info", "Only the first was opened; drop a folder to play several.", "drop"))
        event.acceptProposedAction()
        self.open(os.path.normpath(url.toLocalFile()) if url.isLocalFile() else url.toString() or data.text().strip())

    def closeEvent(self, event: QCloseEvent) -> None:
        deadline = time.monotonic() + CLOSE_S
        self._save()
        self._timer.stop()
        self.session.woken.disconnect(self._on_woken)
        self.engines.builds.cancel()
        self.session.close()
        self.engines.close(deadline)
        self.timeline.close_down(max(0.0, deadline - time.monotonic()))
        event.accept()
