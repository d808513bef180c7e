"""`dtda export`: on which faces torch and onnxruntime are compared, and what is told of the training data."""

import cv2
import numpy as np
import pytest
import torch

import dtda.core.export
from dtda.app import cli
from dtda.core.data.manifest import Record, read_manifest, write_manifest
from dtda.core.models.student import build_student
from dtda.core.preprocess import TEMPLATE, CropRule, crop
from dtda.core.training import checkpoint
from dtda.core.training.config import DataPart, TrainConfig
from dtda.core.types import Label

SIZE = 32
POINTS = (TEMPLATE * 0.6 + 45).astype(np.float32)


@pytest.fixture
def manifest(tmp_path):
    """A live and an attack picture of each of eight people, two of them for testing, nobody for dev."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(16):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (160, 160)))
        label, kind = ((Label.LIVE, ""), (Label.SPOOF, "print"))[number % 2]
        split = "test" if number < 4 else "train"
        made.append(Record(path, label, kind, "casia-fasd", f"s{number // 2}", split, POINTS))
    write_manifest(tmp_path / "manifest.csv", made)
    return tmp_path / "manifest.csv"


def test_data_without_a_dev_split_is_exported_with_its_carved_dev_people(manifest, tmp_path, monkeypatch, capsys):
    given = {}

    def export(path, out, chips, training_data, *_):  # tested itself in test_training.py; it takes seconds
        given.update(chips=chips, data=training_data)
        out.write_bytes(b"graph")
        return 0.0

    monkeypatch.setattr(dtda.core.export, "export", export)
    config = TrainConfig(
        name="tiny", data=DataPart(manifests=[manifest], size=SIZE, margin=1.3, crops=2, protocol="intra")
    )
    torch.manual_seed(0)
    weights = build_student("mobile").state_dict()
    state = {"config": config.model_dump(mode="json"), "student": weights, "ema": weights}
    checkpoint.save(tmp_path / "last.ckpt", state)

    status = cli.main(["export", str(tmp_path / "last.ckpt"), "-o", str(tmp_path / "s.onnx")])
    told = capsys.readouterr()
    assert status == 0, told.err
    assert "on 2 face chips" in told.out
    dev = [
        record for record in read_manifest(manifest) if record.subject == "s2"
    ]  # the first of every six training people
    expected = [crop(cv2.imread(str(record.path)), record.points, CropRule(SIZE, 1.3)) for record in dev]
    np.testing.assert_array_equal(given["chips"], expected)
    assert given["data"] == f"10 pictures of {manifest}"
