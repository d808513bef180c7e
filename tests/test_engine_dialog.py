"""The engine manager: rows and their states, sorting, what each of its buttons does, and when it may."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import surveys
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox, QWidget
from pytestqt.qtbot import QtBot

from dtda.app import theme as themes
from dtda.app.engine_dialog import EngineDialog
from dtda.app.engine_table import HEADINGS, RIGHT, STATE
from dtda.core.types import EngineInfo
from dtda.engines import plan, store

STALE = surveys.engine("old.engine", "it was built with another version; REBUILD", version="10.16.1.11", parity=None)
ELSEWHERE = surveys.engine("far.engine", "it cannot run here: TensorRT is not installed.", latency_ms=0.2)
GOOD = surveys.engine("good.engine")
CUDA = surveys.student(Path("/students/tiny.onnx"), "cuda", "this onnxruntime has no CUDA")
ALL = (CUDA, ELSEWHERE, STALE, GOOD, surveys.damaged())


def info(path: str, provider: str = "CPUExecutionProvider") -> EngineInfo:
    return EngineInfo("tiny", path, "x", provider, "fp32", 8, 1.5, 0.5, "0" * 64)


@pytest.fixture
def dialog(qtbot: QtBot) -> EngineDialog:
    window = QWidget()
    qtbot.addWidget(window)
    window.dialog = made = EngineDialog(themes.DARK, window)  # type: ignore[attr-defined]
    made.offer()
    made.keep = window  # type: ignore[attr-defined]
    return made


def cells(dialog: EngineDialog, heading: str) -> list[str]:
    """A column, from top to bottom."""
    model = dialog.table.model()
    column = HEADINGS.index(heading)
    return [str(model.index(row, column).data()) for row in range(model.rowCount())]


def choose(dialog: EngineDialog, name: str) -> None:
    model = dialog.table.model()
    for row in range(model.rowCount()):
        dialog.table.selectRow(row)
        if dialog.table.chosen is not None and dialog.table.chosen.path.name == name:
            return
    raise AssertionError(name)


def enabled(dialog: EngineDialog) -> set[str]:
    return {name for name in ("use", "check", "rebuild", "folder", "delete") if getattr(dialog, name).isEnabled()}


def test_before_the_first_look_it_says_that_it_looks(dialog: EngineDialog) -> None:
    dialog.show_survey(None, "")
    assert dialog._machine.text().startswith("Checking")
    assert enabled(dialog) == set()
    dialog.show_survey(None, "", "The ledger is damaged; delete it.")
    assert dialog._machine.text() == "The ledger is damaged; delete it."


def test_without_engines_it_says_so_and_shows_what_runs(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_GPU), "")
    assert dialog._machine.text() == "There is no NVIDIA driver here. No engine has been built yet."
    assert cells(dialog, "Backend") == ["onnxruntime 1.2.3"]
    assert cells(dialog, "State") == ["Ready"]


def test_every_way_to_run_a_student_is_a_row(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    assert cells(dialog, "State") == ["Ready", "Ready", "Stale", "Stale", "Cannot run here", "Cannot run here"]
    at = [row.path.name for row in map(dialog.table.source.row, range(6))].index("good.engine")
    row = [str(dialog.table.source.index(at, column).data()) for column in range(len(HEADINGS))]
    assert row[:-1] == [
        "Ready", "tiny", "TensorRT 11.4.0.106", "FP16", "GeForce RTX 4070", "8", "0.0012, 0 flips", "0.31 ms", "5.4 MB",
    ]  # fmt: skip
    assert row[-1].startswith("2026-11-2")


def test_each_column_sorts_by_what_it_means(dialog: EngineDialog, qtbot: QtBot) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    for heading, expected in (("Latency", "0.20 ms"), ("Size", "0 kB"), ("Parity", "0.0012, 0 flips")):
        dialog.table.sortByColumn(HEADINGS.index(heading), Qt.SortOrder.AscendingOrder)
        assert cells(dialog, heading)[0] == expected
    header = dialog.table.horizontalHeader()
    x = header.sectionPosition(1) + 5
    qtbot.mouseClick(
        header.viewport(), Qt.MouseButton.LeftButton, pos=header.rect().topLeft() + type(header.pos())(x, 5)
    )
    assert header.sortIndicatorSection() == 1


def test_the_one_in_use_says_so_and_cannot_be_deleted(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    dialog.show_in_use(info(str(GOOD.path)))
    choose(dialog, "good.engine")
    assert "In use" in cells(dialog, "State")
    assert enabled(dialog) == {"check", "rebuild", "folder"}
    dialog.show_in_use(info("/students/tiny.onnx"))
    assert enabled(dialog) == {"use", "check", "rebuild", "folder", "delete"}


@pytest.mark.parametrize(
    ("name", "may", "said"),
    [
        ("old.engine", {"check", "rebuild", "folder", "delete"}, "It was built with another version"),
        ("far.engine", {"check", "rebuild", "folder", "delete"}, "It cannot run here: TensorRT is not installed."),
        ("broken.engine", {"check", "rebuild", "folder", "delete"}, "/engines/broken.engine is cut short."),
        ("good.engine", {"use", "check", "rebuild", "folder", "delete"}, "File: /engines/good.engine"),
    ],
)
def test_the_reason_stands_first_and_only_what_can_be_done_is_offered(
    dialog: EngineDialog, name: str, may: set[str], said: str
) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    choose(dialog, name)
    assert dialog.details.text().startswith(said)
    assert enabled(dialog) == may
    assert dialog.command.isVisible() is (name == "far.engine")
    if name == "far.engine":
        assert dialog.command.content == surveys.NO_TENSORRT.install


def test_a_detector_is_no_student_to_use(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.READY, surveys.engine("centerface.engine", kind="detector")), "")
    choose(dialog, "centerface.engine")
    assert "use" not in enabled(dialog)


def test_buttons_and_double_click_say_which_engine(dialog: EngineDialog, qtbot: QtBot) -> None:
    heard: list[Any] = []
    for signal in (dialog.used, dialog.rebuilt, dialog.shown):
        signal.connect(heard.append)
    dialog.building.connect(lambda: heard.append("build"))
    dialog.refresh.connect(lambda: heard.append("again"))
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    choose(dialog, "good.engine")
    for button in (dialog.use, dialog.rebuild, dialog.folder, dialog.build, dialog.again):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    path = str(GOOD.path)
    assert heard == [GOOD, path, path, "build", "again"]
    qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
    assert heard[-1] is GOOD


def test_while_a_build_runs_no_other_is_offered(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    choose(dialog, "good.engine")
    dialog.show_building(True)
    assert "rebuild" not in enabled(dialog)
    dialog.show_building(False)
    assert "rebuild" in enabled(dialog)


def test_the_chosen_row_stays_chosen_after_another_look(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    choose(dialog, "old.engine")
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, GOOD, STALE), "")
    assert dialog.table.chosen == STALE
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, GOOD), "")
    assert dialog.table.chosen is not None


@pytest.mark.parametrize("sure", [True, False])
def test_deleting_asks(
    dialog: EngineDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sure: bool
) -> None:
    monkeypatch.setenv("DTDA_ENGINES", str(tmp_path))
    path = tmp_path / "a.engine"
    made = plan.write(path, surveys.header(), b"plan")
    store.record(made, path)
    changed: list[None] = []
    dialog.changed.connect(lambda: changed.append(None))
    row = surveys.engine_row(store.entry(path))
    dialog.show_survey(surveys.survey(surveys.READY, row), "")
    choose(dialog, "a.engine")
    qtbot.mouseClick(dialog.delete, Qt.MouseButton.LeftButton)
    question = dialog.findChild(QMessageBox)
    assert question is not None
    assert "a.engine" in question.text()
    answer = next(button for button in question.buttons() if ("Delete" in button.text()) is sure)
    qtbot.mouseClick(answer, Qt.MouseButton.LeftButton)
    assert path.exists() is not sure
    assert store.is_ours(made) is not sure
    assert bool(changed) is sure


def test_one_that_cannot_be_deleted_is_told(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    dialog._delete(GOOD)
    assert "/engines/good.engine" in dialog.details.text()


def test_check_shows_what_the_command_says(
    dialog: EngineDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "python"
    said.write_text(f'#!{sys.executable}\nimport sys\nprint("checked", sys.argv[-1])\n')
    said.chmod(0o755)
    monkeypatch.setattr("dtda.app.engine_dialog.sys.executable", str(said))
    changed: list[None] = []
    dialog.changed.connect(lambda: changed.append(None))
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    choose(dialog, "good.engine")
    qtbot.mouseClick(dialog.check, Qt.MouseButton.LeftButton)
    assert dialog.details.text().startswith("Checking…")
    assert not dialog.check.isEnabled()
    qtbot.waitUntil(lambda: bool(changed))
    assert dialog.details.text().startswith(f"Checked: checked {GOOD.path}\n")
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    assert dialog.details.text().startswith("Checked: ")
    assert dialog.check.isEnabled()
    choose(dialog, "tiny.onnx")
    assert not dialog.details.text().startswith("Checked: ")


def test_a_check_ends_with_the_dialog(
    dialog: EngineDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    slow.chmod(0o755)
    monkeypatch.setattr("dtda.app.engine_dialog.sys.executable", str(slow))
    dialog.show_survey(surveys.survey(surveys.READY, GOOD), "")
    choose(dialog, "good.engine")
    qtbot.mouseClick(dialog.check, Qt.MouseButton.LeftButton)
    checker = dialog._checker
    assert checker is not None
    dialog.close()
    assert checker.state() is checker.ProcessState.NotRunning


def test_states_differ_by_shape_and_words_not_by_colour_alone(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    shapes = set()
    for state in ("ready", "elsewhere", "stale"):
        picture = dialog.table.source._icons[state].pixmap(20, 20).toImage()
        shapes.add(tuple(picture.pixelColor(x, y).alpha() > 128 for x in range(20) for y in range(20)))
    assert len(shapes) == 3
    assert len(set(cells(dialog, "State"))) == 3


@pytest.mark.parametrize("theme", themes.NAMED.values())
def test_texts_can_be_read_in_each_theme(theme: themes.Theme) -> None:
    """WCAG 2.1 asks for a contrast of 4.5 for text, and of 7 at its highest level."""
    for front, ground in (
        (theme.text, theme.surface),
        (theme.muted, theme.surface),
        (theme.muted, theme.window),
        (theme.window, theme.accent),
        (theme.error, theme.window),
    ):
        assert contrast(front, ground) >= (7 if theme is themes.CONTRAST else 4.5), (front, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, relative luminance and contrast ratio."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_numbers_stand_right_and_the_theme_can_change(dialog: EngineDialog) -> None:
    dialog.show_survey(surveys.survey(surveys.NO_TENSORRT, *ALL), "")
    index = dialog.table.source.index(0, min(RIGHT))
    assert index.data(Qt.ItemDataRole.TextAlignmentRole) & Qt.AlignmentFlag.AlignRight
    before = dialog.table.source.index(0, STATE).data(Qt.ItemDataRole.DecorationRole).cacheKey()
    dialog.set_theme(themes.LIGHT)
    assert dialog.table.source.index(0, STATE).data(Qt.ItemDataRole.DecorationRole).cacheKey() != before
