"""An engine in a thread of its own, so that it can be opened beside the one in use. No Qt."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dtda.core.types import EngineInfo, Floats, Image

if TYPE_CHECKING:
    from dtda.engines.base import Engine

_Answer = Floats | Exception


class HostedEngine(threading.Thread):
    """Opens an engine, then passes chips to it and scores back; see `engines.base.Engine`.

    A GPU context belongs to the thread that made it, so the engine is opened, used and closed in this one.
    opener: makes the engine. opened: called, in this thread, once `info` or `error` is there.
    """

    info: EngineInfo  # once it is open

    def __init__(self, opener: Callable[[], Engine], opened: Callable[[HostedEngine], None]) -> None:
        super().__init__(name="engine", daemon=True)  # daemon: a GPU driver may never return
        self.error: Exception | None = None  # why it could not be opened
        self._opener, self._opened = opener, opened
        self._jobs: queue.SimpleQueue[tuple[Image, ...] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._closed = False
        self._trouble: Exception | None = None  # while closing
        self.start()

    def infer(self, chips: Image, *further: Image) -> Floats:
        """The engine's own. One caller at a time."""
        if self._closed:
            raise ValueError("the engine is closed")
        self._jobs.put((chips, *further))
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def abandon(self) -> None:
        """Close the engine as soon as it is open, without waiting for that. Idempotent."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)

    def close(self) -> None:
        """Close the engine and end the thread. Idempotent. Raises what closing the engine raises."""
        self.abandon()
        self.join()
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    # -- for this thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            engine = self._opener()
        except Exception as error:
            self.error = error
            self._opened(self)
            return
        self.info = engine.info
        self._opened(self)
        while (chips := self._jobs.get()) is not None:
            try:
                self._answers.put(engine.infer(*chips))
            except Exception as error:
                self._answers.put(error)
        try:
            engine.close()
        except Exception as error:
            self._trouble = error
