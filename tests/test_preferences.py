"""What is remembered between starts, and what damaged settings do."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QSettings

from dtda.app.preferences import RECENT, Preferences
from dtda.app.records import PlayerState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.ini"


def fresh(path: Path) -> Preferences:
    return Preferences(QSettings(str(path), QSettings.Format.IniFormat))


def test_values_read_the_same_before_and_after_a_restart(path: Path) -> None:
    first = fresh(path)
    first.store({"a/speed": 2.0, "a/loop": True, "a/one": ["x"], "a/two": ["x", "y"], "a/none": [], "a/text": "1,5"})
    for preferences in (first, fresh(path)):
        assert preferences.number("a/speed", 1.0) == 2.0
        assert preferences.flag("a/loop") is True
        assert preferences.flag("a/missing") is False
        assert preferences.words("a/one") == ["x"]
        assert preferences.words("a/two") == ["x", "y"]
        assert preferences.words("a/none") == []


def test_a_threshold_belongs_to_the_engine_it_was_set_for(path: Path) -> None:
    fresh(path).store_threshold("a.onnx", 0.7)
    assert fresh(path).threshold("a.onnx") == 0.7
    assert fresh(path).threshold("auto") is None
    fresh(path).store_threshold("a.onnx", None)
    assert fresh(path).threshold("a.onnx") is None


def test_damaged_settings_cost_their_values_only(path: Path) -> None:
    path.write_text("[play]\nspeed=fast\nloop=perhaps\n[engine]\nthreshold=7\nthreshold_of=auto\n[view]\nleft=junk\n")
    preferences = fresh(path)
    assert preferences.number("play/speed", 1.0) == 1.0
    assert preferences.flag("play/loop") is False
    assert preferences.threshold("auto") is None
    assert preferences.layout("view/left") is None


def test_sources_are_remembered_newest_first_and_without_passwords(path: Path) -> None:
    preferences = fresh(path)
    for spec in ("sample", "camera:2", "rtsp://me:secret@cam/1", *(f"{n}.mp4" for n in range(10)), "3.mp4"):
        preferences.remember_source(PlayerState(spec=spec))
    recent = preferences.words("source/recent")
    assert recent[:3] == [str(Path(name).absolute()) for name in ("3.mp4", "9.mp4", "8.mp4")]
    assert len(recent) == RECENT
    assert preferences.text("source/camera") == "camera:2"
    assert "secret" not in path.read_text("utf-8")


def test_files_are_remembered_by_where_they_are(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preferences = fresh(path)
    for spec in ("camera", "camera-roll.mp4", "http://host/a.mp4", str(tmp_path / "camera-roll.mp4")):
        preferences.remember_source(PlayerState(spec=spec))
    assert preferences.words("source/recent") == [str(tmp_path / "camera-roll.mp4"), "http://host/a.mp4"]
    assert preferences.text("source/last") == str(tmp_path / "camera-roll.mp4")
    assert preferences.text("source/camera") == "camera"
