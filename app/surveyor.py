"""Looks at what can run here in a thread: the probe takes seconds, and so do its imports."""

from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal

from dtda.app.inventory import Survey
from dtda.app.loading import load
from dtda.core.errors import DtdaError


def look(paths: tuple[str, ...], refresh: bool) -> Survey:
    """`inventory.survey`, with all that the window uses of the engines imported before."""
    load("pydantic", "dtda.engines.request", "dtda.engines.plan", "dtda.engines.nvidia", "onnxruntime")
    from dtda.app.inventory import survey

    return survey(paths, refresh)


class Surveyor(QObject):
    """changed: `busy`, `survey` and `error` may have. One look at a time; one that is asked for meanwhile follows."""

    changed = Signal()
    _done = Signal(object)

    def __init__(self, parent: QObject, looker: Callable[[tuple[str, ...], bool], Survey] = look) -> None:
        super().__init__(parent)
        self.survey: Survey | None = None
        self.error = ""
        self._looker = looker
        self._thread: threading.Thread | None = None
        self._next: tuple[tuple[str, ...], bool] | None = None
        self._closed = False
        self._closing = threading.Lock()
        self._done.connect(self._on_done, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def look(self, paths: tuple[str, ...] = (), refresh: bool = False) -> None:
        """paths: see `survey`. refresh: ask again what the machine can do."""
        if self._closed:
            return
        if self._thread is not None:
            self._next = (paths, refresh)
            return
        self._thread = threading.Thread(target=self._work, args=(paths, refresh), name="survey", daemon=True)
        self._thread.start()
        self.changed.emit()

    def close(self, timeout: float) -> None:
        """No more looks; wait for the one under way. One that takes longer ends by itself and tells nobody."""
        with self._closing:
            self._closed, self._next = True, None
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, paths: tuple[str, ...], refresh: bool) -> None:
        """In the thread."""
        try:
            found: Survey | str = self._looker(paths, refresh)
        except DtdaError as error:
            found = str(error)
        except Exception as error:
            found = f"What can run here cannot be found out ({error!r}); install the package again."
        with self._closing:  # after it, this object may be gone
            if not self._closed:
                self._done.emit(found)

    def _on_done(self, found: Survey | str) -> None:
        if self._closed:
            return
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        if isinstance(found, Survey):
            self.survey, self.error = found, ""
        else:
            self.error = found
        following, self._next = self._next, None
        if following is not None:
            self.look(*following)
        else:
            self.changed.emit()
