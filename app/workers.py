"""The processing thread: creates, owns and closes detector and pipeline, and hands observations on. No Qt.

Engines live in threads of their own (`HostedEngine`): the one in use judges until the one chosen is open.

The picture never waits for the network: until the pipeline is there, and after it failed, frames pass through without
verdicts. (Frames of a file are held back while it loads, so that each of them is scored.)
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app.hosted import HostedEngine
from dtda.app.loading import load
from dtda.app.mailbox import Closed, Mailbox
from dtda.app.records import Level, Notice, Shot
from dtda.app.tally import Tally
from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo, Observation

if TYPE_CHECKING:
    from dtda.app.pipeline import Pipeline
    from dtda.engines.base import Detector, Engine

POLL_S = 0.05  # how soon a request is obeyed while no frame comes


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run, in the words of the command line. threshold: None for the student's own."""

    engine: str = "auto"
    provider: str = "auto"
    detector: str = "auto"
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """How the parts of the pipeline are made; tests put fakes here."""

    open_detector: Callable[[str], Detector]
    open_engine: Callable[[str, str], Engine]
    build: Callable[[Detector, Engine, float | None], Pipeline]


def real_parts() -> Parts:
    """Imports what the live pipeline needs, which takes seconds."""
    load("dtda.app.pipeline", "dtda.engines.detect", "dtda.engines.registry", "dtda.engines.ort")
    from dtda.app.pipeline import Pipeline
    from dtda.engines.detect import open_detector
    from dtda.engines.registry import open_engine

    return Parts(open_detector, open_engine, lambda d, e, threshold: Pipeline(d, e, threshold=threshold))


