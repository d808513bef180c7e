"""The check for system libraries and a display, with a loader that lacks what it is told to lack."""

from __future__ import annotations

import pytest

from dtda.app import libraries
from dtda.app.libraries import APT, problem

X11 = {"DISPLAY": ":0"}


def lacking(*names: str):  # type: ignore[no-untyped-def]
    def load(name: str) -> object:
        if name in names:
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    return load


def test_nothing_is_said_when_all_is_there() -> None:
    assert problem(lacking(), X11, "linux") is None


@pytest.mark.parametrize("name", [*libraries.ALWAYS, *libraries.X11])
def test_a_missing_library_is_named_with_the_line_that_installs_it(name: str) -> None:
    text = problem(lacking(name), X11, "linux")
    assert text is not None
    assert name in text
    assert text.splitlines()[-1] == APT


def test_wayland_and_offscreen_do_without_the_x11_libraries() -> None:
    load = lacking(*libraries.X11)
    assert problem(load, {"WAYLAND_DISPLAY": "wayland-0"}, "linux") is None
    assert problem(load, {"QT_QPA_PLATFORM": "offscreen"}, "linux") is None
    assert problem(load, {"QT_QPA_PLATFORM": "xcb", "WAYLAND_DISPLAY": "w", "DISPLAY": ":0"}, "linux") is not None


def test_no_display_is_said_before_qt_aborts() -> None:
    text = problem(lacking(), {}, "linux")
    assert text is not None
    assert "DISPLAY" in text


def test_other_systems_bring_their_own() -> None:
    assert problem(lacking(*libraries.ALWAYS), {}, "win32") is None
