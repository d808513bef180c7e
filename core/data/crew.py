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
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import TypeVar

from dtda.core.errors import DtdaError

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 4  # tasks in flight for each process: enough to keep it busy, few enough to lose


def mapped(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """work(task) for all tasks, in no particular order; in this process with fewer than two workers.

    work must be importable in a new process, and may be ended at any moment: when one task fails, and on Ctrl-C, the
    others are not waited for. Raises what work raises, and DtdaError when a process died.
    """
    if workers < 2 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    # spawn: OpenCV and onnxruntime threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    heard, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _begin, (heard,))
    try:
        queue = iter(tasks)
        pending: set[Future[Result]] = {pool.submit(work, task) for task in itertools.islice(queue, AHEAD * workers)}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            pending |= {pool.submit(work, task) for task in itertools.islice(queue, len(finished))}
        pool.shutdown()
    except BrokenProcessPool as error:
        raise DtdaError(
            "a process of this program was ended from outside (out of memory?); run the same command again, with "
            "fewer --workers, and it goes on."
        ) from error
    finally:
        held.close()  # ends those that are still at work
        pool.shutdown(cancel_futures=True)
        heard.close()


def _begin(heard: Connection) -> None:
    """One thread each; Ctrl-C is the parent's business; and when the parent is killed or lets go of the pipe, end too."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, args=(heard,), daemon=True).start()


def _follow_parent(heard: Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([heard, parent.sentinel])
    os._exit(1)
