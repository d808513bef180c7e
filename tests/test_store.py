"""The folder of engines: the ledger of own ones, lists that never fail for one bad file, and no leftovers."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import ready, write_engine

from dtda.core.errors import DtdaError
from dtda.engines import plan, store, tensorrt, trial
from dtda.engines.parity import Parity
from dtda.engines.probe import Probe

NO_GPU = Probe("no_gpu", "There is no NVIDIA GPU here.")
FACTS = plan.Header(
    name="x", package="tensorrt", version="11", platform="linux-x86_64", compute_capabilities=["8.9"], precision="fp32",
    onnx_sha256="", onnx_path="/x.onnx",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "engines"
    monkeypatch.setenv("DTDA_ENGINES", str(folder))
    return folder


def test_nothing_is_there_at_first(home: Path) -> None:
    assert store.entries(NO_GPU) == []
    assert not store.is_ours(FACTS)
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
    assert not store.is_ours(header)
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
    with store.lent(FACTS):
        assert store.is_ours(FACTS)
        with store.lent(FACTS):
            pass
        assert store.is_ours(FACTS)
    assert not store.is_ours(FACTS)


def test_a_damaged_ledger_is_told_and_nothing_is_trusted(home: Path) -> None:
    home.mkdir()
    for text in ("", "[]", '{"a": 1}', "{", "\x00"):
        (home / store.LEDGER).write_text(text)
        with pytest.raises(DtdaError, match="is damaged"):
            store.is_ours(FACTS)


def test_names_tell_student_precision_and_cards(home: Path) -> None:
    assert store.default_path("tiny", "fp16", ["8.6", "8.9"]) == home / "tiny.fp16.8.6-8.9.engine"
    assert store.default_path("tiny", "fp16", ["8.6"], "0123456789abcdef").name == "tiny-01234567.fp16.8.6.engine"


def test_several_processes_write_one_ledger(home: Path) -> None:
    code = (
        "import sys; from dtda.engines import plan, store\n"
        "made = plan.Header.model_validate_json(sys.argv[2])\n"
        "for step in range(10):\n"
        "    store.record(made.model_copy(update={'seal': f'{int(sys.argv[1]):02d}{step:062d}'}))"
    )
    facts = FACTS.model_dump_json()
    children = [subprocess.Popen([sys.executable, "-c", code, str(number), facts]) for number in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    seals = [f"{number:02d}{step:062d}" for number in range(2) for step in range(10)]
    assert all(store.is_ours(FACTS.model_copy(update={"seal": seal})) for seal in seals)


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


def test_the_ledger_knows_header_and_plan(home: Path, student: Path) -> None:
    """A plan that is ours behind a header that this program did not write is foreign, well sealed or not."""
    path = home / "a.engine"
    before = write_engine(path, student)
    _, data = plan.read_plan(path)
    forged = plan.write(path, before.model_copy(update={"latency_ms": 0.3}), data)
    assert not store.entries(ready())[0].ours
    assert not store.is_ours(before.model_copy(update={"plan_sha256": "0" * 64}))
    store.record(forged, path, before=before)
    assert store.entries(ready())[0].ours
    assert not store.is_ours(before)


def test_a_copy_made_before_a_failed_check_is_refused(
    home: Path, make_student: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = home / "a.engine", tmp_path / "copy.engine"
    write_engine(path, make_student(tmp_path))
    copy.write_bytes(path.read_bytes())
    bad = Parity(frames=9, max_dp=0.4, mean_dp=0.1, flips=2, limit=0.02, passed=False, reference="onnxruntime")
    monkeypatch.setattr(trial, "pictures", lambda *_: None)
    monkeypatch.setattr(trial, "tried", lambda path, header, *_: header.model_copy(update={"parity": bad}))
    assert trial.check(path).parity == bad
    assert "was refused" in store.entry(path, ready()).reason
    assert "was not built by this program" in store.entry(copy, ready()).reason
    with pytest.raises(DtdaError, match="was not built by this program"):
        tensorrt.open_engine(copy)


@pytest.mark.parametrize("passed", [True, False])
def test_a_verdict_that_cannot_be_written_counts_all_the_same(
    home: Path, student: Path, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    write_engine(home / "a.engine", student)
    found = Parity(frames=9, max_dp=0, mean_dp=0, flips=0, limit=0.02, passed=passed, reference="onnxruntime")
    monkeypatch.setattr(trial, "pictures", lambda *_: None)
    monkeypatch.setattr(trial, "tried", lambda path, header, *_: header.model_copy(update={"parity": found}))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plan, "write", full)
    with pytest.raises(OSError, match="No space"):
        trial.check(home / "a.engine")
    assert store.entry(home / "a.engine").ours is passed


def test_a_verdict_is_of_the_file_that_was_read(home: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign engine does not become an own one by being exchanged for one while it is compared."""
    path = home / "a.engine"
    write_engine(path, student)
    own = path.read_bytes()
    found = Parity(frames=9, max_dp=0, mean_dp=0, flips=0, limit=0.02, passed=True, reference="onnxruntime")

    def exchanged(path: Path, header: plan.Header, *_: object) -> plan.Header:
        path.write_bytes(own)
        return header.model_copy(update={"parity": found})

    monkeypatch.setattr(trial, "pictures", lambda *_: None)
    monkeypatch.setattr(trial, "tried", exchanged)
    write_engine(path, student, max_batch=3)
    with pytest.raises(DtdaError, match="was changed while it was compared"):
        trial.check(path)
    write_engine(path, student, max_batch=5, record=False)
    with pytest.raises(DtdaError, match="was not built by this program"):
        trial.check(path)


