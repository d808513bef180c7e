"""The capture thread: plays a source into a one-slot mailbox, with pause, seek, step, speed, loop and clips. No Qt.

Files wait for the reader, so no frame is lost; cameras replace the unread frame and count it as dropped. Whatever goes
wrong becomes a `Notice`, and the thread stays usable: another source can be opened, a vanished camera is retried.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dtda.app.mailbox import Closed, Mailbox
from dtda.app.records import CLIP, Level, Notice, PlayerState, Shot, is_camera
from dtda.core.errors import DtdaError
from dtda.core.types import Frame

if TYPE_CHECKING:
    from dtda.app.sources import Source

RETRY_S = 2.0  # between attempts to reopen a vanished camera
STILL_S = 2.0  # how long a single picture of a folder stays on screen
NO_RATE_FPS = 15.0  # pace of files that do not say theirs
NAMED = 5  # of many unreadable clips
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Player(threading.Thread):
    """Plays one source at a time into `inbox`.

    inbox: mailbox of Shot. opener: spec -> Source, run in this thread. changed: called, in this thread, after a change
    of state or a new notice. warm_up: frames read and processed, not shown, before the target of a seek while paused.
    resolve: turns a wish into a spec, once, before it is opened (a vanished camera is then waited for, not replaced).
    All public methods return at once and may be called from any thread.
    """

    def __init__(
        self,
        inbox: Mailbox[Shot],
        opener: Callable[[str], Source],
        changed: Callable[[], None] = lambda: None,
        warm_up: int = 0,
        resolve: Callable[[str], str] = str,
    ) -> None:
        super().__init__(name="capture", daemon=True)  # daemon: a camera driver may never return from read
        self.state = PlayerState()
        self._inbox, self._opener, self._changed, self._warm_up = inbox, opener, changed, warm_up
        self._resolve = resolve
        self._source: Source | None = None
        self._wake = threading.Condition()
        self._commands: deque[tuple[str, Callable[[], None]]] = deque()
        self._notices: deque[Notice] = deque(maxlen=20)
        self._stopped = self._returning = False
        self._due = 0.0  # perf_counter() of the next frame
        self._broken: set[int] = set()  # clips of this source that were found unreadable while playing through

    # -- for any thread -------------------------------------------------------------------------------------------

    def open(self, spec: str) -> None:
        self._order("open", partial(self._open, spec))

    def play(self) -> None:
        self._order("play", self._play)

    def pause(self) -> None:
        self._order("play", lambda: self._set(playing=False))

    def seek(self, index: int) -> None:
        """Go to a frame of the current clip. Of several seeks not yet obeyed only the last counts."""
        self._order("seek", partial(self._seek, index))

    def step(self, frames: int) -> None:
        """Pause and move by some frames, forwards or backwards."""
        self._order("step", partial(self._step, frames))

    def select(self, clip: int) -> None:
        self._order("select", partial(self._select, clip))

    def move_clip(self, by: int) -> None:
        """Next (1) or previous (-1) clip, round the list."""
        self._order("clip", partial(self._move_clip, by))

    def refresh(self) -> None:
        """Let a frame that is on screen while paused be judged again, after a change of engine or threshold."""
        self._order("refresh", self._refresh)

    def set_speed(self, speed: float) -> None:
        self._order("speed", lambda: self._set(speed=min(max(speed, SPEEDS[0]), SPEEDS[-1])))

    def set_loop(self, loop: bool) -> None:
        self._order("loop", partial(self._set_loop, loop))

    def notices(self) -> list[Notice]:
        """The notices since the last call."""
        with self._wake:
            out = list(self._notices)
            self._notices.clear()
        return out

    def stop(self) -> None:
        """End the thread and close the mailbox; join() afterwards. A blocked read ends it, and the source, later."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._inbox.close()

    # -- for this thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while self._obey():
                self._turn()
        except Closed:
            pass
        finally:
            if self._source is not None:
                self._source.close()

    def _order(self, kind: str, action: Callable[[], None]) -> None:
        with self._wake:
            if kind == "seek" and self._commands and self._commands[-1][0] == "seek":
                self._commands.pop()
            self._commands.append((kind, action))
            self._wake.notify()

    def _obey(self) -> bool:
        """Run the waiting commands. Returns False when the thread should end."""
        while True:
            with self._wake:
                if self._stopped:
                    return False
                if not self._commands:
                    return True
                _, action = self._commands.popleft()
            self._guard(action)

    def _guard(self, action: Callable[[], None]) -> None:
        """Run an action on the source; a failure becomes a notice, and a vanished camera is kept for a retry."""
        try:
            action()
        except Closed:
            raise
        except Exception as error:
            text = _sentence(error)
            if self._source is not None and self.state.live:
                self._source.close()
                self._source = None
                self._due = time.perf_counter() + RETRY_S
                self._tell("warn", f"{text.rstrip('.')}. Trying again every {RETRY_S:.0f} seconds.")
                self._set(vanished=True)
            else:
                self._tell("error", text)
                self._set(playing=False, opening=False)

    def _turn(self) -> None:
        """Wait for the next frame's time, or for a command, then do one piece of work."""
        idle = self._source is None and not self.state.vanished
        paused = not self.state.playing and not self.state.live
        with self._wake:
            if idle or paused:
                self._wake.wait_for(self._disturbed)
            elif not self.state.live or self.state.vanished:
                self._wake.wait_for(self._disturbed, max(0.0, self._due - time.perf_counter()))
            if self._disturbed():
                return
        self._guard(self._reopen if self.state.vanished else self._advance)

    def _disturbed(self) -> bool:
        return self._stopped or bool(self._commands)

    def _advance(self) -> None:
        """Read and deliver one frame; a paused camera is read on, so that resuming does not show its old buffers."""
        try:
            frame = self._read()
        except DtdaError as error:
            if len(self.state.clips) < 2:
                raise
            self._pass_over(self.state.clip, error)
            frame = None
        if frame is None:
            self._clip_ended()
        elif self.state.playing:
            self._deliver(frame)
            now = time.perf_counter()
            self._due = max(self._due + self._period(), now) if now - self._due < 1 else now + self._period()

    def _period(self) -> float:
        seconds = STILL_S if self.state.length == 1 else 1 / (self.state.fps or NO_RATE_FPS)
        return seconds / self.state.speed

    def _read(self) -> Frame | None:
        assert self._source is not None
        frame = self._source.read()
        if frame is not None:
            self.state = replace(self.state, index=frame.index, ended=False)
            if self._returning:
                self._returning = False
                self._tell("info", f"{self._source.title} is back.")
        return frame

    def _deliver(self, frame: Frame, shown: bool = True) -> None:
        shot = Shot(frame, self.state.take, self.state.live, self.state.length, self.state.dropped, shown)
        if not self.state.live:
            self._inbox.put_wait(shot)
        elif self._inbox.put(shot):
            self.state = replace(self.state, dropped=self.state.dropped + 1)

    def _clip_ended(self) -> None:
        state = self.state
        if state.live:
            assert self._source is not None
            self._source.close()
            self._source = None
            self._tell("info", f"{state.title} has ended. Press Space to open it again.", "end")
            self._set(playing=False, ended=True)
            return
        following = [*range(state.clip + 1, len(state.clips)), *(range(state.clip + 1) if state.loop else ())]
        if self._select_first(clip for clip in following if clip not in self._broken):
            return
        if len(self._broken) == len(state.clips):
            self._tell(
                "error", f"{state.title}: none of its {len(state.clips)} clips can be read whole; open another source."
            )
        elif state.length != 1 or len(state.clips) > 1:
            self._tell("info", f"{state.title} has ended. Press Space to play it again, or L to loop.", "end")
        self._set(playing=False, ended=True)

    def _select_first(self, clips: Iterable[int]) -> bool:
        """Go to the first of these clips that can be read: one bad file does not end the folder."""
        for clip in clips:
            try:
                self._select(clip)
            except DtdaError as error:
                self._pass_over(clip, error)
            else:
                return True
        return False

    def _pass_over(self, clip: int, error: DtdaError) -> None:
        self._broken.add(clip)
        self._tell("error", str(error), CLIP)

    # -- commands -------------------------------------------------------------------------------------------------

    def _open(self, spec: str) -> None:
        """Open a source; when that fails, the one that plays goes on, unless it holds the same device."""
        self._set(opening=True)
        try:
            wish, spec = spec, self._resolve(spec)
            if is_camera(spec) and self._source is not None and self.state.live:
                self._source.close()
                self._source = None
                self.state = replace(self.state, title="")
            new = self._opener(spec)
        except Exception as error:
            self._tell("error", _sentence(error), "open")
            self._set(opening=False)
            return
        if self._source is not None:
            self._source.close()
        self._source, self._returning = new, False
        self._broken = set(range(new.clip))
        if new.skipped:
            self._tell("error", _skipped(new), CLIP)
        if spec == "sample" != wish:  # nobody asked for it and it lasts seconds: it goes on until told otherwise
            self.state = replace(self.state, loop=True)
        self.state = replace(self.state, playing=True, dropped=0, opening=False, vanished=False, spec=spec)
        self._new_take()

    def _reopen(self) -> None:
        self._due = time.perf_counter() + RETRY_S
        try:
            self._source = self._opener(self.state.spec)
        except Exception:  # told when it vanished
            return
        self._returning = True  # not told before it has sent a frame
        self.state = replace(self.state, vanished=False)
        self._new_take()

    def _new_take(self) -> None:
        """Take the facts of the source's current clip, and let the pipeline forget what it tracked."""
        source = self._source
        assert source is not None
        self._due = time.perf_counter()
        self._set(
            title=source.title,
            live=source.live,
            clips=tuple(source.clips),
            clip=source.clip,
            fps=source.fps,
            length=source.length,
            index=-1,
            take=self.state.take + 1,
            ended=False,
        )

    def _play(self) -> None:
        if self._source is None:
            if self.state.ended:
                self._open(self.state.spec)
            return
        self._due = time.perf_counter()
        self._set(playing=True)
        if self.state.ended:
            self._broken.clear()
            if not self._select_first(range(len(self.state.clips))):
                self._set(playing=False)

    def _set_loop(self, loop: bool) -> None:
        self._set(loop=loop)
        if loop and self.state.ended:
            self._play()

    def _select(self, clip: int) -> None:
        if self._source is None or self.state.live or not 0 <= clip < len(self.state.clips):
            return
        self._source.select(clip)
        self._new_take()
        if not self.state.playing:
            self._show_at(0)

    def _move_clip(self, by: int) -> None:
        clips = len(self.state.clips)
        if clips and not self._select_first((self.state.clip + by * step) % clips for step in range(1, clips + 1)):
            self._set(playing=False)

    def _seek(self, index: int) -> None:
        if self._source is None or self.state.live:
            return
        index = max(0, index if self.state.length is None else min(index, self.state.length - 1))
        if self.state.playing:
            self._jump(index)
        else:
            self._show_at(index)

    def _step(self, frames: int) -> None:
        if self._source is None or self.state.live:
            return
        self._set(playing=False)
        target = max(0, self.state.index + frames)
        if frames == 1:
            frame = self._read()
            if frame is None:
                self._clip_ended()
            else:
                self._deliver(frame)
        else:
            self._seek(target)
        self._changed()

    def _refresh(self) -> None:
        if self._source is not None and not self.state.live and not self.state.playing:
            ended = self.state.ended
            self._show_at(max(self.state.index, 0))
            self._set(ended=ended)

    def _jump(self, index: int) -> None:
        assert self._source is not None
        self._source.seek(index)
        self._due = time.perf_counter()
        self._set(take=self.state.take + 1, ended=False)

    def _show_at(self, index: int) -> None:
        """While paused: show one frame, after the frames before it that the verdict builds on."""
        self._jump(max(0, index - self._warm_up))
        while (frame := self._read()) is not None:
            self._deliver(frame, shown=frame.index >= index)
            if frame.index >= index or self._superseded():
                break
        self._changed()

    def _superseded(self) -> bool:
        """Whether the frame being looked for is no longer wanted: while the slider is dragged each seek has a successor."""
        with self._wake:
            return self._stopped or any(kind in ("seek", "select", "clip", "open") for kind, _ in self._commands)

    def _set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self._changed()

    def _tell(self, level: Level, text: str, topic: str = "source") -> None:
        with self._wake:
            self._notices.append(Notice(level, text, topic))
        self._changed()


def _skipped(source: Source) -> str:
    """One sentence on the clips that were passed over when the source was opened."""
    if len(source.skipped) == 1:
        return source.skipped[0]
    names = ", ".join(source.clips[: min(source.clip, NAMED)])
    more = f" and {source.clip - NAMED} more" if source.clip > NAMED else ""
    return f"{names}{more} cannot be read and are passed over; the first: {source.skipped[0]}"


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, DtdaError) else f"The source failed ({error!r}); open another one."
