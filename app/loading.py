"""Imports in threads, one thread at a time.

Two threads that enter the same packages from different ends may each wait for the other's module; Python breaks that
deadlock by handing out a half-made module, and the import fails. Seen with pydantic.
"""

from __future__ import annotations

import atexit
import importlib
import threading

_turn = threading.Lock()
# The interpreter must not end below an import: PySide's crash then. Whoever wants to import later waits for the end.
atexit.register(_turn.acquire)


def load(*names: str) -> None:
    """Import modules by name, when no other thread is doing so."""
    with _turn:
        for name in names:
            importlib.import_module(name)
