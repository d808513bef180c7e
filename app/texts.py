"""The longer texts of the window."""

from __future__ import annotations

from importlib import metadata

from dtda.app.menus import SHORTCUTS

SCORE = """
<p><b>P(live)</b> is how sure the network is that the face in front of the camera is a person and not a print or a
screen: 0 is surely a picture, 1 surely alive.</p>
<p>The score shown is smoothed over the last frames. At or above the <b>threshold</b>, the dashed line, the verdict is
<b>LIVE</b> (blue, check); below it, <b>SPOOF</b> (orange, cross).</p>
<p><b>CANNOT TELL</b> (grey, question mark) means that the face was not judged: too small, blurred, dark, turned away,
or its scores contradict each other. It is no verdict; the reason stands beside it. Such frames are gaps in the
timeline.</p>
<p>The threshold comes with the student, from the data named in its file. Drag the line to use another, and choose
<i>Engine &gt; Student's own threshold</i> to go back. Scores of different students do not compare.</p>
<p>A liveness score is evidence, not proof: light, camera and attacks that the network never saw change it.</p>
"""


def shortcuts() -> str:
    rows = "".join(f"<tr><td><b>{keys}</b>&nbsp;&nbsp;&nbsp;</td><td>{text}</td></tr>" for keys, text in SHORTCUTS)
    return f"<table cellpadding='3'>{rows}</table>"


def about() -> str:
    return f"""
<h3>DTDA liveness {metadata.version("dtda-demo")}</h3>
<p>Tells a live face from a print or a screen, in real time, on this computer.</p>
<p><b>Nothing is recorded and nothing is sent:</b> pictures are shown, judged and forgotten. Kept are only this window's
settings, and the sample clips, which show a public-domain portrait.</p>
<p>Apache-2.0. Built with Qt (PySide6, LGPL), pyqtgraph, OpenCV, NumPy and onnxruntime.</p>
"""
