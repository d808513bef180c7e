"""The player against a source made here: order, pace, seeking, clips, a camera that goes and comes back."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from dtda.app import capture
from dtda.app.capture import Player
from dtda.app.mailbox import Mailbox
from dtda.app.records import CLIP, Shot
from dtda.core.errors import DtdaError
from dtda.core.types import Frame

PIXEL = np.zeros((1, 1, 3), np.uint8)


class Clips:
    """A source of numbered frames. `broken` raises at every read or select of that clip, `torn` ones at read."""

    def __init__(
        self,
        lengths: dict[str, int],
        live: bool = False,
        fps: float = 500.0,
        broken: str = "",
        torn: Sequence[str] = (),
    ) -> None:
        self.torn = torn
        self.skipped: Sequence[str] = ()
        self.title, self.live, self.fps, self.broken = "clips", live, fps, broken
        self.clips = tuple(lengths)
        self._lengths = lengths
        self.clip, self.closed, self.gone = 0, False, False
        self._next = 0

    @property
    def length(self) -> int | None:
        return None if self.live else self._lengths[self.clips[self.clip]]

    def read(self) -> Frame | None:
        if self.gone or self.clips[self.clip] == self.broken:
            raise DtdaError("clips: gone; plug it in.")
        if self.clips[self.clip] in self.torn:
            raise DtdaError(f"{self.clips[self.clip]}: no frame of it can be decoded.")
        if self.live:
            time.sleep(0.002)
        elif self._next >= (self.length or 0):
            return None
        self._next += 1
        return Frame(self._next - 1, (self._next - 1) / 500, PIXEL, time.perf_counter(), self.clips[self.clip])

    def seek(self, index: int) -> None:
        self._next = index

    def select(self, clip: int) -> None:
        if self.clips[clip] == self.broken:
            raise DtdaError("bad: cannot be read; copy it again.")
        self.clip, self._next = clip, 0

    def close(self) -> None:
        self.closed = True


Start = Callable[..., tuple[Player, Mailbox[Shot]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(source, warm_up=0) -> a player that has been asked to open it, and its mailbox."""
    players = []

    def begin(source: Clips, warm_up: int = 0) -> tuple[Player, Mailbox[Shot]]:
        box: Mailbox[Shot] = Mailbox()
        player = Player(box, lambda spec: source, warm_up=warm_up)
        players.append(player)
        player.start()
        player.open("x")
        return player, box

    yield begin
    for player in players:
        player.stop()
        player.join(2)
        assert not player.is_alive()


