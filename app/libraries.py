"""What Qt and OpenCV need from the system, checked before Qt aborts the process for want of it. Linux only."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping

ALWAYS = ("libEGL.so.1", "libGL.so.1", "libglib-2.0.so.0", "libfontconfig.so.1", "libdbus-1.so.3", "libxkbcommon.so.0")
X11 = (
    "libxkbcommon-x11.so.0",
    "libxcb-cursor.so.0",
    "libxcb-icccm.so.4",
    "libxcb-keysyms.so.1",
    "libxcb-image.so.0",
    "libxcb-render-util.so.0",
    "libxcb-shape.so.0",
)
APT = (
    "sudo apt-get install -y libegl1 libgl1 libglib2.0-0 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 "
    "libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3"
)


def problem(
    load: Callable[[str], object] = ctypes.CDLL,
    environment: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> str | None:
    """One sentence with the way out when no window can open here, else None."""
    if platform != "linux":
        return None
    plugin = environment.get("QT_QPA_PLATFORM", "").partition(":")[0]
    screenless = plugin in ("offscreen", "minimal", "vnc", "linuxfb", "eglfs")
    if not screenless and not environment.get("DISPLAY") and not environment.get("WAYLAND_DISPLAY"):
        return (
            "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); start it on a desktop, or set "
            "QT_QPA_PLATFORM=offscreen to run without one."
        )
    on_x11 = plugin == "xcb" or (not plugin and not environment.get("WAYLAND_DISPLAY"))
    missing = [name for name in (*ALWAYS, *(X11 if on_x11 else ())) if not _loads(load, name)]
    return f"the system lacks {', '.join(missing)}; install what is missing:\n{APT}" if missing else None


def _loads(load: Callable[[str], object], name: str) -> bool:
    try:
        load(name)
    except OSError:
        return False
    return True
