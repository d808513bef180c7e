"""What the window remembers between starts. A damaged settings file costs its values, never the start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from dtda.app.records import PlayerState, is_camera

RECENT = 8


def user_settings() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "dtda", "dtda-demo")


class Preferences:
    """QSettings with types. Keys: view/*, play/*, source/*, engine/*."""

    def __init__(self, settings: QSettings) -> None:
        self._settings = settings

    def text(self, key: str, default: str = "") -> str:
        value = self._settings.value(key, default)
        return value if isinstance(value, str) else default

    def number(self, key: str, default: float) -> float:
        try:
            value = float(self.text(key, str(default)))
        except ValueError:
            return default
        return value if math.isfinite(value) else default

    def flag(self, key: str) -> bool:
        return self.text(key).lower() == "true"

    def words(self, key: str) -> list[str]:
        value = self._settings.value(key)  # one word comes back as a string, none as None
        return [value] if isinstance(value, str) else [str(word) for word in value] if isinstance(value, list) else []

    def layout(self, key: str) -> QByteArray | None:
        value = self._settings.value(key)
        return value if isinstance(value, QByteArray) else None

    def store(self, values: Mapping[str, object]) -> None:
        """Numbers and flags as text, so that they read the same before and after the file was written."""
        for key, value in values.items():
            plain = isinstance(value, (bool, int, float))
            self._settings.setValue(key, str(value) if plain else value)
        self._settings.sync()

    def threshold(self, engine: str) -> float | None:
        """The threshold the user set for this engine, None for the student's own."""
        value = self.number("engine/threshold", math.nan)
        return value if self.text("engine/threshold_of") == engine and 0 <= value <= 1 else None

    def store_threshold(self, engine: str, threshold: float | None) -> None:
        self.store({"engine/threshold": "" if threshold is None else threshold, "engine/threshold_of": engine})

    def remember_source(self, state: PlayerState) -> None:
        """For the Recent menu and the next start; not an address with a password in it."""
        spec = state.spec
        if not spec or "@" in spec:
            return
        if is_camera(spec):
            self.store({"source/last": spec, "source/camera": spec})
        elif spec == "sample":
            self.store({"source/last": spec})
        else:
            if "://" not in spec:  # the next start may be in another folder
                spec = str(Path(spec).expanduser().absolute())
            others = [other for other in self.words("source/recent") if other != spec]
            self.store({"source/last": spec, "source/recent": [spec, *others][:RECENT]})
