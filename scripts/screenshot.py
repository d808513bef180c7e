"""Renders docs/window.png, the picture of the window in the README.

python scripts/screenshot.py [--out FILE.png] [--clip N] [--theme light|dark] [--size 1100x720] [--engine FILE]
Needs no display. Shows the generated sample; the settings of the user are neither read nor written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the picture of the window in the README.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "window.png")
    parser.add_argument("--source", default="sample")
    parser.add_argument("--clip", type=int, default=2, help="index of the clip (2: the screen attack of the sample)")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--size", default="1100x720")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    os.environ["QT_QPA_PLATFORM"] = "offscreen"

    from PySide6.QtCore import QSettings, QTimer
    from PySide6.QtWidgets import QApplication

    from dtda.app import theme as themes
    from dtda.app.session import Session
    from dtda.app.window import MainWindow
    from dtda.app.workers import Choice

    app = QApplication(["screenshot"])
    themes.apply(app, themes.resolve(args.theme))
    settings = QSettings(str(Path(tempfile.mkdtemp()) / "settings.ini"), QSettings.Format.IniFormat)
    window = MainWindow(Session(Choice(args.engine)), settings, args.source, args.theme)
    window.resize(*map(int, args.size.split("x")))
    failures: list[str] = []
    window.failed.connect(lambda notice: (failures.append(notice.text), window.close()))
    window.show()
    player = window.session.player

    def take() -> None:
        """Once the clip is nearly over and the plot is there."""
        state = player.state
        if state.open and state.clip != args.clip % len(state.clips):
            player.select(args.clip % len(state.clips))
        elif state.playing and state.length and state.index > 0.8 * state.length and window.timeline.ready:
            player.pause()
            QTimer.singleShot(500, window, finish)
            timer.stop()

    def finish() -> None:
        window.messages.hide()
        app.processEvents()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        window.grab().save(str(args.out))
        window.close()

    player.set_loop(True)
    timer = QTimer(window, interval=30)
    timer.timeout.connect(take)
    timer.start()
    QTimer.singleShot(60_000, window, lambda: (failures.append("no picture within a minute"), window.close()))
    app.exec()
    for failure in failures:
        print(f"screenshot: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
