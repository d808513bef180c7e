"""The folder of engines: the ledger of own ones, lists that never fail for one bad file, and no leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_tensorrt import ready, write_engine

from dtda.core.errors import DtdaError
from dtda.engines import plan, store
from dtda.engines.probe import Probe

NO_GPU = Probe("no_gpu", "There is no NVIDIA GPU here.")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "engines"
    monkeypatch.setenv("DTDA_ENGINES", str(folder))
    return folder


def test_nothing_is_there_at_first(home: Path) -> None:
    assert store.entries(NO_GPU) == []
    assert not store.is_ours("0" * 64)
    assert not home.exists()


def test_without_the_variable_it_is_the_users_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTDA_ENGINES")
    assert store.folder().parts[-2:] == ("dtda-demo", "engines")


def test_own_engines_are_told_from_foreign_ones(home: Path, student: Path) -> None:
    write_engine(home / "own.engine", student)
    write_engine(home / "foreign.engine", student, record=False, max_batch=3)
    own, foreign = store.entries(ready())[::-1]
    assert (own.path.name, own.ours, own.reason) == ("own.engine", True, "")
    assert not foreign.ours
    assert "was not built by this program" in foreign.reason
    assert "dtda engine build" in foreign.reason


def test_reasons_of_the_machine_are_told(home: Path, student: Path) -> None:
    write_engine(home / "a.engine", student)
    assert store.entries(NO_GPU)[0].reason == "it cannot run here: There is no NVIDIA GPU here."
    assert store.entries()[0].reason == ""


def test_a_damaged_file_is_listed_with_its_reason(home: Path, student: Path) -> None:
    write_engine(home / "good.engine", student)
    (home / "bad.engine").write_bytes(b"garbage")
    bad, good = store.entries(ready())
    assert bad.header is None
    assert "not an engine" in bad.reason
    assert bad.bytes == 7
    assert good.reason == ""


def test_engines_built_elsewhere_are_listed_while_they_are_there(tmp_path: Path, student: Path) -> None:
    elsewhere = tmp_path / "my" / "x.engine"
    write_engine(elsewhere, student)
    assert [entry.path for entry in store.entries()] == [elsewhere]
    elsewhere.unlink()
    assert store.entries() == []


def test_removing_forgets(home: Path, student: Path, tmp_path: Path) -> None:
    header = write_engine(home / "a.engine", student)
    store.remove(home / "a.engine")
    assert not (home / "a.engine").exists()
    assert not store.is_ours(header.plan_sha256)
    (home / "bad.engine").write_bytes(b"garbage")
    store.remove(home / "bad.engine")
    assert not (home / "bad.engine").exists()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"mine")
    with pytest.raises(DtdaError, match="not an engine"):
        store.remove(photo)
    assert photo.exists()


def test_removing_a_copy_leaves_the_engine_usable(home: Path, student: Path) -> None:
    write_engine(home / "a.engine", student)
    (home / "copy.engine").write_bytes((home / "a.engine").read_bytes())
    store.remove(home / "copy.engine")
    assert [(entry.path.name, entry.ours) for entry in store.entries()] == [("a.engine", True)]


def test_a_plan_that_is_lent_is_ours_for_that_long(home: Path, student: Path) -> None:
    with store.lent("0" * 64):
        assert store.is_ours("0" * 64)
        with store.lent("0" * 64):
            pass
        assert store.is_ours("0" * 64)
    assert not store.is_ours("0" * 64)


def test_a_damaged_ledger_is_told_and_nothing_is_trusted(home: Path) -> None:
    home.mkdir()
    for text in ("", "[]", '{"a": 1}', "{", "\x00"):
        (home / store.LEDGER).write_text(text)
        with pytest.raises(DtdaError, match="is damaged"):
            store.is_ours("0" * 64)


def test_names_tell_student_precision_and_cards(home: Path) -> None:
    assert store.default_path("tiny", "fp16", ["8.6", "8.9"]) == home / "tiny.fp16.8.6-8.9.engine"


def test_several_processes_write_one_ledger(home: Path) -> None:
    code = (
        "import sys; from dtda.engines import store\n"
        "for step in range(10): store.record(f'{int(sys.argv[1]):02d}{step:062d}')"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert all(store.is_ours(f"{number:02d}{step:062d}") for number in range(2) for step in range(10))


def test_a_workplace_is_empty_and_goes(home: Path) -> None:
    with store.workplace() as place:
        (place / "half.engine").write_bytes(b"half")
        assert store.entries() == []
    assert not place.exists()


def test_what_a_killed_process_left_is_removed_and_that_of_a_living_one_is_not(home: Path) -> None:
    code = (
        "from dtda.engines import store; import time\n"
        "with store.workplace() as place:\n"
        "    (place / 'half').write_bytes(b'half'); print(place, flush=True); time.sleep(60)"
    )
    living, killed = (subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "ab")
    try:
        kept, left = (Path(child.stdout.readline().strip()) for child in (living, killed))
        assert kept != left
        os.kill(killed.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        killed.wait(10)
        with store.workplace():
            assert kept.exists()
            assert not left.exists()
    finally:
        for child in (living, killed):
            child.kill()
            child.wait(10)
            child.stdout.close()


def test_the_plan_is_what_the_ledger_knows(home: Path, student: Path) -> None:
    """The header may change, when the parity is recorded; the plan may not."""
    header = write_engine(home / "a.engine", student)
    _, data = plan.read_plan(home / "a.engine")
    plan.write(home / "a.engine", header.model_copy(update={"latency_ms": 0.3}), data)
    assert store.entries(ready())[0].ours
