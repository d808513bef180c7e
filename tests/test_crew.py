"""Work in several processes: all of it is done, and what goes wrong in one of them is said."""

import math
import os
import subprocess
import sys
import time

import pytest

from dtda.core.data.crew import mapped
from dtda.core.errors import DtdaError


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_done_once(workers):
    assert sorted(mapped(math.sqrt, list(range(40)), workers)) == [math.sqrt(number) for number in range(40)]
    assert list(mapped(math.sqrt, [], workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_work_raises_comes_out(workers):
    with pytest.raises(ValueError, match="math domain"):
        list(mapped(math.sqrt, [1, -1, 4, 9], workers))


def test_a_process_that_dies_is_one_sentence():
    with pytest.raises(DtdaError, match=r"ended from outside .* run the same command again"):
        list(mapped(os._exit, [1, 1, 1], 2))


def test_a_failure_ends_the_others_at_once():
    start = time.monotonic()
    with pytest.raises(TypeError, match="str"):
        list(mapped(time.sleep, [120, 1, "x", 120], 2))
    assert time.monotonic() - start < 60


def test_processes_end_with_a_killed_parent():
    code = "import time\nfrom dtda.core.data.crew import mapped\nif __name__ == '__main__':\n"
    code += "    for _ in mapped(time.sleep, [0, 0, 0, 60, 60, 60], 2): print('x', flush=True)\n"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"x\n"  # its processes are at work
    parent.kill()
    start = time.monotonic()
    parent.stdout.read()  # ends when the last process that holds the pipe has ended
    parent.wait()
    assert time.monotonic() - start < 20
