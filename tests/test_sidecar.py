import errno
import json
import os
from pathlib import Path

import pytest

from dtda.core.errors import DtdaError
from dtda.core.sidecar import (
    Sidecar,
    Threshold,
    naming,
    read_sidecar,
    sha256,
    sidecar_path,
    write_atomic,
    write_sidecar,
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "student.onnx"
    path.write_bytes(b"weights")
    threshold = Threshold(value=0.4, rule="equal error rate", split="dev")
    write_sidecar(
        path,
        Sidecar(
            name="s", sha256=sha256(path), size=128, margin=2.5, thresholds={"default": threshold},
            training_data="none", licence="Apache-2.0", git_revision="x",
        ),
    )  # fmt: skip
    return path


def test_round_trip(model):
    sidecar = read_sidecar(model)
    assert sidecar.threshold == 0.4
    assert (sidecar.rule.size, sidecar.rule.margin) == (128, 2.5)


def _edit(model, **changes):
    path = sidecar_path(model)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "belongs to another file"),
        ({"size": "big"}, "not a valid sidecar (size"),
        ({"thresholds": {"default": {"value": 1.5, "rule": "", "split": ""}}}, "thresholds.default.value"),
        ({"thresholds": {}}, "names no default threshold"),
        ({"format": 2}, "not a valid sidecar (format"),
        ({"colour": "BGR"}, "not a valid sidecar (colour"),
    ],
)
def test_wrong_fields_are_named(model, changes, words):
    _edit(model, **changes)
    with pytest.raises(DtdaError) as failure:
        read_sidecar(model)
    assert words in str(failure.value)
    assert "dtda export" in str(failure.value)


def test_missing_pieces_are_named(model, tmp_path):
    with pytest.raises(DtdaError, match="no such model file"):
        read_sidecar(tmp_path / "other.onnx")
    sidecar_path(model).write_bytes(b"\xff\xfe")
    with pytest.raises(DtdaError, match="not a valid sidecar"):
        read_sidecar(model)
    sidecar_path(model).unlink()
    with pytest.raises(DtdaError, match=r"sidecar student\.onnx\.json is missing"):
        read_sidecar(model)


@pytest.mark.parametrize("name", [".", "..", "", "/", "made", "gone/.."])
def test_a_folder_is_not_written_to(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    with pytest.raises(DtdaError, match="is a folder; name a file in it"):
        write_atomic(Path(name), b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")
    monkeypatch.setattr(
        type(path), "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_is_told_with_the_path(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.json").write_bytes(b"old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.json"):
        write_atomic(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"old"
    with pytest.raises(OSError, match=r"No such file .*: 'other'$"), naming(tmp_path):
        open("other")  # noqa: PTH123, SIM115  what an error names itself is kept
