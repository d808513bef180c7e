"""Imports take turns: modules that import each other in a circle, from both ends at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dtda.app.loading import load


def test_threads_that_enter_a_circle_from_both_ends_both_get_whole_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, other in (("circle_a", "circle_b"), ("circle_b", "circle_a")):
        (tmp_path / f"{name}.py").write_text(
            f"import time\ntime.sleep(0.1)\nimport {other}\ntime.sleep(0.1)\nvalue = 1\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    values: list[int] = []

    def enter(name: str) -> None:
        load(name)
        values.append(getattr(sys.modules[name], "value", 0))

    threads = [threading.Thread(target=enter, args=(name,)) for name in ("circle_a", "circle_b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("circle_a", "circle_b"):
        monkeypatch.delitem(sys.modules, name)
    assert values == [1, 1]


def test_a_module_that_is_missing_raises_in_the_thread_that_asked() -> None:
    with pytest.raises(ModuleNotFoundError):
        load("dtda.no_such_module")
    load("dtda.app.loading")  # the turn was given back


def test_the_interpreter_does_not_end_below_an_import(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.7)\nprint('imported', flush=True)\n")
    code = (
        f"import sys, threading, time; sys.path.insert(0, {str(tmp_path)!r}); from dtda.app.loading import load\n"
        "threading.Thread(target=load, args=('slow',), daemon=True).start(); time.sleep(0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\n", "")