def test_reports_stay_in_their_folder(home: Path) -> None:
    found = Parity(frames=9, max_dp=0, mean_dp=0, flips=0, limit=0.02, passed=True, reference="onnxruntime")
    path = trial.report(FACTS.model_copy(update={"name": "../../a b"}), found)
    assert path.parent == home / "reports"
    assert path.name == ".._.._a_b.fp32..json"


def remade(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a header, whatever its seal says then."""
    data = path.read_bytes()
    start = len(plan.MAGIC) + 4
    (length,) = struct.unpack_from("<I", data, start - 4)
    facts = json.loads(data[start : start + length])
    change(facts)
    text = json.dumps(facts, indent=1).encode()
    path.write_bytes(plan.MAGIC + struct.pack("<I", len(text)) + text + data[start + length :])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.pop("seal"), "header was changed"),
        (lambda facts: facts.update(seal=""), "not valid (seal"),
        (lambda facts: facts.update(seal="0" * 64), "header was changed"),
        (lambda facts: facts.update(seal=7), "not valid (seal"),
        (lambda facts: facts.update(onnx_path="a\0b"), "header was changed"),
        (lambda facts: facts.update(plan_bytes=10**30), "header"),
        (lambda facts: facts.update(options={"a": float("nan")}), "header"),
    ],
)
def test_one_bad_file_never_hides_the_others(
    home: Path, student: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    write_engine(home / "good.engine", student)
    write_engine(home / "bad.engine", student, max_batch=3)
    remade(home / "bad.engine", change)
    bad, good = store.entries(ready())
    assert bad.header is None
    assert words in bad.reason
    assert (good.ours, good.reason) == (True, "")


def test_a_parent_that_cannot_be_read_hides_nothing(home: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(home / "a.engine", student)

    def locked(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(plan, "sha256", locked)
    (entry,) = store.entries(ready())
    assert f"{student}, which it was built from, cannot be read (Permission denied)" in entry.reason


def test_a_ledger_that_is_held_or_full_names_the_way_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_S", 0.05)
    with store._lock(), ThreadPoolExecutor(1) as thread, pytest.raises(DtdaError, match=r"is held by .* DTDA_ENGINES"):
        thread.submit(store.record, FACTS).result()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(store, "write_atomic", full)
    with pytest.raises(DtdaError, match=r"No space left on device; make room there, or name .* DTDA_ENGINES"):
        store.record(FACTS)


def test_what_a_killed_build_left_beside_its_engine_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "my [x].engine"
    left, fresh, foreign = (
        tmp_path / name for name in (f".{out.name}.77.tmp", f".{out.name}.78.tmp", ".my x.engine.1.tmp")
    )
    for path in (left, fresh, foreign):
        path.write_bytes(b"half")
        os.utime(path, (0, 0) if path != fresh else None)
    store.sweep(out)
    assert [path.exists() for path in (left, fresh, foreign)] == [False, True, True]
