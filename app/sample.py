"""The generated clips as a source: rendered by the simulator on first use, then kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

from dtda.app.sources import FileSource
from dtda.core.errors import DtdaError

LEFTOVER_S = 3600.0  # a half-written clip that nobody has touched for so long belongs to a process that was ended


def open_sample() -> FileSource:
    """The sample clips as a playlist. Waits until the first is rendered (seconds, the first time only)."""
    import platformdirs

    from dtda.core.simulate import sample

    folder = Path(platformdirs.user_cache_dir("dtda-demo", appauthor=False)) / f"sample-v{sample.VERSION}"
    rendering = Rendering(folder, sample.CLIPS, sample.render_clip)
    return FileSource("sample", sample.CLIPS, rendering.path, rendering.stop)


_one_at_a_time = threading.Lock()  # a sample that is opened again waits for the clip begun before, and finds it


class Rendering:
    """Renders missing clips one after another in a background thread; `path(i)` waits only for clip i."""

    def __init__(
        self, folder: Path, names: Sequence[str], render: Callable[[str, Path, Callable[[], bool]], None]
    ) -> None:
        """render: called with a name, a path and a function that tells whether to give up."""
        self._clips: list[tuple[str, Future[Path]]] = [(name, Future()) for name in names]
        self._folder = folder
        self._render = render
        self._stopped = threading.Event()
        # Not a daemon: a thread killed inside OpenCV aborts the process. It gives up by itself instead.
        threading.Thread(target=self._run, name="sample").start()

    def path(self, clip: int) -> Path:
        """The finished file of a clip. Raises DtdaError when it could not be rendered, or after `stop`."""
        try:
            return self._clips[clip][1].result()
        except CancelledError:
            raise DtdaError("The sample was closed before it was rendered; open it again.") from None
        except OSError as error:
            raise DtdaError(
                f"{self._folder}: the sample clips cannot be written ({error.strerror or error}); make room there."
            ) from error

    def stop(self) -> None:
        """Give up the clip in work and begin no other. Idempotent."""
        self._stopped.set()
        for _, future in self._clips:
            future.cancel()

    def _given_up(self) -> bool:
        # The window may close while its source is still waiting for the first clip: then nobody calls `stop`.
        return self._stopped.is_set() or not threading.main_thread().is_alive()

    def _run(self) -> None:
        self._sweep()
        for name, future in self._clips:
            if self._given_up():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._rendered(name))
            except Exception as error:  # raised again where the clip is asked for
                future.set_exception(error)

    def _sweep(self) -> None:
        """Remove what processes that were ended in the middle of a clip left behind; their names begin with a dot."""
        for path in self._folder.glob(".*.avi"):
            with contextlib.suppress(OSError):  # another process was faster, or it is not ours to remove
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    path.unlink()

    def _rendered(self, name: str) -> Path:
        path = self._folder / f"{name}.avi"
        with _one_at_a_time:
            if path.is_file():
                return path
            self._folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{os.getpid()}-{path.name}")
            try:
                self._render(name, part, self._given_up)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path
