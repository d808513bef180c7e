"""The first page of the build dialog: which student, how precise, for which GPU, compared on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from dtda.app import engine_texts as texts
from dtda.app.machine_note import MachineNote, muted

if TYPE_CHECKING:
    from dtda.app.inventory import Survey

MOST_FACES = 64
DETECTOR = "centerface"  # as `dtda engine build` calls it
PICTURES = "Pictures and videos (*.png *.jpg *.jpeg *.bmp *.webp *.mp4 *.avi *.mov *.mkv);;All files (*)"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to build. targets: compute capabilities, empty for the GPU that is here. frames: pictures and clips to
    calibrate and compare with, besides the sample. out: path of the engine to replace, "" for a new one.
    """

    student: str
    precision: str = "fp16"
    max_batch: int = 8
    targets: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    out: str = ""


class BuildForm(QWidget):
    """changed: `ready` may have."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._frames: tuple[str, ...] = ()
        self._out = ""
        self._survey: Survey | None = None
        self.machine = MachineNote()
        self.remark = QLabel(wordWrap=True)
        self.remark.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.remark.hide()
        self.student = QComboBox()
        self.student.setAccessibleName("Student")
        self.student.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.browse = QPushButton("Other file…")
        self.browse.clicked.connect(self._browse)
        self.batch = QSpinBox(minimum=1, maximum=MOST_FACES, value=8)
        self.batch.setAccessibleName("Faces at once")
        self.target = QComboBox()
        self.target.setAccessibleName("GPU to build for")
        for capabilities, cards in texts.TARGETS.items():
            self.target.addItem(f"{cards}  ({capabilities.replace(',', ', ')})", tuple(capabilities.split(",")))
        self._extra = QLabel(wordWrap=True)
        self._extra.setObjectName("muted")
        self.add = QPushButton("Add files…")
        self.add.clicked.connect(self._add)
        self.add_folder = QPushButton("Add folder…")
        self.add_folder.clicked.connect(self._add_folder)
        self.clear = QPushButton("Clear")
        self.clear.clicked.connect(lambda: self.use_frames(()))
        self.student.currentIndexChanged.connect(lambda: self.changed.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(self.machine)
        layout.addWidget(self.remark)
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self._form.setVerticalSpacing(10)
        self._form.setHorizontalSpacing(16)
        self._add_row("&Student", _row(self.student, self.browse), self.student)
        self._form.addRow("Precision", self._precision_rows())
        all_faces = muted("all faces of a frame go in one call, up to this many")
        self._add_row("&Faces at once", _row(self.batch, all_faces), self.batch)
        self._target_row = _row(self.target)
        self._add_row("&GPU", self._target_row, self.target)
        frames = QWidget()
        column = QVBoxLayout(frames)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self._extra)
        column.addWidget(_row(self.add, self.add_folder, self.clear, stretch=True))
        self._form.addRow("Faces to\ncompare on", frames)
        layout.addLayout(self._form)
        layout.addStretch(1)
        self.use_frames(())
        self.show_survey(None, "")

    def _add_row(self, title: str, field: QWidget, buddy: QWidget) -> None:
        """buddy: the part of the field that the letter of the title leads to."""
        label = QLabel(title)
        label.setBuddy(buddy)
        self._form.addRow(label, field)

    def _precision_rows(self) -> QWidget:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self._precision = QButtonGroup(self)
        for row, (name, line) in enumerate(texts.PRECISIONS.items()):
            button = QRadioButton(name.upper())
            button.setProperty("precision", name)
            button.setAccessibleDescription(line)
            self._precision.addButton(button, row)
            grid.addWidget(button, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(muted(line), row, 1)
        self.use_precision("fp16")
        return box

    # -- what it says ---------------------------------------------------------------------------------------------

    @property
    def precision(self) -> str:
        return next(str(b.property("precision")) for b in self._precision.buttons() if b.isChecked())

    @property
    def ready(self) -> bool:
        """Whether a build can begin."""
        return self._survey is not None and self._survey.probe.can_build and bool(self.student.currentData())

    def wish(self) -> Wish:
        targets = () if self._target_row.isHidden() else self.target.currentData()
        return Wish(
            str(self.student.currentData()), self.precision, self.batch.value(), targets, self._frames, self._out
        )

    # -- what it is told ------------------------------------------------------------------------------------------

    def show_survey(self, survey: Survey | None, in_use: str, error: str = "") -> None:
        """survey: None while it is being made, or when that failed. in_use: path of the student or engine that runs."""
        self._survey = survey
        self.machine.show_survey(survey, error)
        if survey is not None:
            chosen = self.student.currentData()
            row = survey.row(in_use)
            if chosen is None and row is not None:
                chosen = str(row.path) if row.header is None else row.header.onnx_path
            for row in survey.rows:
                if row.provider == "cpu" and row.path.suffix == ".onnx" and self.student.findData(str(row.path)) < 0:
                    self.student.addItem(f"{row.student}  ({row.path.name})", str(row.path))
            if self.student.findData(DETECTOR) < 0:
                self.student.addItem("CenterFace, the face detector", DETECTOR)
            self.student.setCurrentIndex(max(0, self.student.findData(chosen)))
        self._form.setRowVisible(self._target_row, survey is not None and not survey.probe.gpu)
        self.changed.emit()

    def use_wish(self, wish: Wish, remark: str = "") -> None:
        """Fill in what was built before. remark: what the user has to know or to choose."""
        self.remark.setText(remark)
        self.remark.setVisible(bool(remark))
        if wish.student:
            self.use_student(wish.student)
        else:
            self.student.setCurrentIndex(-1)
        self.use_precision(wish.precision)
        self.batch.setValue(wish.max_batch)
        self.use_frames(wish.frames)
        at = self.target.findData(wish.targets)
        if at < 0 and wish.targets:
            self.target.addItem(", ".join(wish.targets), wish.targets)
            at = self.target.count() - 1
        self.target.setCurrentIndex(max(0, at))
        self._out = wish.out

    def use_precision(self, name: str) -> None:
        for button in self._precision.buttons():
            button.setChecked(button.property("precision") == name)

    def use_student(self, path: str) -> None:
        if self.student.findData(path) < 0:
            self.student.addItem(Path(path).name, path)
        self.student.setCurrentIndex(self.student.findData(path))

    def use_frames(self, frames: tuple[str, ...]) -> None:
        self._frames = tuple(dict.fromkeys(frames))
        names = ", ".join(Path(path).name for path in self._frames[:4])
        more = f" and {len(self._frames) - 4} more" if len(self._frames) > 4 else ""
        self._extra.setText(
            f"The sample clips, and {names}{more}."
            if self._frames
            else "The sample clips. Pictures or videos from your own camera make the comparison count for it."
        )
        self.clear.setEnabled(bool(self._frames))

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Student to build from", "", "Students (*.onnx);;All files (*)")
        if path:
            self._out = ""
            self.use_student(path)

    def _add(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Pictures and videos with faces", "", PICTURES)
        self.use_frames((*self._frames, *paths))

    def _add_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of pictures and videos with faces")
        self.use_frames((*self._frames, *([path] if path else [])))


def _row(*widgets: QWidget, stretch: bool = False) -> QWidget:
    """Side by side, no margins; a stretch at the end where asked for."""
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, 1 if isinstance(widget, (QComboBox, QLabel)) else 0)
    if stretch:
        layout.addStretch(1)
    return box
