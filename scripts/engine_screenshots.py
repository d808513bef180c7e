"""Renders docs/build.png and docs/engines.png: the build dialog with real builds, and the engine manager after them.

python scripts/engine_screenshots.py [--out DIR] [--theme light|dark]
Needs tensorrt-rtx, which builds without a GPU, and no display. Engines and settings of the user are not touched.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 180.0
EDGE = 16  # pixels around each dialog


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the pictures of the engine dialogs in the documents.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    args = parser.parse_args()
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DTDA_ENGINES"] = folder
        render(args.out, args.theme, Path(folder))
    return 0


def render(out: Path, theme: str, folder: Path) -> None:
    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication

    from dtda.app import theme as themes
    from dtda.app.session import Session
    from dtda.app.window import MainWindow
    from dtda.app.workers import Choice

    app = QApplication(["screenshots"])
    look = themes.resolve(theme)
    themes.apply(app, look)
    settings = QSettings(str(folder / "settings.ini"), QSettings.Format.IniFormat)
    window = MainWindow(Session(Choice()), settings, "sample", theme)
    window.show()
    engines = window.engines
    wait(lambda: engines.info)
    engines.build()
    wait(lambda: not engines.surveyor.busy)
    dialog: Any = engines.build_dialog
    dialog.resize(580, 400)
    pictures = []
    for precision in ("fp32", "int8", "fp16"):
        dialog.settings.click()
        dialog.form.use_precision(precision)
        dialog.build.click()
        if precision == "fp16":
            wait(lambda: dialog.run.fraction > 0.5 or not engines.builds.running)
            pictures.append(dialog.grab())
        wait(lambda: not engines.builds.running)
        wait(lambda: not engines.surveyor.busy)
    wait_for(0.3)
    pictures.append(dialog.grab())
    save(pictures, out / "build.png", look)
    dialog.close()
    engines.manage()
    wait(lambda: not engines.surveyor.busy)
    manager: Any = engines.engine_dialog
    manager.resize(1180, 420)
    manager.table.selectRow(4)
    wait_for(0.3)
    save([manager.grab()], out / "engines.png", look)
    window.close()
    app.processEvents()


def save(pictures: list[Any], path: Path, theme: Any) -> None:
    """Side by side, each with a thin edge, on the ground of the stage."""
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QColor, QPainter, QPixmap

    width = sum(picture.width() + EDGE for picture in pictures) + EDGE
    sheet = QPixmap(width, max(picture.height() for picture in pictures) + 2 * EDGE)
    sheet.fill(QColor(theme.stage))
    painter = QPainter(sheet)
    x = EDGE
    for picture in pictures:
        painter.drawPixmap(x, EDGE, picture)
        painter.setPen(QColor(theme.line).darker(115))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(x - 1, EDGE - 1, picture.width() + 1, picture.height() + 1)
        x += picture.width() + EDGE
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(str(path))
    print(path)


def wait(true: Callable[[], object]) -> None:
    """Let the window live until something is so."""
    from PySide6.QtWidgets import QApplication

    until = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > until:
            raise SystemExit("engine_screenshots: it took too long")
        QApplication.processEvents()
        time.sleep(0.005)


def wait_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait(lambda: time.monotonic() > until)


if __name__ == "__main__":
    sys.exit(main())
