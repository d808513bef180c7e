"""Looking at the machine beside the window: one look at a time, failures as sentences."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import surveys
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from dtda.app.inventory import Survey
from dtda.app.surveyor import Surveyor
from dtda.core.errors import DtdaError


class Looker:
    """Waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.asked: list[tuple[tuple[str, ...], bool]] = []
        self.error: Exception | None = None

    def __call__(self, paths: tuple[str, ...], refresh: bool) -> Survey:
        self.asked.append((paths, refresh))
        self.go.wait(3)
        if self.error is not None:
            raise self.error
        return surveys.survey(surveys.NO_GPU)


@pytest.fixture
def looker() -> Looker:
    return Looker()


@pytest.fixture
def surveyor(qtbot: QtBot, looker: Looker) -> Iterator[Surveyor]:
    parent = QObject()
    made = Surveyor(parent, looker)
    yield made
    looker.go.set()
    made.close(3)


def test_it_looks_in_a_thread_and_tells(surveyor: Surveyor, looker: Looker, qtbot: QtBot) -> None:
    looker.go.clear()
    told: list[bool] = []
    surveyor.changed.connect(lambda: told.append(surveyor.busy))
    surveyor.look(("a",), refresh=True)
    assert (surveyor.busy, surveyor.survey) == (True, None)
    looker.go.set()
    qtbot.waitUntil(lambda: not surveyor.busy)
    assert surveyor.survey == surveys.survey(surveys.NO_GPU)
    assert looker.asked == [(("a",), True)]
    assert told == [True, False]


def test_looks_asked_for_meanwhile_are_one_more(surveyor: Surveyor, looker: Looker, qtbot: QtBot) -> None:
    looker.go.clear()
    for name in "abc":
        surveyor.look((name,))
    looker.go.set()
    qtbot.waitUntil(lambda: not surveyor.busy)
    assert [paths for paths, _ in looker.asked] == [("a",), ("c",)]


@pytest.mark.parametrize(
    ("error", "said"), [(DtdaError("The ledger is damaged; delete it."), "The ledger"), (KeyError("x"), "KeyError")]
)
def test_a_failure_is_a_sentence_and_the_next_look_may_work(
    surveyor: Surveyor, looker: Looker, qtbot: QtBot, error: Exception, said: str
) -> None:
    looker.error = error
    surveyor.look()
    qtbot.waitUntil(lambda: not surveyor.busy)
    assert said in surveyor.error
    looker.error = None
    surveyor.look()
    qtbot.waitUntil(lambda: not surveyor.busy)
    assert surveyor.error == ""


def test_closing_waits_for_the_look_and_nothing_is_told_after(surveyor: Surveyor, looker: Looker, qtbot: QtBot) -> None:
    looker.go.clear()
    surveyor.look()
    told: list[None] = []
    surveyor.changed.connect(lambda: told.append(None))
    looker.go.set()
    surveyor.close(3)
    qtbot.wait(20)
    assert told == []
