"""`dtda-demo`: the window. Only argparse is imported until the arguments are known to be good."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app.options import add_options, check_writable, fetch_models, probability
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from types import TracebackType

    from dtda.app.records import Notice
    from dtda.app.window import MainWindow

GRACE_S = 30.0  # how long `--duration` waits for the first frame


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dtda-demo",
        description="Tell live faces from prints and screens, in a window. Nothing is recorded.",
    )
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default="",
        help="camera, camera:N, a video, a picture, a folder of them, a URL, or sample; "
        "without it the camera used last, or the sample where there is none",
    )
    add_options(parser)
    parser.add_argument(
        "--threshold", type=probability, metavar="P", help="P(live) from which a face is LIVE (default: the student's)"
    )
    parser.add_argument("--duration", type=_seconds, metavar="S", help="close S seconds after the first frame")
    parser.add_argument(
        "--summary", type=Path, metavar="FILE.json", help="write counts, rates and verdicts there when closing"
    )
    parser.add_argument("--theme", choices=("auto", "light", "dark", "contrast"), help="look of the window")
    return parser.parse_args(argv)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    from dtda.app import libraries

    trouble = libraries.problem()
    if trouble is None:
        try:
            if args.summary is not None:
                check_writable(args.summary, "--summary")
            fetch_models(args)
            return _run(args)
        except DtdaError as error:
            trouble = str(error)
        except ImportError as error:
            if sys.platform != "linux" or ".so" not in str(error):
                raise
            trouble = f"a system library is missing ({error}); install what is missing:\n{libraries.APT}"
    print(f"dtda-demo: {trouble}", file=sys.stderr)
    return 2


def _run(args: argparse.Namespace) -> int:
    # `import cv2`, wherever it happened, points Qt to the plugins of OpenCV's own Qt.
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):
        os.environ.pop(name, None)
    import signal
    import threading

    from PySide6.QtWidgets import QApplication

    from dtda.app import theme as themes
    from dtda.app.preferences import Preferences, user_settings
    from dtda.app.session import Session
    from dtda.app.window import MainWindow
    from dtda.app.workers import Choice

    app = QApplication.instance() or QApplication(["dtda-demo"])
    assert isinstance(app, QApplication)
    app.setApplicationName("dtda-demo")
    settings = user_settings()
    preferences = Preferences(settings)
    threshold = args.threshold
    if threshold is None and args.duration is None:
        threshold = preferences.threshold(args.engine)
    session = Session(Choice(args.engine, args.provider, args.detector, threshold))
    themes.apply(app, themes.resolve(args.theme or preferences.text("view/theme", "auto")))
    window = MainWindow(session, settings, args.source, args.theme)
    errors: list[str] = []
    if args.duration is not None:
        _limit(window, args.duration, errors)
    _report_surprises(window)
    previous = signal.signal(signal.SIGINT, lambda *_: window.close())  # runs at the window's next timer tick
    window.show()
    app.exec()
    signal.signal(signal.SIGINT, previous)
    sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
    for error in dict.fromkeys(errors):
        print(f"dtda-demo: {error}", file=sys.stderr)
    if args.summary is not None:
        try:
            _write_summary(args.summary, session.processor.tally.summary())
        except OSError as error:
            print(f"dtda-demo: {args.summary}: {error.strerror or error}; name another file.", file=sys.stderr)
            return 2
    return 2 if errors else 0


def _limit(window: MainWindow, duration: float, errors: list[str]) -> None:
    """Close by itself: after the duration, at the first error that ends the playing, or when no frame comes."""
    from PySide6.QtCore import QTimer

    from dtda.app.records import CLIP

    def give_up() -> None:
        if window.picture.observation is None:
            errors.append(f"no frame came within {duration + GRACE_S:.0f} seconds; check the source.")
        window.close()

    def fail(notice: Notice) -> None:
        errors.append(notice.text)
        if notice.topic != CLIP:
            window.failed.disconnect(fail)  # what fails while it closes is a consequence
            window.close()

    window.failed.connect(fail)
    window.first_frame.connect(lambda: QTimer.singleShot(round(duration * 1000), window, window.close))
    QTimer.singleShot(round((duration + GRACE_S) * 1000), window, give_up)


def _report_surprises(window: MainWindow) -> None:
    """An exception that nobody handled goes to stderr in full and into the window as a sentence."""
    import threading
    import traceback

    def hook(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        traceback.print_exception(kind, error, trace)
        window.surprised.emit(f"Something unexpected failed ({error!r}); the details are in the terminal.")

    sys.excepthook = hook
    threading.excepthook = lambda args: hook(args.exc_type, args.exc_value, args.exc_traceback)


def _write_summary(path: Path, summary: dict[str, object]) -> None:
    import json

    from dtda.core.sidecar import write_atomic

    write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
