"""The transport bar: play, step, seek, clips, speed and loop. It shows the player's state and sends it orders."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, QSize, Qt
from PySide6.QtGui import QColor, QMouseEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QStyle, QStyleOptionSlider, QToolButton, QWidget

from dtda.app.capture import SPEEDS, Player
from dtda.app.icons import icon
from dtda.app.records import PlayerState
from dtda.app.theme import Theme


class TransportBar(QWidget):
    """For files all of it; for live sources play and pause only."""

    def __init__(self, player: Player, theme: Theme) -> None:
        super().__init__()
        self._player = player
        self._clips_shown: tuple[str, ...] = ()
        self._shown: PlayerState | None = None
        self.setObjectName("bar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._previous = self._button("previous", "Previous clip (P)", lambda: player.move_clip(-1))
        self._back = self._button("back", "Step back (Left)", lambda: player.step(-1))
        self.play = self._button("pause", "Pause (Space)", self.toggle)
        self._forward = self._button("forward", "Step forward (Right)", lambda: player.step(1))
        self._next = self._button("next", "Next clip (N)", lambda: player.move_clip(1))
        self.slider = _SeekSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Position")
        self.slider.valueChanged.connect(player.seek)
        self.time = QLabel()
        self.time.setObjectName("muted")
        self.clips = QComboBox()
        self.clips.setToolTip("Clip")
        self.clips.setAccessibleName("Clip")
        self.clips.activated.connect(player.select)
        self.clips.setMaximumWidth(150)
        self.speed = QComboBox()
        self.speed.setToolTip("Speed ([ and ])")
        self.speed.setAccessibleName("Speed")
        for speed in SPEEDS:
            self.speed.addItem(f"{speed:g}×", speed)
        self.speed.activated.connect(lambda index: player.set_speed(SPEEDS[index]))
        self.loop = self._button("loop", "Loop (L)", self._loop_clicked)
        self.loop.setCheckable(True)
        self._row = layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 5, 10, 5)
        layout.setSpacing(3)
        for button in (self._previous, self._back, self.play, self._forward, self._next):
            layout.addWidget(button)
        layout.addSpacing(6)
        layout.addWidget(self.slider, 1)
        layout.addSpacing(6)
        layout.addWidget(self.time)
        layout.addSpacing(8)
        for widget in (self.clips, self.speed, self.loop):
            layout.addWidget(widget)
        self.set_theme(theme)
        self.show_state(PlayerState())

    def toggle(self) -> None:
        if self._player.state.playing:
            self._player.pause()
        else:
            self._player.play()

    def _loop_clicked(self) -> None:
        self._player.set_loop(self.loop.isChecked())

    def nudge_speed(self, by: int) -> None:
        """by: 1 faster, -1 slower."""
        index = min(max(SPEEDS.index(self._nearest_speed()) + by, 0), len(SPEEDS) - 1)
        self._player.set_speed(SPEEDS[index])

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        for button in (self._previous, self._back, self.play, self._forward, self._next):
            button.setIcon(icon(button.objectName(), QColor(theme.text)))
        self._color_loop()

    def show_state(self, state: PlayerState) -> None:
        facts = replace(state, index=0, dropped=0, take=0)
        if facts == self._shown:  # asked for every frame; most change nothing here
            return
        self._shown = facts
        file = state.open and not state.live
        for widget in (self._back, self._forward, self.slider, self.speed, self.loop):
            widget.setVisible(file)
        for widget in (self._previous, self._next, self.clips):
            widget.setVisible(file and len(state.clips) > 1)
        self.play.setEnabled(state.open)
        wanted = "pause" if state.playing else "play"
        if self.play.objectName() != wanted:
            self.play.setObjectName(wanted)
            self.play.setIcon(icon(wanted, QColor(self._theme.text)))
            self.play.setToolTip("Pause (Space)" if state.playing else "Play (Space)")
        self._show_clips(state)
        self.speed.setCurrentIndex(SPEEDS.index(self._nearest_speed()))
        if self.loop.isChecked() != state.loop:
            self.loop.setChecked(state.loop)
        self._color_loop()
        if not state.live:
            self.time.setText(_time(state) if state.open else "")
        elif state.vanished:
            self.time.setText("waiting for it to come back")
        else:
            self.time.setText("live" if state.playing else "paused; the camera goes on")
        self._row.setAlignment(self.time, Qt.AlignmentFlag.AlignLeft if state.live else Qt.AlignmentFlag(0))

    def show_position(self, index: int) -> None:
        """index: of the frame on screen."""
        state = self._player.state
        if not self.slider.isSliderDown():
            with QSignalBlocker(self.slider):
                self.slider.setRange(0, max((state.length or 1) - 1, 0))
                self.slider.setValue(index)
        if not state.live:
            self.time.setText(_time(state, index))

    def _nearest_speed(self) -> float:
        return min(SPEEDS, key=lambda speed: abs(speed - self._player.state.speed))

    def _show_clips(self, state: PlayerState) -> None:
        if state.clips != self._clips_shown:
            self._clips_shown = state.clips
            self.clips.clear()
            self.clips.addItems(state.clips)
        if self.clips.currentIndex() != state.clip:
            self.clips.setCurrentIndex(state.clip)

    def _color_loop(self) -> None:
        self.loop.setIcon(icon("loop", QColor(self._theme.accent if self.loop.isChecked() else self._theme.muted)))

    def _button(self, name: str, tip: str, action: object) -> QToolButton:
        button = QToolButton()
        button.setToolTip(tip)
        button.setObjectName(name)
        button.setIconSize(QSize(20, 20))
        button.setAccessibleName(tip)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(action)
        return button


class _SeekSlider(QSlider):
    """Goes where it is clicked, not a page towards it."""

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            option = QStyleOptionSlider()
            self.initStyleOption(option)
            part = QStyle.SubControl.SC_SliderHandle
            handle = self.style().subControlRect(QStyle.ComplexControl.CC_Slider, option, part, self)
            room = self.width() - handle.width()
            at = round(event.position().x() - handle.width() / 2)
            self.setValue(QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), at, room))
        super().mousePressEvent(event)


def _time(state: PlayerState, index: int | None = None) -> str:
    """Position and length, in minutes and seconds, or in frames where the rate is unknown."""
    index = max(state.index if index is None else index, 0)
    if state.length == 1:
        return "picture"
    if not state.fps:
        return f"frame {index + 1}" + (f" / {state.length}" if state.length else "")
    end = f" / {_clock(state.length / state.fps)}" if state.length else ""
    return _clock(index / state.fps) + end


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
