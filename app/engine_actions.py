"""What the window does with engines: which one is in use, at which threshold; choosing, building and managing them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMainWindow

from dtda.app import dialogs
from dtda.app import engine_texts as texts
from dtda.app.build_form import Wish
from dtda.app.builds import Builds
from dtda.app.preferences import Preferences
from dtda.app.session import Session
from dtda.app.surveyor import Surveyor
from dtda.app.theme import Theme
from dtda.app.views import Views
from dtda.core.types import EngineInfo

if TYPE_CHECKING:
    from dtda.app.build_dialog import BuildDialog
    from dtda.app.engine_dialog import EngineDialog
    from dtda.app.inventory import Row


def command(wish: Wish) -> list[str]:
    """The argv of the child that builds it."""
    from dtda.engines import request

    return request.command(
        request.Request(
            wish.student,
            wish.precision,
            wish.max_batch,
            Path(wish.out) if wish.out else None,
            wish.targets,
            frames=tuple(map(Path, wish.frames)),
        )
    )


class EngineActions(QObject):
    """Belongs to a window; the menus, the message bar and the dialogs call it."""

    def __init__(
        self, window: QMainWindow, session: Session, preferences: Preferences, views: Views, theme: Theme
    ) -> None:
        super().__init__(window)
        self._window, self._session, self._preferences, self._views = window, session, preferences, views
        self._theme = theme
        self.info: EngineInfo | None = None
        self._loading = True
        self._spec = session.processor.choice.engine
        self._threshold = session.processor.choice.threshold
        self._provider = session.processor.choice.provider  # of onnxruntime, kept while an engine is in use
        self.command: Callable[[Wish], list[str]] = command
        self.builds = Builds(self)
        self.surveyor = Surveyor(self)
        self.surveyor.changed.connect(self._on_survey)
        self.build_dialog: BuildDialog | None = None
        self.engine_dialog: EngineDialog | None = None
        views.messages.rebuild.connect(self.rebuild)
        views.timeline.threshold_moved.connect(self.use_threshold)

    # -- the one in use -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What really runs, or why nothing does."""
        return self._views.status.engine.text

    def follow(self) -> None:
        """Take over what the processing thread says of its engine."""
        processor = self._session.processor
        info, loading = processor.info, processor.loading
        if (info, loading) == (self.info, self._loading):
            return
        before, self.info, self._loading = self.info, info, loading
        self._show_status()
        self._views.timeline.load()
        if info is not None and info != before:
            self._on_engine(info, before)
        self._show_threshold()

    def _show_status(self) -> None:
        survey = self.surveyor.survey
        row = survey.row(self.in_use) if survey is not None else None
        parity = texts.parity_sentence(row.parity) if row is not None and row.is_engine else ""
        self._views.status.show_engine(self.info, self._session.processor.detector_name, self._loading, parity)

    def _on_engine(self, info: EngineInfo, before: EngineInfo | None) -> None:
        choice = self._session.processor.choice
        self._spec, self._threshold = choice.engine, choice.threshold
        if before is not None:
            self._preferences.store_threshold(self._spec, self._threshold)
            self._views.timeline.mark(f"{info.name} · {info.backend} · {info.precision.upper()}")
        self._session.player.refresh()
        if info.path.endswith(".engine"):
            self.look()  # for its parity
        if self.engine_dialog is not None:
            self.engine_dialog.show_in_use(info)

    def _show_threshold(self) -> None:
        info, own, timeline = self.info, self._threshold, self._views.timeline
        if info is None:
            timeline.set_threshold(None, "")
        elif own is None:
            timeline.set_threshold(info.threshold, f"threshold {info.threshold:.2f}")
        else:
            timeline.set_threshold(own, f"threshold {own:.2f}, yours; the student's is {info.threshold:.2f}")

    def use(self, spec: str, provider: str | None = None) -> None:
        """Switch to an engine or student; the one in use goes on until it is there. provider: else the student's last."""
        self._views.messages.clear("engine")
        choice = self._session.processor.choice
        if not choice.engine.endswith(".engine"):
            self._provider = choice.provider
        self._session.processor.use_engine(spec, "auto" if spec.endswith(".engine") else provider or self._provider)

    def use_row(self, row: Row) -> None:
        self.use(row.spec, row.provider)

    def reload(self) -> None:
        self.use(self._spec)

    def use_threshold(self, threshold: float | None) -> None:
        """None: the student's own."""
        self._threshold = threshold
        self._session.processor.use_threshold(threshold)
        self._preferences.store_threshold(self._spec, threshold)
        self._session.player.refresh()
        self._show_threshold()

    def ask_student(self) -> None:
        path = dialogs.ask_student(self._window, self._preferences)
        if path:
            self.use(path)

    # -- what can run here ----------------------------------------------------------------------------------------

    @property
    def in_use(self) -> str:
        """Path of the student or engine that runs."""
        return self.info.path if self.info else ""

    def look(self, refresh: bool = False, also: str = "") -> None:
        """refresh: ask again what the machine can do. also: path of an engine that may lie elsewhere."""
        self.surveyor.look((self.in_use, also), refresh)

    def ready_rows(self) -> list[Row]:
        """The students that can run here and what can run them, as far as is known by now."""
        survey = self.surveyor.survey
        return [row for row in survey.rows if row.state == "ready" and row.is_student] if survey else []

    def _on_survey(self) -> None:
        surveyor = self.surveyor
        survey = None if surveyor.error else surveyor.survey
        self._show_status()
        for dialog in (self.build_dialog, self.engine_dialog):
            if dialog is not None:
                dialog.show_survey(survey, self.in_use, surveyor.error)

    # -- dialogs --------------------------------------------------------------------------------------------------

    def build(self) -> None:
        dialog = self._builder()
        dialog.offer()
        self.look()

    def rebuild(self, path: str) -> None:
        """Build an engine again as it was built before; one that cannot be read, as far as its name tells."""
        dialog = self._builder()
        dialog.offer()
        if not self.builds.running:
            dialog.await_engine(path)
        self.look(also=path)

    def _builder(self) -> BuildDialog:
        if self.build_dialog is None:
            from dtda.app.build_dialog import BuildDialog

            dialog = self.build_dialog = BuildDialog(self.builds, self.command, self._theme, self._window)
            dialog.used.connect(lambda path: self.use(path))
            dialog.shown.connect(show_in_folder)
            dialog.opened.connect(lambda path: QDesktopServices.openUrl(QUrl.fromLocalFile(path)))
            dialog.refresh.connect(lambda: self.look(refresh=True))
            self.builds.happened.connect(self._on_build)
            self._on_survey()
        return self.build_dialog

    def _on_build(self, event: object) -> None:
        if self.engine_dialog is not None:
            self.engine_dialog.show_building(self.builds.running)
        if not self.builds.running:
            self.look()

    def manage(self) -> None:
        if self.engine_dialog is None:
            from dtda.app.engine_dialog import EngineDialog

            dialog = self.engine_dialog = EngineDialog(self._theme, self._window)
            dialog.used.connect(self.use_row)
            dialog.rebuilt.connect(self.rebuild)
            dialog.shown.connect(show_in_folder)
            dialog.building.connect(self.build)
            dialog.refresh.connect(lambda: self.look(refresh=True))
            dialog.changed.connect(lambda: self.look())
            dialog.show_in_use(self.info)
            dialog.show_building(self.builds.running)
            self._on_survey()
        self.engine_dialog.offer()
        self.look()

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        for dialog in (self.build_dialog, self.engine_dialog):
            if dialog is not None:
                dialog.set_theme(theme)

    def close(self, deadline: float) -> None:
        """Cancel the build, if any, and wait for it and the survey until the deadline, time.monotonic()."""
        self.surveyor.close(0)
        if self.engine_dialog is not None:
            self.engine_dialog.stop()
        self.builds.stop(max(0.0, deadline - time.monotonic()))
        self.surveyor.close(max(0.0, deadline - time.monotonic()))


def show_in_folder(path: str) -> None:
    """In the file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(path).parent)))
