"""How long the window stands still while an engine is built beside the playing sample.

python scripts/stall.py [--precision fp32|fp16|int8] [--runs N] [--causes] [--platform offscreen|xcb]

A timer of 5 ms in the thread of the window notes the time between its calls: while the sample plays, while the dialogs
are opened and this machine is looked at, during a real build, and while one is cancelled. Prints the median of the runs'
largest gap, and of their 99th percentiles. --causes adds where the thread was during gaps of more than 50 ms.
Engines and settings of the user are not touched.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

BEAT_MS = 5
LIMIT_MS = 50.0
PLAY_S = 4.0
PATIENCE_S = 180.0


class Pulse:
    """Gaps between the beats of a timer, in milliseconds, by stage."""

    def __init__(self, causes: bool) -> None:
        from PySide6.QtCore import Qt, QTimer

        self.gaps: dict[str, list[float]] = {}
        self._stacks = tempfile.TemporaryFile("w+") if causes else None  # noqa: SIM115  faulthandler's, of long gaps
        self._stage = ""
        self._last = time.perf_counter()
        self._timer = QTimer(interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def enter(self, stage: str) -> None:
        self._stage = stage
        self.gaps.setdefault(stage, [])
        self._last = time.perf_counter()

    def _beat(self) -> None:
        now = time.perf_counter()
        if self._stage:
            self.gaps[self._stage].append((now - self._last) * 1e3)
            if self._stacks is not None:
                faulthandler.dump_traceback_later(LIMIT_MS / 1e3, file=self._stacks)
        self._last = now

    def causes(self) -> Counter[str]:
        """Innermost calls of the window's thread in the middle of long gaps."""
        faulthandler.cancel_dump_traceback_later()
        found: Counter[str] = Counter()
        if self._stacks is not None:
            self._stacks.seek(0)
            for dump in self._stacks.read().split("Timeout")[1:]:
                thread = dump.rpartition("(most recent call first):")[2]  # the main thread comes last
                calls = re.findall(r'/([^/"]+)", line (\d+) in (\w+)', thread)[:4]
                found[" < ".join(f"{file}:{line} {name}" for file, line, name in calls)] += 1
        return +found


def run(args: argparse.Namespace) -> Pulse:
    """One window from start to end."""
    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication

    from dtda.app import theme as themes
    from dtda.app.session import Session
    from dtda.app.window import MainWindow
    from dtda.app.workers import Choice

    app = QApplication.instance() or QApplication(["stall"])
    assert isinstance(app, QApplication)
    themes.apply(app, themes.resolve("light"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DTDA_ENGINES"] = str(Path(folder) / "engines")
        settings = QSettings(str(Path(folder) / "settings.ini"), QSettings.Format.IniFormat)
        window = MainWindow(Session(Choice()), settings, "sample", "light")
        window.show()
        window.session.player.set_loop(True)
        pulse = Pulse(args.causes)
        steps(window, pulse, args.precision)
        window.close()
        app.processEvents()
    return pulse


def steps(window: Any, pulse: Pulse, precision: str) -> None:
    """What a user does, with the time between."""
    engines = window.engines
    wait(lambda: engines.info is not None and window.timeline.ready, "the engine")
    rest(1.0)
    pulse.enter("playing")
    rest(PLAY_S)
    pulse.enter("looking")
    engines.build()
    wait(lambda: not engines.surveyor.busy, "the look at this machine")
    engines.manage()
    rest(1.0)
    engines.engine_dialog.close()
    form = engines.build_dialog.form
    if not form.ready:
        raise SystemExit(f"stall: {form.machine.text.text()}")
    form.use_precision(precision)
    pulse.enter("building")
    engines.build_dialog.build.click()
    wait(lambda: not engines.builds.running, "the build")
    rest(0.5)
    outcome = engines.build_dialog.run.headline.text()
    pulse.enter("cancelling")
    engines.build_dialog.settings.click()
    engines.build_dialog.build.click()
    rest(2.0)
    engines.build_dialog.cancel.click()
    wait(lambda: not engines.builds.running, "the end of the build")
    rest(0.5)
    pulse.enter("")
    print(f"  {outcome} Then: {engines.build_dialog.run.headline.text()}")


def wait(true: Any, what: str) -> None:
    """Let the window live until something is so."""
    from PySide6.QtCore import QDeadlineTimer, QEventLoop
    from PySide6.QtWidgets import QApplication

    until = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > until:
            raise SystemExit(f"stall: {what} did not come within {PATIENCE_S:.0f} s")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, QDeadlineTimer(20))


def rest(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait(lambda: time.monotonic() >= until, "time")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description="How long the window stands still while an engine is built.")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--causes", action="store_true", help="where the thread was during long gaps")
    parser.add_argument("--platform", default="offscreen", help="Qt's platform, such as xcb (default: offscreen)")
    args = parser.parse_args()
    os.environ["QT_QPA_PLATFORM"] = args.platform
    pulses = []
    for number in range(args.runs):
        print(f"run {number + 1}", flush=True)
        pulses.append(run(args))
    print(
        f"\n{'stage':<12} {'max':>8} {'p99':>8} {'> 50 ms':>8}   of the gaps between beats, ms, median of {args.runs} runs"
    )
    for stage in pulses[0].gaps:
        if stage:
            runs = [pulse.gaps[stage] for pulse in pulses]
            largest = statistics.median(max(gaps) for gaps in runs)
            high = statistics.median(percentile(gaps, 0.99) for gaps in runs)
            over = statistics.median(sum(gap > LIMIT_MS for gap in gaps) for gaps in runs)
            print(f"{stage:<12} {largest:8.1f} {high:8.1f} {over:8.0f}")
    for cause, count in sum((pulse.causes() for pulse in pulses), Counter()).most_common(12):
        print(f"{count:4d} times in  {cause}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
