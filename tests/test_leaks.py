import csv
import importlib.util

import cv2
import numpy as np
import pytest

from dtda.app.cli import main
from dtda.core.data.manifest import Record, write_manifest
from dtda.core.errors import DtdaError
from dtda.core.simulate import leaks
from dtda.core.simulate.sample import POINTS
from dtda.core.types import Label


def _record(tmp_path, number, live, domain="a", kind="laser"):
    return Record(
        tmp_path / f"{number}.jpg", Label.LIVE if live else Label.SPOOF, "" if live else kind, domain, f"s{number}",
        "train", np.array(POINTS, np.float32),
    )  # fmt: skip


@pytest.fixture
def records(tmp_path):
    """Sixty pictures of one portrait; the attacks are brighter, all else is alike."""
    from skimage.data import astronaut

    rng, found = np.random.default_rng(0), []
    for number in range(60):
        live = number % 2 == 0
        gain = rng.uniform(0.5, 0.8) if live else rng.uniform(0.7, 1.0)
        bgr = (astronaut()[:300, 100:400, ::-1] * gain + rng.normal(0, 3, (300, 300, 3))).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 95))])
        record = _record(tmp_path, number, live)
        record.points[:, 0] -= 100
        found.append(record)
    return found


def test_the_leaking_cue_is_named_and_the_others_are_not(records):
    cells = leaks.table(records, [leaks.surveyed(record) for record in records])
    found = {cell.cue: cell for cell in cells if (cell.domain, cell.instrument) == ("a", "laser")}
    assert found["brightness"].leaks
    assert found["brightness"].auc > 0.85
    for name in ("scale", "share", "blocks", "cast"):
        assert not found[name].leaks or name == "cast"
    assert (found["scale"].live, found["scale"].attack) == (30, 30)


def test_an_instrument_is_compared_with_the_live_pictures_of_its_own_domains(tmp_path):
    records = [
        _record(tmp_path, n, n % 2 == 0, "dark" if n < 60 else "bright", "laser" if n < 60 else "phone")
        for n in range(120)
    ]
    rng = np.random.default_rng(0)
    cues = [{"brightness": rng.normal(50 if record.domain == "dark" else 200, 1)} for record in records]
    cells = {(cell.domain, cell.instrument): cell for cell in leaks.table(records, cues)}
    assert 0.3 < cells[("all", "laser")].auc < 0.7
    assert cells[("all", "laser")].live == 30
    assert set(cells) == {
        ("all", "all"), ("all", "laser"), ("all", "phone"), ("dark", "all"), ("dark", "laser"), ("bright", "all"),
        ("bright", "phone"),
    }  # fmt: skip


def test_the_standard_error_is_that_of_repeated_draws():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(400):
        attack, live = rng.normal(0.5, 1, 40), rng.normal(0, 1, 25)
        areas.append((attack[:, None] > live).mean())
    assert leaks.standard_error(float(np.mean(areas)), 40, 25) == pytest.approx(np.std(areas), rel=0.15)


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(DtdaError, match="name a larger set"):
        leaks.table(
            [_record(tmp_path, 0, True), _record(tmp_path, 1, False)], [{"brightness": 1.0}, {"brightness": 2.0}]
        )


def test_the_command_prints_writes_and_fails_on_demand(records, tmp_path, capsys):
    write_manifest(tmp_path / "m.csv", records)
    out = tmp_path / "table.csv"
    assert main(["leaks", str(tmp_path / "m.csv"), "--out", str(out), "--workers", "1"]) == 0
    assert main(["leaks", str(tmp_path / "m.csv"), "--check", "--workers", "1"]) == 1
    assert main(["leaks", str(tmp_path / "m.csv"), "--out", "x.txt"]) == 2
    told = capsys.readouterr()
    assert "| a | laser | 30 | 30 |" in told.out
    assert "beyond their sampling error" in told.out
    assert "x.txt: the table is written as .csv or .md" in told.err
    rows = list(csv.DictReader(out.open()))
    assert {row["cue"] for row in rows if row["leaks"] == "yes"} >= {"brightness"}


def test_without_scikit_learn_the_command_says_how_to_install_it_before_it_surveys(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else found(name))
    assert main(["leaks", str(tmp_path / "m.csv")]) == 2
    assert capsys.readouterr().err == (
        "dtda: this command needs sklearn, which is not installed; run: pip install 'dtda-demo[train]'.\n"
    )