def until(true: Callable[[], object], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def take(box: Mailbox[Shot], count: int) -> list[int]:
    return [box.get(2).frame.index for _ in range(count)]


def test_every_frame_of_a_file_arrives_in_order_however_slow_the_reader(start: Start) -> None:
    player, box = start(Clips({"a": 20}))
    seen = []
    for _ in range(20):
        time.sleep(0.003)
        seen.append(box.get(2).frame.index)
    assert seen == list(range(20))
    assert player.state.dropped == 0


def test_files_are_paced_by_their_rate_and_the_speed(start: Start) -> None:
    player, box = start(Clips({"a": 100}, fps=50))
    take(box, 1)

    def seconds() -> float:
        began = time.perf_counter()
        take(box, 10)
        return time.perf_counter() - began

    normal = [seconds() for _ in range(3)]  # the best of three: a busy machine delays frames, none hastens them
    player.set_speed(4)
    take(box, 2)
    fast = [seconds() for _ in range(3)]
    assert min(normal) == pytest.approx(0.2, abs=0.05)
    assert min(fast) == pytest.approx(0.05, abs=0.05)


def test_a_live_source_drops_unread_frames_and_counts_them(start: Start) -> None:
    player, box = start(Clips({"cam": 0}, live=True))
    until(lambda: player.state.dropped >= 5)
    shot = box.get(1)
    assert shot.live
    assert shot.frame.index - shot.dropped in (0, 1)  # all before this one were replaced, itself not counted yet


def test_pause_holds_and_play_goes_on_where_it_was(start: Start) -> None:
    player, box = start(Clips({"a": 200}))
    take(box, 3)
    player.pause()
    until(lambda: not player.state.playing or drain(box))
    rest = drain(box)
    with pytest.raises(queue.Empty):
        box.get(0.05)
    player.play()
    assert box.get(2).frame.index == (rest[-1] if rest else 2) + 1


def drain(box: Mailbox[Shot]) -> list[int]:
    seen = []
    while True:
        try:
            seen.append(box.get(0.05).frame.index)
        except queue.Empty:
            return seen


def paused(start: Start, length: int = 50, warm_up: int = 0) -> tuple[Player, Mailbox[Shot]]:
    player, box = start(Clips({"a": length}), warm_up)
    take(box, 1)
    player.pause()
    drain(box)
    return player, box


def test_steps_pause_and_move_one_frame(start: Start) -> None:
    player, box = paused(start)
    player.seek(10)
    assert box.get(2).frame.index == 10
    player.step(1)
    assert box.get(2).frame.index == 11
    player.step(-1)
    assert box.get(2).frame.index == 10
    assert not player.state.playing


def test_a_step_forward_keeps_the_tracks_and_a_step_back_does_not(start: Start) -> None:
    player, box = paused(start)
    player.seek(10)
    take = box.get(2).take
    player.step(1)
    assert box.get(2).take == take
    player.step(-1)
    assert box.get(2).take > take


def test_a_seek_is_held_within_the_clip(start: Start) -> None:
    player, box = paused(start)
    player.seek(10_000)
    assert box.get(2).frame.index == 49
    player.seek(-3)
    assert box.get(2).frame.index == 0


def test_a_seek_while_paused_warms_up_on_the_frames_before(start: Start) -> None:
    player, box = paused(start, warm_up=3)
    player.seek(10)
    shots = [box.get(2) for _ in range(4)]
    assert [(shot.frame.index, shot.shown) for shot in shots] == [(7, False), (8, False), (9, False), (10, True)]
    assert len({shot.take for shot in shots}) == 1


def test_of_many_seeks_only_the_last_waiting_one_is_obeyed(start: Start) -> None:
    box: Mailbox[Shot] = Mailbox()
    player = Player(box, lambda spec: Clips({"a": 50}))
    player.open("x")
    player.pause()
    for index in range(40):
        player.seek(index)
    player.start()
    assert box.get(2).frame.index == 39
    assert drain(box) == []
    player.stop()
    player.join(2)


def test_clips_follow_one_another_and_the_end_is_told_once(start: Start) -> None:
    player, box = start(Clips({"a": 3, "b": 2}))
    assert [(s.frame.clip, s.frame.index) for s in (box.get(2) for _ in range(5))] == [
        ("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1),
    ]  # fmt: skip
    until(lambda: player.state.ended)
    notices = player.notices()
    assert [notice.level for notice in notices] == ["info"]
    assert "ended" in notices[0].text
    assert "Space" in notices[0].text
    player.play()  # from the first clip again
    assert box.get(2).frame.clip == "a"


def test_loop_starts_again_after_the_last_clip(start: Start) -> None:
    player, box = start(Clips({"a": 2, "b": 2}))
    player.set_loop(True)
    assert [(s.frame.clip, s.frame.index) for s in (box.get(2) for _ in range(6))][3:] == [("b", 1), ("a", 0), ("a", 1)]
    assert player.notices() == []


def test_turning_loop_on_after_the_end_plays_again(start: Start) -> None:
    player, box = start(Clips({"a": 2}))
    take(box, 2)
    until(lambda: player.state.ended)
    player.set_loop(True)
    assert take(box, 3) == [0, 1, 0]


def test_the_sample_goes_on_only_where_it_stands_in_for_a_camera() -> None:
    for wish, loops in (("?", True), ("sample", False)):
        box: Mailbox[Shot] = Mailbox()
        player = Player(box, lambda spec: Clips({"a": 5}), resolve=lambda wish: "sample")
        player.start()
        player.open(wish)
        take(box, 1)
        assert player.state.loop is loops
        player.stop()
        player.join(2)


def test_next_and_previous_clip_go_round(start: Start) -> None:
    player, box = start(Clips({"a": 500, "b": 500, "c": 500}))
    take(box, 2)
    player.pause()
    drain(box)
    player.move_clip(-1)
    assert box.get(2).frame.clip == "c"
    player.move_clip(1)
    shot = box.get(2)
    assert (shot.frame.clip, shot.frame.index) == ("a", 0)


def test_an_unreadable_clip_is_told_and_passed_over(start: Start) -> None:
    player, box = start(Clips({"a": 2, "bad": 2, "c": 2}, broken="bad"))
    assert [box.get(2).frame.clip for _ in range(4)] == ["a", "a", "c", "c"]
    assert [notice.text for notice in player.notices() if notice.level == "error"] == [
        "bad: cannot be read; copy it again."
    ]


def told(player: Player) -> list[tuple[str, str]]:
    return [(notice.text, notice.topic) for notice in player.notices() if notice.level == "error"]


def test_a_clip_that_breaks_while_it_is_read_does_not_end_the_folder(start: Start) -> None:
    player, box = start(Clips({"a": 2, "bad": 2, "c": 2}, torn=["bad"]))
    player.set_loop(True)
    assert [box.get(2).frame.clip for _ in range(8)] == ["a", "a", "c", "c"] * 2
    assert told(player) == [("bad: no frame of it can be decoded.", CLIP)]


def test_a_folder_without_any_readable_clip_ends_with_a_word(start: Start) -> None:
    player, _ = start(Clips({"a": 2, "b": 2}, torn=["a", "b"]))
    player.set_loop(True)
    until(lambda: player.state.ended and not player.state.playing)
    assert [topic for _, topic in told(player)] == [CLIP, CLIP, "source"]


@pytest.mark.parametrize(
    ("count", "words"), [(1, "a0: why"), (2, "a0, a1 cannot"), (8, "a0, a1, a2, a3, a4 and 3 more")]
)
def test_clips_passed_over_on_opening_are_named(count: int, words: str, start: Start) -> None:
    source = Clips({f"a{i}": 1 for i in range(count + 1)})
    source.clip, source.skipped = count, [f"a{i}: why" for i in range(count)]
    player, box = start(source)
    assert box.get(2).frame.clip == f"a{count}"
    ((text, topic),) = told(player)
    assert text.startswith(words)
    assert "a0: why" in text
    assert topic == CLIP


def test_the_next_clip_is_the_next_that_can_be_read(start: Start) -> None:
    player, box = start(Clips({"a": 500, "bad": 500, "c": 500}, broken="bad"))
    take(box, 2)
    player.pause()
    drain(box)
    player.move_clip(1)
    assert box.get(2).frame.clip == "c"
    player.move_clip(-1)
    assert box.get(2).frame.clip == "a"
    assert [topic for _, topic in told(player)] == [CLIP, CLIP]


def test_a_file_that_breaks_is_told_and_another_can_be_opened() -> None:
    box: Mailbox[Shot] = Mailbox()
    sources = {"broken": Clips({"a": 5}, broken="a"), "fine": Clips({"a": 5})}
    player = Player(box, sources.__getitem__)
    player.start()
    player.open("broken")
    until(lambda: not player.state.playing)
    assert [notice.level for notice in player.notices()] == ["error"]
    player.open("fine")
    assert box.get(2).frame.index == 0
    assert sources["broken"].closed
    player.stop()
    player.join(2)
    assert sources["fine"].closed


def test_a_source_that_cannot_be_opened_leaves_the_one_that_plays() -> None:
    def opener(spec: str) -> Clips:
        if spec == "missing":
            raise DtdaError("missing: no such file.")
        return Clips({"a": 5000})

    box: Mailbox[Shot] = Mailbox()
    player = Player(box, opener)
    player.start()
    player.open("fine")
    take(box, 1)
    player.open("missing")
    notices: list[str] = []
    while not notices:
        take(box, 1)
        notices = [notice.text for notice in player.notices()]
    assert notices == ["missing: no such file."]
    assert player.state.spec == "fine"
    player.stop()
    player.join(2)


def test_a_file_whose_name_begins_like_a_camera_does_not_stop_the_camera_before_it_is_open() -> None:
    camera = Clips({"cam": 0}, live=True)
    open_at_the_time = []

    def opener(spec: str) -> Clips:
        if spec == "camera:0":
            return camera
        open_at_the_time.append(not camera.closed)
        return Clips({"a": 5000})

    box: Mailbox[Shot] = Mailbox()
    player = Player(box, opener)
    player.start()
    for spec in ("camera:0", "camera-roll.mp4"):
        player.open(spec)
        until(lambda spec=spec: player.state.spec == spec)
    assert open_at_the_time == [True]
    player.stop()
    player.join(2)


def test_a_vanished_camera_is_retried_and_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "RETRY_S", 0.05)
    there, opened = [True], []

    def opener(spec: str) -> Clips:
        opened.append(spec)
        if not there[0]:
            raise DtdaError("no camera.")
        made.append(Clips({"cam": 0}, live=True))
        return made[-1]

    made: list[Clips] = []
    box: Mailbox[Shot] = Mailbox()
    player = Player(box, opener, resolve=lambda wish: "camera:0")
    player.start()
    player.open("?")
    first = box.get(2)
    there[0] = False
    made[0].gone = True
    until(lambda: player.state.vanished)
    assert made[0].closed
    notice = player.notices()[-1]
    assert notice.level == "warn"
    assert "Trying again" in notice.text
    until(lambda: len(opened) >= 3)
    there[0] = True
    until(lambda: not player.state.vanished)
    drained = box.get(2)
    until(lambda: box.get(2).take > first.take)
    assert drained.live
    assert player.notices()[-1].text == "clips is back."
    assert set(opened) == {"camera:0"}  # what was resolved once is waited for, not replaced
    player.stop()
    player.join(2)


def test_stopping_is_quick_while_the_reader_is_busy_and_leaves_no_thread(start: Start) -> None:
    before = set(threading.enumerate())
    player, _ = start(Clips({"a": 100}))
    time.sleep(0.05)  # it waits for the slot
    began = time.perf_counter()
    player.stop()
    player.join(2)
    assert time.perf_counter() - began < 0.5
    assert set(threading.enumerate()) <= before


def test_an_error_that_is_no_dtda_error_is_told_as_a_sentence(start: Start) -> None:
    class Odd(Clips):
        def read(self) -> Frame | None:
            raise RuntimeError("boom")

    player, _ = start(Odd({"a": 3}))
    until(lambda: not player.state.playing)
    assert "boom" in player.notices()[0].text


def test_a_single_picture_ends_without_a_word(start: Start) -> None:
    player, box = start(Clips({"a": 1}))
    player.set_speed(4)
    assert box.get(2).length == 1
    until(lambda: player.state.ended)
    assert player.notices() == []


def test_a_stream_that_ends_is_told_once_and_play_opens_it_again() -> None:
    class Ending(Clips):
        def read(self) -> Frame | None:
            return None if self._next >= 3 else super().read()

    opened: list[Ending] = []

    def opener(spec: str) -> Ending:
        opened.append(Ending({"cam": 0}, live=True))
        return opened[-1]

    box: Mailbox[Shot] = Mailbox()
    player = Player(box, opener)
    player.start()
    player.open("http://x")
    until(lambda: player.state.ended)
    time.sleep(0.05)
    assert [notice.topic for notice in player.notices()] == ["end"]
    assert opened[0].closed
    player.play()
    until(lambda: len(opened) == 2 and player.state.ended)
    player.stop()
    player.join(2)


def test_judging_again_at_the_end_does_not_lose_the_end(start: Start) -> None:
    player, box = start(Clips({"a": 3}))
    take(box, 3)
    until(lambda: player.state.ended)
    player.refresh()
    assert box.get(2).frame.index == 2
    until(lambda: player.state.ended)
    player.play()
    assert box.get(2).frame.index == 0


def test_a_seek_is_not_lost_to_a_new_judgement(start: Start) -> None:
    player, box = paused(start)
    player.seek(30)
    player.refresh()
    assert box.get(2).frame.index == 30
    assert box.get(2).frame.index == 30


def test_a_newer_seek_cuts_the_warm_up_of_the_older_short(start: Start) -> None:
    player, box = paused(start, length=200, warm_up=40)
    player.seek(100)
    assert box.get(2).frame.index == 60
    player.seek(150)
    seen = drain(box)
    assert seen[-1] == 150
    assert 100 not in seen


def test_the_threads_and_what_they_pass_do_without_qt() -> None:
    code = (
        "import sys, dtda.app.capture, dtda.app.workers, dtda.app.series, dtda.app.tally; "
        "print([name for name in sys.modules if name.startswith(('PySide6', 'pyqtgraph'))])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
