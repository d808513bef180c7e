"""The build dialog: what it offers, how a build looks while it runs, and every way it can end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import surveys
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMessageBox, QWidget
from pytestqt.qtbot import QtBot

from dtda.app import theme as themes
from dtda.app.build_dialog import BuildDialog
from dtda.app.build_form import Wish
from dtda.app.builds import Builds

CHILD = Path(__file__).parent / "data" / "build_child.py"
OUT = "/engines/tiny.fp16.engine"


class Setting:
    """A dialog over a window, and what its child will do. wished: what it was asked to build."""

    def __init__(self) -> None:
        self.mode = "done"
        self.wished: list[Wish] = []
        self.window = QWidget()
        self.builds = Builds(self.window)
        self.dialog = BuildDialog(self.builds, self._command, themes.LIGHT, self.window)

    def _command(self, wish: Wish) -> list[str]:
        self.wished.append(wish)
        return [sys.executable, str(CHILD), self.mode, OUT]


@pytest.fixture
def setting(qtbot: QtBot) -> Iterator[Setting]:
    made = Setting()
    qtbot.addWidget(made.window)
    yield made
    made.builds.stop(0)


def offer(setting: Setting, qtbot: QtBot, survey: Any = None) -> BuildDialog:
    dialog = setting.dialog
    dialog.offer()
    dialog.show_survey(survey or surveys.survey(surveys.READY), "/students/tiny.onnx")
    return dialog


def build(setting: Setting, qtbot: QtBot, mode: str = "done") -> BuildDialog:
    dialog = offer(setting, qtbot)
    setting.mode = mode
    qtbot.mouseClick(dialog.build, Qt.MouseButton.LeftButton)
    return dialog


def ended(setting: Setting, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not setting.builds.running, timeout=10_000)


def buttons(dialog: BuildDialog) -> set[str]:
    named = {"build", "cancel", "again", "settings", "folder", "report", "fp32", "leave", "use"}
    return {name for name in named if getattr(dialog, name).isVisible()}


def test_nothing_can_be_built_before_the_machine_is_known(setting: Setting) -> None:
    setting.dialog.offer()
    assert setting.dialog.form.machine.text.text().startswith("Checking")
    assert not setting.dialog.build.isEnabled()


def test_with_a_gpu_all_is_offered_and_passed_on(setting: Setting, qtbot: QtBot) -> None:
    dialog = offer(setting, qtbot)
    form = dialog.form
    assert surveys.CARD in form.machine.text.text()
    assert not form.target.isVisible()
    assert not form.machine.command.isVisible()
    form.use_precision("int8")
    form.batch.setValue(3)
    form.use_frames(("/a.mp4", "/b.png", "/a.mp4"))
    assert "a.mp4, b.png" in form._extra.text()
    qtbot.mouseClick(dialog.build, Qt.MouseButton.LeftButton)
    assert setting.wished == [Wish("/students/tiny.onnx", "int8", 3, (), ("/a.mp4", "/b.png"))]


def test_networks_from_elsewhere_are_not_offered(setting: Setting, qtbot: QtBot) -> None:
    found = surveys.survey(surveys.READY, surveys.student(Path("/students/network.json")))
    dialog = offer(setting, qtbot, found)
    dialog.show_survey(found, "/students/network.json")
    student = dialog.form.student
    assert [student.itemData(row) for row in range(student.count())] == ["/students/tiny.onnx", "centerface"]
    assert dialog.form.wish().student == "/students/tiny.onnx"


def test_without_a_gpu_one_is_named_to_build_for(setting: Setting, qtbot: QtBot) -> None:
    dialog = offer(setting, qtbot, surveys.survey(surveys.NO_GPU))
    assert surveys.NO_GPU.text in dialog.form.machine.text.text()
    assert "can be built here all the same" in dialog.form.machine.offer.text()
    assert dialog.form.target.isVisible()
    dialog.form.target.setCurrentIndex(2)
    assert dialog.form.wish().targets == ("8.9",)
    assert dialog.build.isEnabled()


def test_what_is_missing_is_told_with_a_line_to_copy(setting: Setting, qtbot: QtBot) -> None:
    dialog = offer(setting, qtbot, surveys.survey(surveys.NO_TENSORRT))
    asked: list[None] = []
    dialog.refresh.connect(lambda: asked.append(None))
    assert not dialog.build.isEnabled()
    line = dialog.form.machine.command
    assert (line.isVisible(), line.content) == (True, surveys.NO_TENSORRT.install)
    qtbot.mouseClick(line._button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == surveys.NO_TENSORRT.install
    assert buttons(dialog) == {"build", "again", "leave"}
    qtbot.mouseClick(dialog.again, Qt.MouseButton.LeftButton)
    assert asked


def test_a_look_that_failed_is_told(setting: Setting) -> None:
    setting.dialog.show_survey(None, "", "The ledger is damaged; delete it.")
    assert "ledger" in setting.dialog.form.machine.text.text()
    assert not setting.dialog.form.ready


def test_progress_phase_time_and_log_are_shown(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot, "slow")
    run = dialog.run
    qtbot.waitUntil(lambda: run.bar.value() > 0)
    qtbot.waitUntil(lambda: run.phase.text.startswith("Tactics"))
    assert run.title.text() == (
        "tiny in FP16 with TensorRT-RTX 1.7.1.116, for GeForce RTX 40, RTX Ada (compute capability 8.9)"
    )
    assert run.percent.text().endswith("%")
    assert "%" in dialog.windowTitle()
    assert ":" in run.time.text()
    assert "step 0" in run.log.toPlainText()
    assert buttons(dialog) == {"cancel"}
    run.toggle.click()
    assert not run.log.isVisible()


def test_after_success_all_is_told_and_it_can_be_used(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot)
    used: list[str] = []
    dialog.used.connect(used.append)
    ended(setting, qtbot)
    assert dialog.run.headline.text() == "The engine is built."
    assert dialog.run.remarks.text() == "• Warning: a weight was clipped\n• One convolution stays in FP32."
    assert buttons(dialog) == {"settings", "folder", "leave", "use"}
    dialog.show_survey(surveys.survey(surveys.READY, surveys.engine()), "")
    facts = dialog.run.facts
    assert "5.4 MB" in facts
    assert any("max |dp| 0.0012" in fact for fact in facts)
    assert "0.31 ms for one face" in facts
    assert buttons(dialog) == {"settings", "folder", "leave", "use"}
    qtbot.mouseClick(dialog.use, Qt.MouseButton.LeftButton)
    assert (used, dialog.isVisible()) == ([OUT], False)


def test_an_engine_for_elsewhere_is_not_offered_for_use(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot, "elsewhere")
    ended(setting, qtbot)
    assert dialog.run.headline.text() == "The engine is built, but it cannot run here: no NVIDIA GPU."
    assert buttons(dialog) == {"settings", "folder", "leave"}


def test_a_failure_keeps_log_and_report_and_offers_fp32(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot, "flips")
    ended(setting, qtbot)
    assert dialog.run.headline.text() == "The build failed."
    assert dialog.run.reason.text() == "The engine differs from its student; build it in FP32."
    assert dialog.run.log.isVisible()
    assert "Refused: outside of the limits" in dialog.run.log.toPlainText()
    assert OUT + ".json" in dialog.run.facts
    assert buttons(dialog) == {"settings", "report", "fp32", "leave"}
    setting.mode = "done"
    qtbot.mouseClick(dialog.fp32, Qt.MouseButton.LeftButton)
    assert setting.wished[-1].precision == "fp32"
    ended(setting, qtbot)
    assert "report" not in buttons(dialog)


def test_fp32_is_not_offered_after_fp32_failed(setting: Setting, qtbot: QtBot) -> None:
    setting.dialog.form.use_precision("fp32")
    dialog = build(setting, qtbot, "crash")
    ended(setting, qtbot)
    assert "SIGKILL" in dialog.run.reason.text()
    assert buttons(dialog) == {"settings", "leave"}


def test_cancel_says_so_and_leads_back_to_the_settings(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot, "slow")
    qtbot.waitUntil(lambda: dialog.run.bar.value() > 0)
    qtbot.keyClick(dialog.cancel, Qt.Key.Key_Space)
    assert not dialog.cancel.isEnabled()
    assert dialog.run.phase.text.startswith("Cancelling")
    ended(setting, qtbot)
    assert dialog.run.headline.text() == "Cancelled. Nothing was left behind."
    qtbot.mouseClick(dialog.settings, Qt.MouseButton.LeftButton)
    assert buttons(dialog) == {"build", "leave"}


@pytest.mark.parametrize("stop", [True, False])
def test_closing_while_building_asks(setting: Setting, qtbot: QtBot, stop: bool) -> None:
    dialog = build(setting, qtbot, "slow")
    qtbot.waitUntil(lambda: dialog.run.bar.value() > 0)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    question = dialog.findChild(QMessageBox)
    assert question is not None
    assert (question.isVisible(), dialog.isVisible(), setting.builds.running) == (True, True, True)
    answer = next(button for button in question.buttons() if ("Stop" in button.text()) is stop)
    qtbot.mouseClick(answer, Qt.MouseButton.LeftButton)
    if stop:
        ended(setting, qtbot)
        assert not dialog.isVisible()
    else:
        assert (dialog.isVisible(), setting.builds.running) == (True, True)


def test_a_question_that_has_become_idle_goes_away(setting: Setting, qtbot: QtBot) -> None:
    dialog = build(setting, qtbot, "done")
    dialog.close()
    question = dialog.findChild(QMessageBox)
    assert question is not None
    ended(setting, qtbot)
    qtbot.waitUntil(lambda: dialog.findChild(QMessageBox) is None)
    assert dialog.isVisible()


def test_a_rebuild_starts_by_itself_with_the_settings_of_before(setting: Setting, qtbot: QtBot, tmp_path: Path) -> None:
    onnx = tmp_path / "tiny.onnx"
    onnx.touch()
    row = surveys.engine(reason="old; REBUILD", onnx=onnx, precision="int8", batch={"max": 4})
    dialog = setting.dialog
    dialog.offer()
    dialog.await_engine(str(row.path))
    assert setting.wished == []
    dialog.show_survey(surveys.survey(surveys.READY, row), "")
    assert setting.wished == [Wish(str(onnx), "int8", 4, (), (), str(row.path))]
    ended(setting, qtbot)
    dialog.show_survey(surveys.survey(surveys.READY, row), "")
    assert len(setting.wished) == 1


def test_one_that_was_built_without_a_gpu_is_rebuilt_for_the_same(setting: Setting, tmp_path: Path) -> None:
    onnx = tmp_path / "tiny.onnx"
    onnx.touch()
    row = surveys.engine(onnx=onnx, gpu="", compute_capabilities=["8.6", "8.9", "12.0"])
    setting.dialog.await_engine(str(row.path))
    setting.dialog.show_survey(surveys.survey(surveys.NO_GPU, row), "")
    assert setting.wished[0].targets == ("8.6", "8.9", "12.0")


def test_a_detectors_engine_is_rebuilt_as_one(setting: Setting) -> None:
    row = surveys.engine("d.engine", "old; REBUILD", name="centerface", kind="detector", onnx="/x/centerface.onnx")
    setting.dialog.await_engine(str(row.path))
    setting.dialog.show_survey(surveys.survey(surveys.READY, row), "")
    assert setting.wished[0].student == "centerface"


@pytest.mark.parametrize("row", [surveys.damaged(), surveys.engine(reason="old; REBUILD")])
def test_a_rebuild_that_lacks_its_student_asks_for_it(setting: Setting, row: Any) -> None:
    dialog = setting.dialog
    dialog.offer()
    dialog.await_engine(str(row.path))
    dialog.show_survey(surveys.survey(surveys.READY, row), "")
    assert setting.wished == []
    assert "hoose the student" in dialog.form.remark.text()
    assert not dialog.build.isEnabled()
    dialog.form.use_student("/students/tiny.onnx")
    assert dialog.build.isEnabled()
    assert dialog.form.wish().out == str(row.path)


def test_all_of_it_can_be_reached_by_keyboard(setting: Setting, qtbot: QtBot) -> None:
    dialog = offer(setting, qtbot)
    qtbot.waitUntil(dialog.isActiveWindow)
    dialog.form.student.setFocus()
    reached = set()
    for _ in range(20):
        reached.add(dialog.focusWidget())
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
    form = dialog.form
    for widget in (form.student, form.browse, form.batch, form.add, form.add_folder, dialog.build, dialog.leave):
        assert widget in reached
    assert dialog.build.isDefault()


def test_it_fits_a_small_screen(setting: Setting, qtbot: QtBot) -> None:
    offer(setting, qtbot, surveys.survey(surveys.NO_TENSORRT))
    assert setting.dialog.minimumSizeHint().width() <= 560
    assert setting.dialog.minimumSizeHint().height() <= 400
