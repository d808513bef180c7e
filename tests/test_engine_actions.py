"""The window's engines: switching, thresholds, menu, dialogs; and one real build in the dialog."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import surveys
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from dtda.app import theme as themes
from dtda.app.build_form import Wish
from dtda.app.capture import Player
from dtda.app.engine_actions import EngineActions, command
from dtda.app.inventory import Survey
from dtda.app.mailbox import Mailbox
from dtda.app.preferences import Preferences
from dtda.app.records import Notice
from dtda.app.views import Views
from dtda.app.workers import Choice
from dtda.core.types import EngineInfo

CHILD = Path(__file__).parent / "data" / "build_child.py"


def info(path: str, sha: str = "a" * 64) -> EngineInfo:
    return EngineInfo("tiny", path, "TensorRT 1.2", "Card by pycuda", "fp16", 8, 1.5, 0.4, sha, 8, ("Not for sale.",))


class Window(QMainWindow):
    """What EngineActions needs of a window. found: the survey. ordered: what the processing thread was told."""

    def __init__(self, settings: QSettings, **choice: Any) -> None:
        super().__init__()
        self.ordered: list[Any] = []
        self.found = surveys.survey()
        self.looked: list[tuple[tuple[str, ...], bool]] = []
        self.preferences = Preferences(settings)
        self.player = Player(Mailbox(), lambda spec: None)  # type: ignore[arg-type, return-value]
        self.processor = SimpleNamespace(
            choice=Choice(**choice),
            info=None,
            loading=True,
            detector_name="CenterFace",
            use_engine=lambda *order: self.ordered.append(order),
            use_threshold=self.ordered.append,
        )
        self.views = Views(self.player, themes.LIGHT)
        session = SimpleNamespace(player=self.player, processor=self.processor)
        self.engines = EngineActions(self, session, self.preferences, self.views, themes.LIGHT)  # type: ignore[arg-type]
        self.engines.surveyor._looker = self._look
        self.engines.command = lambda wish: [sys.executable, str(CHILD), "slow", wish.out or "/engines/new.engine"]

    def _look(self, paths: tuple[str, ...], refresh: bool) -> Survey:
        self.looked.append((paths, refresh))
        return self.found

    def run(self, made: EngineInfo | None, **choice: Any) -> None:
        """As if the processing thread had opened it."""
        self.processor.info, self.processor.loading = made, False
        if choice:
            self.processor.choice = Choice(**choice)
        self.engines.follow()


@pytest.fixture
def settings(tmp_path: Path) -> QSettings:
    return QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def show(qtbot: QtBot, settings: QSettings) -> Iterator[Callable[..., Window]]:
    made: list[Window] = []

    def begin(**choice: Any) -> Window:
        made.append(Window(settings, **choice))
        qtbot.addWidget(made[-1])
        made[-1].show()
        return made[-1]

    yield begin
    for window in made:
        window.engines.close(time.monotonic() + 2)


def test_the_status_line_tells_what_really_runs(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    window.found = surveys.survey(surveys.READY, surveys.engine("a.engine"))
    window.run(info("/engines/a.engine"), engine="/engines/a.engine")
    assert window.engines.name == "tiny · TensorRT 1.2 · FP16 · Card by pycuda"
    tip = window.views.status.engine.toolTip()
    for fact in ("/engines/a.engine", "up to 8", "Card by pycuda", "CenterFace", "Not for sale."):
        assert fact in tip
    qtbot.waitUntil(lambda: "Passed: within the limits" in window.views.status.engine.toolTip())


def test_an_engine_that_was_not_compared_says_so_in_the_status_line(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    window.found = surveys.survey(surveys.READY)  # without it: known from the engine alone
    opened = replace(info("/engines/a.engine"), notes=("not compared with its student: `dtda engine check`",))
    window.run(opened, engine="/engines/a.engine")
    told = "tiny · TensorRT 1.2 · FP16 · Card by pycuda"
    assert window.engines.name == f"{told} · not compared"
    window.found = surveys.survey(surveys.READY, surveys.engine("a.engine"))  # compared meanwhile
    window.engines.look()
    qtbot.waitUntil(lambda: window.engines.name == told)
    window.found = surveys.survey(surveys.READY, surveys.engine("a.engine", parity=None))
    window.engines.look()
    qtbot.waitUntil(lambda: window.engines.name == f"{told} · not compared")


def test_a_switch_is_marked_and_the_threshold_is_the_processors(show: Callable[..., Window]) -> None:
    window = show(engine="auto", threshold=0.7)
    window.run(info("/students/tiny.onnx"))
    timeline = window.views.timeline
    assert timeline.marks == []
    window.engines.use("/engines/a.engine")
    assert window.ordered == [("/engines/a.engine", "auto")]
    window.run(info("/engines/a.engine"), engine="/engines/a.engine", threshold=0.7)  # the same student
    assert [text for _, text in timeline.marks] == ["tiny · TensorRT 1.2 · FP16"]
    assert timeline._caption == "threshold 0.70, yours; the student's is 0.40"
    assert window.preferences.threshold("/engines/a.engine") == 0.7
    window.run(info("/students/b.onnx"), engine="/students/b.onnx")
    assert timeline._caption == "threshold 0.40"
    assert window.preferences.threshold("/students/b.onnx") is None


def test_a_threshold_is_kept_for_what_runs(show: Callable[..., Window]) -> None:
    window = show()
    window.run(info("/engines/a.engine"), engine="/engines/a.engine")
    window.views.timeline.threshold_moved.emit(0.8)
    assert window.ordered == [0.8]
    assert window.preferences.threshold("/engines/a.engine") == 0.8
    window.engines.use_threshold(None)
    assert window.preferences.threshold("/engines/a.engine") is None


def test_load_again_opens_what_was_chosen_last(show: Callable[..., Window]) -> None:
    window = show()
    window.run(info("/engines/a.engine"), engine="/engines/a.engine")
    window.run(None)
    window.engines.reload()
    assert window.ordered == [("/engines/a.engine", "auto")]
    window.engines.use_row(surveys.student(Path("/students/tiny.onnx"), "cuda"))
    assert window.ordered[-1] == ("/students/tiny.onnx", "cuda")


def test_an_engine_does_not_forget_what_the_student_ran_on(show: Callable[..., Window]) -> None:
    window = show(provider="cuda")
    window.run(info("/students/tiny.onnx"), engine="/students/tiny.onnx", provider="cuda")
    window.engines.use("/engines/a.engine")
    window.run(info("/engines/a.engine"), engine="/engines/a.engine", provider="auto")
    window.engines.use("/students/tiny.onnx")  # as Open student… does
    window.run(info("/students/tiny.onnx"), engine="/students/tiny.onnx", provider="cuda")
    window.engines.reload()
    window.engines.use("/students/tiny.onnx", "cpu")
    window.run(info("/students/tiny.onnx"), engine="/students/tiny.onnx", provider="cpu")
    window.engines.reload()
    assert [provider for _, provider in window.ordered] == ["auto", "cuda", "cuda", "cpu", "cpu"]


def test_only_what_can_run_here_is_offered_for_a_switch(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    good = surveys.engine()
    detector = surveys.engine("d.engine", kind="detector")
    window.found = surveys.survey(surveys.READY, good, surveys.engine("x.engine", "it cannot run here."), detector)
    assert window.engines.ready_rows() == []
    window.engines.look()
    qtbot.waitUntil(lambda: not window.engines.surveyor.busy)
    assert [row.path.name for row in window.engines.ready_rows()] == ["tiny.onnx", "tiny.fp16.engine"]


def test_a_refused_engine_is_rebuilt_by_one_click(show: Callable[..., Window], qtbot: QtBot, tmp_path: Path) -> None:
    window = show()
    onnx = tmp_path / "tiny.onnx"
    onnx.touch()
    old = surveys.engine("old.engine", "old; REBUILD", onnx=onnx)
    window.found = surveys.survey(surveys.READY, old)
    window.views.messages.tell(Notice("error", "old.engine is stale.", "engine", str(old.path)))
    (row,) = window.views.messages._rows
    row.cure.click()
    assert window.views.messages.notices == []
    qtbot.waitUntil(lambda: window.engines.builds.running)
    dialog = window.engines.build_dialog
    assert dialog is not None
    assert dialog.form.wish() == Wish(str(onnx), "fp16", 8, (), (), str(old.path))
    assert window.looked[-1] == (("", str(old.path)), False)
    window.engines.rebuild(str(old.path))  # while it runs: only shows it
    assert dialog.cancel.isVisible()


def test_other_notices_have_no_rebuild_button(show: Callable[..., Window]) -> None:
    window = show()
    window.views.messages.tell(Notice("error", "a.onnx: no such file.", "engine"))
    assert not window.views.messages._rows[0].cure.isVisible()


def test_after_a_build_the_engines_are_looked_at_again(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    engines = window.engines
    engines.command = lambda wish: [sys.executable, str(CHILD), "done", "/engines/tiny.fp16.engine"]
    engines.build()
    qtbot.waitUntil(lambda: engines.build_dialog.form.ready)  # type: ignore[union-attr]
    engines.manage()
    qtbot.waitUntil(lambda: not engines.surveyor.busy)
    window.found = surveys.survey(surveys.READY, surveys.engine())
    engines.build_dialog.build.click()  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: not engines.builds.running)
    dialog = engines.engine_dialog
    assert dialog is not None
    qtbot.waitUntil(lambda: dialog.table.source.rowCount() == 2)
    engines.build_dialog.use.click()  # type: ignore[union-attr]
    assert window.ordered == [("/engines/tiny.fp16.engine", "auto")]


def test_closing_ends_the_build_and_waits_for_the_look(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    window.engines.build()
    qtbot.waitUntil(lambda: window.engines.build_dialog.form.ready)  # type: ignore[union-attr]
    window.engines.build_dialog.build.click()  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: window.engines.builds._pid > 0)
    pid = window.engines.builds._pid
    window.engines.look()
    window.engines.close(time.monotonic() + 2)
    assert not window.engines.builds.running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_dialogs_follow_the_theme(show: Callable[..., Window], qtbot: QtBot) -> None:
    window = show()
    window.engines.build()
    window.engines.manage()
    window.engines.set_theme(themes.DARK)
    assert window.engines.engine_dialog.table.source._theme is themes.DARK  # type: ignore[union-attr]
    assert window.engines.build_dialog.run._theme is themes.DARK  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: not window.engines.surveyor.busy)


def test_the_command_is_the_builders() -> None:
    argv = command(Wish("/a.onnx", "int8", 4, ("8.6", "8.9"), ("/x.mp4",), "/b.engine"))
    assert argv[:3] == [sys.executable, "-m", "dtda.engines.build"]
    assert "/a.onnx" in argv
    for pair in (["--precision", "int8"], ["--max-batch", "4"], ["--target", "8.6,8.9"], ["--out", "/b.engine"],
                 ["--frames", "/x.mp4"]):  # fmt: skip
        assert argv[argv.index(pair[0]) + 1] == pair[1]


@pytest.mark.slow
def test_a_real_build_in_the_dialog(
    show: Callable[..., Window], qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX builds on the CPU; then the manager has the engine, and says why it does not run here."""
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    from dtda.app.surveyor import look

    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path))
    window = show()
    engines = window.engines
    engines.surveyor._looker, engines.command = look, command
    engines.build()
    engines.manage()
    builder, manager = engines.build_dialog, engines.engine_dialog
    assert builder is not None
    assert manager is not None
    qtbot.waitUntil(lambda: not engines.surveyor.busy, timeout=60_000)
    assert builder.form.ready, builder.form.machine.text.text()
    gaps, last = [], time.perf_counter()

    def beat() -> None:
        nonlocal last
        gaps.append(time.perf_counter() - last)
        last += gaps[-1]

    pulse = QTimer(window, interval=5)
    pulse.timeout.connect(beat)
    pulse.start()
    builder.build.click()
    seen: list[float] = []
    while engines.builds.running:
        qtbot.wait(20)
        seen.append(builder.run.fraction)
    assert max(gaps) < 1.0  # nothing waits for the child; scripts/stall.py measures
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert builder.run.headline.text().startswith("The engine is built"), builder.run.log.toPlainText()
    qtbot.waitUntil(lambda: not engines.surveyor.busy, timeout=60_000)
    (row,) = [row for row in engines.surveyor.survey.rows if row.is_engine]  # type: ignore[union-attr]
    assert (row.student, row.precision, row.path.parent) == ("student-mobile", "fp16", tmp_path)
    if not engines.surveyor.survey.probe.gpu:  # type: ignore[union-attr]
        assert row.state == "elsewhere"
        assert "cannot run here" in builder.run.headline.text()
        assert not builder.use.isVisible()
    assert manager.table.source.rowCount() == 5  # two students on CPU and CUDA, and the engine