class Processor(threading.Thread):
    """Shots in, observations out.

    changed: called, in this thread, when an observation, a notice or a new engine is there. find_parts: imports the
    parts, in a thread of its own.
    """

    def __init__(
        self,
        inbox: Mailbox[Shot],
        outbox: Mailbox[Observation],
        choice: Choice,
        changed: Callable[[], None] = lambda: None,
        find_parts: Callable[[], Parts] = real_parts,
    ) -> None:
        super().__init__(name="processing", daemon=True)
        self.choice = choice
        self.tally = Tally()
        self.info: EngineInfo | None = None
        self.detector_name = ""
        self.loading = True
        self._inbox, self._outbox, self._changed, self._find_parts = inbox, outbox, changed, find_parts
        self._parts: Parts | None = None
        self._pipeline: Pipeline | None = None
        self._opening: HostedEngine | None = None
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._notices: deque[Notice] = deque(maxlen=20)
        self._take = -1
        self._stopping = threading.Event()

    # -- for any thread -------------------------------------------------------------------------------------------

    def use_engine(self, engine: str, provider: str | None = None) -> None:
        """Swap the student. The old one stays until the new one is open, and when it cannot be opened.

        A threshold that was set stays with its student, whatever runs it; another student starts with its own.
        """
        self._requests.put(partial(self._use_engine, engine, provider))

    def use_threshold(self, threshold: float | None) -> None:
        self._requests.put(partial(self._use_threshold, threshold))

    def notices(self) -> list[Notice]:
        """The notices since the last call."""
        return [self._notices.popleft() for _ in range(len(self._notices))]

    def stop(self) -> None:
        """Close both mailboxes, which ends the thread after the frame in work; join() afterwards."""
        self._stopping.set()
        self._inbox.close()
        self._outbox.close()

    # -- for this thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        loader = threading.Thread(target=self._load_parts, name="imports", daemon=True)
        loader.start()
        try:
            while True:
                self._obey()
                try:
                    shot = self._inbox.get(POLL_S)
                except queue.Empty:
                    continue
                self._work(shot)
        except Closed:
            pass
        finally:
            if self._opening is not None:
                self._close(self._opening)
            self._drop_pipeline()

    def _load_parts(self) -> None:
        try:
            parts = self._find_parts()
        except Exception as error:
            text = f"The live pipeline cannot be loaded ({error!r}); install the package again."
            self._requests.put(lambda: self._failed_to_load(text))
        else:
            self._requests.put(lambda: self._begin(parts))

    def _begin(self, parts: Parts) -> None:
        """In one step with the opening: an engine asked for between the two would be replaced by the first choice."""
        self._parts = parts
        self._open(self.choice)

    def _failed_to_load(self, text: str) -> None:
        self.loading = False
        self._tell("error", text)

    def _use_engine(self, engine: str, provider: str | None) -> None:
        choice = replace(self.choice, engine=engine, provider=provider or self.choice.provider)
        if self._parts is None:  # still loading: it will open this one
            self.choice = choice
            return
        self._tell("info", f"Opening {'the default student' if engine == 'auto' else Path(engine).name}…")
        self._open(choice)

    def _open(self, choice: Choice) -> None:
        assert self._parts is not None
        if self._opening is not None:
            self._opening.abandon()
        opener = partial(self._parts.open_engine, choice.engine, choice.provider)
        self._opening = HostedEngine(opener, lambda engine: self._requests.put(lambda: self._opened(engine, choice)))

    def _opened(self, engine: HostedEngine, choice: Choice) -> None:
        if engine is not self._opening:  # another one was asked for meanwhile
            return
        self._opening = None
        before = self.info
        try:
            if engine.error is not None:
                raise engine.error
            self._adopt(engine, choice)
        except Exception as error:
            engine.abandon()
            kept = f" {before.name} stays in use." if before else ""
            text = _sentence(error, "The engine cannot be loaded")
            curable = choice.engine.endswith(".engine") and "dtda engine build" in text
            self._tell("error", text + kept, choice.engine if curable else "")
        else:
            if not self.loading:
                info = engine.info
                self._tell(
                    "info", f"{info.name} is in use ({info.backend}, {info.precision.upper()}, {info.provider})."
                )
        self.loading = False
        self._changed()

    def _adopt(self, engine: HostedEngine, choice: Choice) -> None:
        """Put an engine into a pipeline of its own, with the detector of the one before."""
        assert self._parts is not None
        old = self._pipeline
        other = self.info is not None and self.info.sha256 != engine.info.sha256
        choice = replace(choice, threshold=None if other else self.choice.threshold)
        detector = self._parts.open_detector(choice.detector) if old is None else old.detector
        try:
            self._pipeline = self._parts.build(detector, engine, choice.threshold)
        except Exception:
            if old is None:
                detector.close()
            raise
        self.choice = choice
        self.info = self.tally.engine = engine.info
        self.detector_name = detector.name
        self._take = -1
        if old is not None:
            self._close(old.engine)

    def _drop_pipeline(self) -> None:
        pipeline, self._pipeline, self.info = self._pipeline, None, None
        if pipeline is not None:
            self._close(pipeline)

    def _close(self, part: Pipeline | Engine) -> None:
        try:
            part.close()
        except Exception as error:
            self._tell("warn", _sentence(error, "The engine did not close properly"))

    def _obey(self) -> None:
        while not self._requests.empty():
            self._requests.get()()

    def _use_threshold(self, threshold: float | None) -> None:
        self.choice = replace(self.choice, threshold=threshold)
        if self._pipeline is not None:
            self._pipeline.threshold = self._pipeline.engine.info.threshold if threshold is None else threshold

    def _work(self, shot: Shot) -> None:
        if self.loading and not shot.live:
            self._publish(shot, Observation(shot.frame, (), {}))
            while self.loading and not self._stopping.is_set():
                with contextlib.suppress(queue.Empty):
                    self._requests.get(timeout=POLL_S)()
        observation = self._process(shot)
        if shot.shown:
            self.tally.add(observation)
            self._publish(shot, observation)

    def _process(self, shot: Shot) -> Observation:
        """Judge one frame. A pipeline that fails is closed, and the frame goes on without verdicts."""
        bare = Observation(shot.frame, (), {}, shot.dropped)
        if self._pipeline is None:
            return bare
        try:
            if shot.take != self._take:
                self._pipeline.reset(shot.length)
                self._take = shot.take
            return replace(self._pipeline.process(shot.frame), dropped=shot.dropped)
        except Exception as error:
            self._drop_pipeline()
            self._tell("error", _sentence(error, "The engine failed") + " Choose Engine > Load again to go on.")
            return bare

    def _publish(self, shot: Shot, observation: Observation) -> None:
        if shot.live:
            self._outbox.put(observation)
        else:
            self._outbox.put_wait(observation)
        self._changed()

    def _tell(self, level: Level, text: str, rebuild: str = "") -> None:
        self._notices.append(Notice(level, text, "engine", rebuild))
        self._changed()


def _sentence(error: Exception, what: str) -> str:
    if isinstance(error, DtdaError):
        return str(error)
    reason = str(error).strip() or repr(error)
    return f"{what}: {reason.splitlines()[0].rstrip('.')}."
