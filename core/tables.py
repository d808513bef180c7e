"""A report of `evaluate` as Markdown for people, CSV for spreadsheets (one figure a line) and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dtda.core.evaluate import RATES, Figure, Report, Row

POINTS = ("hter", "bpcer", "apcer", "apcer_max", "acer")
COLUMNS = ("group", "row", "live", "attack", "threshold", "figure", "value", "low", "high")


def markdown(report: Report) -> str:
    """Rates in per cent with 95 % intervals; field convention and honest figures side by side first."""
    parts = [f"# {title(report)}", _setting(report), _side_by_side(report), _rows(report), _working_points(report)]
    notes = "\n".join(f"- {note}" for note in report.notes)
    return "\n\n".join([*parts, *([notes] if notes else [])]) + "\n"


def title(report: Report) -> str:
    about = report.about
    where = f" on {about.protocol}" if about.protocol else ""
    return f"{about.name or 'scores'}{where}" + (f", fold {about.fold}" if about.fold else "")


def to_csv(report: Report) -> str:
    """Columns group, row, live, attack, threshold, figure, value, low, high: shares in [0, 1], empty for NaN.

    threshold: of a working point; `none` for figures that need none, of which eer is the field convention's HTER.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(csv_lines(report))
    return text.getvalue()


def csv_lines(report: Report) -> Iterator[list[str | int]]:
    """The rows of `to_csv`."""
    for row in report.rows:
        for point, figures in {"none": row.figures, **row.at}.items():
            for name, figure in figures.items():
                numbers = [number(x) for x in (figure.value, figure.low, figure.high)]
                yield [row.group, row.name, row.live, row.attack, point, name, *numbers]


def number(value: float) -> str:
    """For a CSV: empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6f}"


def to_json(report: Report) -> str:
    """The whole report; NaN becomes null."""
    return json.dumps(values(report), indent=2, ensure_ascii=False) + "\n"


def values(report: Report) -> dict[str, Any]:
    """What `to_json` writes."""
    return plain(
        asdict(report)
        | {
            "about": report.about.model_dump(exclude={"history", "thresholds", "notes"}),
            "thresholds": {name: threshold.model_dump() for name, threshold in report.thresholds.items()},
        }
    )


def plain(value: Any) -> Any:
    """Ready for JSON: NaN becomes null."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _setting(report: Report) -> str:
    about, everything = report.about, report.rows[0]
    trained = f"Trained on {', '.join(about.sources)}; tested on" if about.sources else "Tested on"
    per = "video, the mean over its frames" if report.level == "video" else "picture"
    return (
        f"{trained} {', '.join(about.targets) or 'the data named'}: {everything.live} live, {everything.attack} attack "
        f"{report.level}s. One score per {per}. 95 % intervals: {report.draws} bootstrap draws of {report.units} "
        f"{report.unit}s. Honest thresholds: {report.thresholds['default'].split}. All figures in per cent."
    )


def _side_by_side(report: Report) -> str:
    row, epochs, default = report.rows[0], report.epochs, report.thresholds["default"]
    lines = [
        ("threshold", f"{report.target_threshold:.4f}, equal errors on the test data",
         f"{default.value:.4f}, {default.rule} on dev"),
        ("HTER", cell(row.figures["eer"]), cell(row.at["default"]["hter"])),
        ("AUC", cell(row.figures["auc"]), cell(row.figures["auc"])),
    ]  # fmt: skip
    if epochs:
        test, dev, mean, sd = epochs.on_test, epochs.on_dev, epochs.mean, epochs.sd
        spread = f"AUC {_pm(mean.auc, sd.auc)}"
        lines += [
            ("best epoch, per video", f"{test.number} of {epochs.count}, picked on the test data: "
             f"HTER {percent(test.eer)}, AUC {percent(test.auc)}",
             f"{dev.number} of {epochs.count}, picked on dev: HTER {percent(dev.hter)}, AUC {percent(dev.auc)}"),
            (f"last {epochs.last} epochs, mean ± sd, per video", f"HTER {_pm(mean.eer, sd.eer)}, {spread}",
             f"HTER {_pm(mean.hter, sd.hter)}, {spread}"),
        ]  # fmt: skip
    return grid(("", "field convention (optimistic)", "honest"), lines)


def _rows(report: Report) -> str:
    """One line per row: the threshold-free figures, then those at the default working point."""
    suffixes = {"attack type": ", all domains", "domain": ", all attacks"}
    header = (f"{report.level}s", "live", "attack", "AUC", "EER", "HTER", "BPCER", "APCER", "APCER max", "ACER")
    lines = []
    for row in report.rows:
        cells = [cell(row.figures["auc"]), cell(row.figures["eer"])]
        cells += [cell(row.at["default"][key]) for key in POINTS]
        if "type" in row.group:  # of one type, the largest is the only one
            cells[5] = ""
        lines.append((row.name + suffixes.get(row.group, ""), str(row.live), str(row.attack), *cells))
    text = "AUC and EER need no threshold; the rest is at the honest one. A row of attacks holds all live ones beside them."
    return f"{text}\n\n{grid(header, lines)}"


def _working_points(report: Report) -> str:
    """What the other thresholds fixed beforehand give on all test data, TPR at FPR, and non-responses."""
    row = report.rows[0]
    points = [
        (f"{threshold.rule} ({threshold.value:.4f})", *(cell(row.at[name][key]) for key in POINTS))
        for name, threshold in report.thresholds.items()
    ]
    table = grid(("threshold, from dev", "HTER", "BPCER", "APCER", "APCER max", "ACER"), points)
    rates = ", ".join(f"at FPR {100 * rate:g} %: {_tpr(row, key, rate)}" for key, rate in RATES.items())
    lost = f"APNRR {percent(row.figures['apnrr'].value)}, BPNRR {percent(row.figures['bpnrr'].value)}"
    off = percent(row.figures["ece"].value)
    return f"{table}\n\nTPR {rates}. Calibration error {off}. Without a usable face: {lost}."


def _tpr(row: Row, key: str, rate: float) -> str:
    figure = row.figures[key]
    return f"not resolvable with {row.attack} attacks" if math.isnan(figure.value) else cell(figure)


def cell(figure: Figure) -> str:
    """Per cent with the interval, if there is one."""
    if math.isnan(figure.value):
        return "–"
    if math.isnan(figure.low):
        return percent(figure.value)
    return f"{percent(figure.value)} ({percent(figure.low)}–{percent(figure.high)})"


def percent(share: float) -> str:
    """One decimal, a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def _pm(mean: float, sd: float) -> str:
    return f"{percent(mean)} ± {percent(sd)}"


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned."""
    widths = [max(3, *(len(line[column]) for line in (header, *lines))) for column in range(len(header))]
    rule = ["-" * width for width in widths]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in (header, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
