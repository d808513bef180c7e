"""A slot for one item between two threads: the newest frame, or every frame in turn, never a queue that grows."""

from __future__ import annotations

import queue
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The mailbox was closed by the other side: the thread should end."""


class Mailbox(Generic[T]):
    """Live sources `put` (the unread item is replaced), files `put_wait` (nothing is lost). Safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[T] = []  # none or one
        self._closed = False

    def put(self, item: T) -> bool:
        """Leave an item, without waiting. Returns True when an unread item was replaced. Raises Closed."""
        with self._changed:
            self._refuse_closed()
            replaced = bool(self._items)
            self._items = [item]
            self._changed.notify_all()
            return replaced

    def put_wait(self, item: T) -> None:
        """Leave an item once the slot is free. Raises Closed, also while waiting."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._items)
            self._refuse_closed()
            self._items = [item]
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Take the item, waiting for one at most `timeout` seconds (None: for ever; 0: not at all).

        Raises queue.Empty when time is up, and Closed, even when an item was left unread.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._items, timeout):
                raise queue.Empty
            self._refuse_closed()
            item = self._items.pop()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Wake and refuse everybody; drop the unread item. Idempotent."""
        with self._changed:
            self._closed = True
            self._items = []
            self._changed.notify_all()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Closed
