"""Times a start of `dtda-demo`: from process start to the first paint, and to the first verdict.

python scripts/startup.py [dtda-demo arguments]. Needs a display (or QT_QPA_PLATFORM=offscreen).
"""

from __future__ import annotations

import subprocess
import sys
import time

CHILD = """
import sys, time
from dtda.app import demo, window
start = float(sys.argv[1])
def since(what):
    print(f"{what}: {time.time() - start:.2f} s", flush=True)
class Timed(window.MainWindow):
    def __init__(self, *args):
        super().__init__(*args)
        self.picture.painted.connect(lambda: since("first paint"))
        self.first_frame.connect(lambda: since("first picture"))
    def _show(self, observation, state):
        super()._show(observation, state)
        if any(verdict.label.value != "cannot_tell" for verdict in observation.verdicts):
            since("first verdict")
            self.close()
    def closeEvent(self, event):
        began = time.perf_counter()
        super().closeEvent(event)
        print(f"closing: {time.perf_counter() - began:.2f} s", flush=True)
window.MainWindow = Timed
sys.exit(demo.main(sys.argv[2:]))
"""


def main() -> int:
    return subprocess.call([sys.executable, "-c", CHILD, str(time.time()), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
