"""The plot of the scores: its library comes in a thread, beside a window that goes on."""

from __future__ import annotations

import os
import subprocess
import sys

# The main thread waits for the moment from which pyqtgraph takes all of PySide's types, and then uses them as well.
WHILE_IMPORTING = """
import sys
from PySide6 import QtCore, QtGui, QtWidgets
from dtda.app.theme import resolve
from dtda.app.timeline import Timeline
app = QtWidgets.QApplication([])
timeline = Timeline(resolve("dark"))
names = [(module, name) for module in (QtCore, QtGui, QtWidgets) for name in dir(module)]
sys.setswitchinterval(1e-5)
timeline.load()
while "pyqtgraph.Qt.compat" not in sys.modules:
    assert not timeline.ready
for module, name in names:
    getattr(module, name)
timeline.close_down(30)
timeline.refresh()
print("ready" if timeline.ready else "no plot")
"""


def test_the_import_of_the_plot_does_not_end_the_process() -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", WHILE_IMPORTING], capture_output=True, text=True, timeout=60, env=environment
        )
        assert (done.returncode, done.stdout.strip()) == (0, "ready"), done.stderr
