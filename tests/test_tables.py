"""What a report looks like as text; its figures are tested in test_evaluate.py."""

import csv
import io
import json
from dataclasses import replace

import pytest

from dtda.core.epochs import Epoch, Epochs
from dtda.core.evaluate import Figure, Report, Row
from dtda.core.scores import About
from dtda.core.sidecar import Threshold
from dtda.core.tables import markdown, title, to_csv, to_json

NAN = float("nan")


@pytest.fixture
def report():
    errors = {"hter": Figure(0.2, 0.1, 0.3), "bpcer": Figure(0.1, 0.0, 0.2), "apcer": Figure(0.3), "apcer_max": Figure(0.4),
              "acer": Figure(0.25)}  # fmt: skip
    figures = {"auc": Figure(0.876, 0.85, 0.9), "eer": Figure(0.151), "tpr_at_fpr_1": Figure(0.5, 0.4, 0.6),
               "tpr_at_fpr_0.1": Figure(NAN), "ece": Figure(0.043), "apnrr": Figure(0.02), "bpnrr": Figure(0.0)}  # fmt: skip
    rows = (
        Row("all", "all", 50, 100, figures, {"default": errors, "bpcer_1": errors}),
        Row("kiosk print", "domain and attack type", 50, 40, figures, {"default": errors, "bpcer_1": errors}),
        Row("print", "attack type", 0, 40, {**figures, "auc": Figure(NAN)}, {"default": errors, "bpcer_1": errors}),
    )
    best, dev = Epoch(3, 0.101, 0.95, 0.3), Epoch(7, 0.2, 0.9, 0.222)
    return Report(
        about=About(name="tiny", protocol="sim-loo", fold="kiosk", sources=["a", "b"], targets=["kiosk"]),
        level="video",
        unit="subject",
        units=30,
        draws=1000,
        thresholds={
            "default": Threshold(value=0.45, rule="equal error rate", split="dev part of a, b"),
            "bpcer_1": Threshold(value=0.1, rule="BPCER 1 %", split="dev part of a, b"),
        },
        target_threshold=0.61,
        rows=rows,
        epochs=Epochs(20, best, dev, 10, Epoch(0, 0.16, 0.88, 0.21), Epoch(0, 0.01, 0.02, 0.03)),
        notes=("A note.",),
    )


def _cells(text, first):
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_has_both_conventions_side_by_side(report):
    text = markdown(report)
    assert text.startswith("# tiny on sim-loo, fold kiosk\n")
    assert "Trained on a, b; tested on kiosk: 50 live, 100 attack videos." in text
    assert "1000 bootstrap draws of 30 subjects" in text
    assert "Calibration error 4.3." in text
    assert _cells(text, "threshold")[1:] == ["0.6100, equal errors on the test data", "0.4500, equal error rate on dev"]
    assert _cells(text, "HTER")[1:] == ["15.1", "20.0 (10.0–30.0)"]
    assert "3 of 20, picked on the test data: HTER 10.1, AUC 95.0" in text
    assert "7 of 20, picked on dev: HTER 22.2, AUC 90.0" in text
    assert "HTER 16.0 ± 1.0, AUC 88.0 ± 2.0" in text
    assert "HTER 21.0 ± 3.0" in text
    assert "- A note." in text


def test_markdown_rows(report):
    text = markdown(report)
    assert _cells(text, "all") == ["all", "50", "100", "87.6 (85.0–90.0)", "15.1", "20.0 (10.0–30.0)", "10.0 (0.0–20.0)",
                                   "30.0", "40.0", "25.0"]  # fmt: skip
    assert _cells(text, "kiosk print")[8] == ""  # the largest of one type is that type's
    assert _cells(text, "print, all domains")[3] == "–"
    assert _cells(text, "BPCER 1 % (0.1000)")[1] == "20.0 (10.0–30.0)"
    assert "TPR at FPR 1 %: 50.0 (40.0–60.0), at FPR 0.1 %: not resolvable with 100 attacks" in text
    assert "APNRR 2.0, BPNRR 0.0" in text
    widths = {len(line) for line in text.splitlines() if line.startswith(("| all ", "| kiosk print "))}
    assert len(widths) == 1  # readable in a terminal too


def test_csv_has_one_figure_a_line(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == 3 * (7 + 2 * 5)  # figures of a row, and those at each of two thresholds
    found = {(row["row"], row["threshold"], row["figure"]): row for row in rows}
    assert found["all", "default", "hter"]["value"] == "0.200000"
    assert found["all", "default", "hter"]["high"] == "0.300000"
    assert found["all", "none", "tpr_at_fpr_0.1"]["value"] == ""


def test_json_is_strict(report):
    values = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert values["rows"][0]["at"]["default"]["hter"] == {"value": 0.2, "low": 0.1, "high": 0.3}
    assert values["rows"][0]["figures"]["tpr_at_fpr_0.1"]["value"] is None
    assert values["about"]["targets"] == ["kiosk"]
    assert values["thresholds"]["default"]["value"] == 0.45
    assert values["epochs"]["on_test"]["number"] == 3


def test_scores_without_a_name_have_a_title(report):
    assert title(replace(report, about=About())) == "scores"
