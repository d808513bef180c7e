"""The two threads behind the window and the wake-up call that tells it there is something to fetch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from dtda.app.capture import Player
from dtda.app.loading import load
from dtda.app.mailbox import Closed, Mailbox
from dtda.app.records import Notice, Shot
from dtda.app.workers import Choice, Parts, Processor, real_parts
from dtda.core.types import Observation

if TYPE_CHECKING:
    from dtda.app.sources import Source

CLOSE_S = 1.9  # a thread that is still stuck in a driver then is left to end, and release, by itself
WARM_UP = 12  # frames before the target of a seek while paused: enough for the decision to settle


def open_any(spec: str) -> Source:
    """`open_source`, imported in the capture thread, where it may take its time."""
    load("dtda.app.sources", "dtda.app.streams")
    if spec == "sample":
        load("platformdirs", "dtda.app.sample", "dtda.core.simulate.sample")
    from dtda.app.sources import open_source

    return open_source(spec)


def resolve(wish: str) -> str:
    """A source to open. "?camera:N" is that camera if it is there, else the first one, else the sample."""
    if not wish.startswith("?"):
        return wish
    load("dtda.app.streams", "cv2_enumerate_cameras")
    from dtda.app.streams import cameras

    there = [f"camera:{index}" for index, _ in cameras()]
    return wish[1:] if wish[1:] in there else there[0] if there else "sample"


class Session(QObject):
    """Capture and processing threads with their mailboxes. `woken` carries nothing: fetch with the methods below.

    At most one wake-up waits in the event queue, however fast the threads are.
    """

    woken = Signal()
    _rung = Signal()

    def __init__(
        self,
        choice: Choice,
        opener: Callable[[str], Source] = open_any,
        find_parts: Callable[[], Parts] = real_parts,
    ) -> None:
        super().__init__()
        self._pending = threading.Event()
        self._closed = False
        self._rung.connect(self._on_rung, Qt.ConnectionType.QueuedConnection)
        shots: Mailbox[Shot] = Mailbox()
        self._observations: Mailbox[Observation] = Mailbox()
        self.player = Player(shots, opener, self._ring, WARM_UP, resolve)
        self.processor = Processor(shots, self._observations, choice, self._ring, find_parts)

    def start(self) -> None:
        self.player.start()
        self.processor.start()

    def fetch(self) -> Observation | None:
        """The newest observation, None when it was fetched already."""
        try:
            return self._observations.get(0)
        except (queue.Empty, Closed):
            return None

    def notices(self) -> list[Notice]:
        return self.player.notices() + self.processor.notices()

    def close(self) -> bool:
        """Stop both threads, waiting at most CLOSE_S in all. Returns False when one is stuck. Idempotent."""
        self._closed = True
        self.player.stop()
        self.processor.stop()
        deadline = time.monotonic() + CLOSE_S
        for thread in (self.player, self.processor):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not (self.player.is_alive() or self.processor.is_alive())

    def _ring(self) -> None:
        """In any thread."""
        if not self._closed and not self._pending.is_set():
            self._pending.set()
            self._rung.emit()

    def _on_rung(self) -> None:
        self._pending.clear()
        if not self._closed:
            self.woken.emit()
