"""Work on a long list in several processes, results as they come; a crew that outlives nobody."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dtda.core.errors import DtdaError

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 4  # tasks in flight for each process: enough to keep it busy, few enough to lose


def mapped(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """work(task) for all tasks, in no particular order; in this process with fewer than two workers.

    work must be importable in a new process. Raises what work raises, and DtdaError when a process died.
    """
    if workers < 2 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    # spawn: OpenCV and onnxruntime threads do not survive a fork
    pool = ProcessPoolExecutor(min(workers, len(tasks)), multiprocessing.get_context("spawn"), _begin)
    try:
        queue = iter(tasks)
        pending: set[Future[Result]] = {pool.submit(work, task) for task in itertools.islice(queue, AHEAD * workers)}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            pending |= {pool.submit(work, task) for task in itertools.islice(queue, len(finished))}
    except BrokenProcessPool as error:
        raise DtdaError(
            "a process of this program was ended from outside (out of memory?); run the same command again, with "
            "fewer --workers, and it goes on."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """One thread each; Ctrl-C is the parent's business; and when the parent is killed, end too."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
