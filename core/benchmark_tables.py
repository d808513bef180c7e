"""A benchmark as Markdown for people, CSV for spreadsheets, JSON for programs, and every picture's scores."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dtda.core import tables
from dtda.core.agreement import LEVELS
from dtda.core.benchmark import Benchmark, Contender
from dtda.core.evaluate import Report, Row
from dtda.core.preprocess import rules
from dtda.core.tables import cell, csv_lines, grid, number, percent, plain

SIDES = ("median", "95 %", "flips")


def markdown(benchmark: Benchmark) -> str:
    """Rates and shares in per cent, P(live) and its drift from 0 to 1."""
    parts = [
        f"# {', '.join(each.name for each in benchmark.contenders)} on {benchmark.data.title}",
        _setting(benchmark),
    ]
    if benchmark.reports:
        parts += ["## Error rates", _rates(benchmark), *_by(benchmark, "attack type"), *_by(benchmark, "domain")]
        parts += _intervals(benchmark)
    if benchmark.agreements:
        parts += ["## Agreement", _agreement(benchmark)]
    parts += ["## Scores", _spread(benchmark)]
    if benchmark.drifts:
        parts += ["## Robustness", _drift(benchmark)]
    parts += ["## Students", _students(benchmark)]
    notes = "\n".join(f"- {note}" for note in benchmark.notes)
    return "\n\n".join([*parts, *([notes] if notes else [])]) + "\n"


def to_csv(benchmark: Benchmark) -> str:
    """Columns student, unit (of the intervals), then those of `tables.to_csv`; agreement, scores and robustness are groups
    with the other student, the pictures or the change as row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "unit", *tables.COLUMNS])
    writer.writerows(_lines(benchmark))
    return text.getvalue()


def to_json(benchmark: Benchmark) -> str:
    """Everything but the scores of single pictures; NaN becomes null."""
    pictures = len(benchmark.findings.path)
    found = {
        "data": benchmark.data.title,
        "clips": len(benchmark.data.clips),
        "pictures": pictures,
        "without_face": benchmark.lost,
        "students": [_facts(each) for each in benchmark.contenders],
        "reports": {
            name: {unit: tables.values(report) for unit, report in by_unit.items()}
            for name, by_unit in benchmark.reports.items()
        },
        "agreement": [asdict(each) for each in benchmark.agreements],
        "scores": [asdict(each) for each in benchmark.spreads],
        "robustness": {name: [asdict(each) for each in found] for name, found in benchmark.drifts.items()},
        "notes": benchmark.notes,
    }
    return json.dumps(plain(found), indent=2, ensure_ascii=False) + "\n"


def pictures(benchmark: Benchmark) -> str:
    """One row for each picture, with P(live) by every student and why there is none: to look at where they disagree."""
    findings = benchmark.findings
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "attack_type", "domain", *(each.name for each in benchmark.contenders), "reason"])
    for column, (path, clip) in enumerate(zip(findings.path, findings.clip, strict=True)):
        scores = [number(score) for score in findings.scores[:, column].tolist()]
        label = clip.label.value if benchmark.data.labelled else ""
        writer.writerow([path, label, clip.attack_type, clip.domain, *scores, findings.reasons[column]])
    return text.getvalue()


def first_report(benchmark: Benchmark, name: str) -> Report:
    """The one with the intervals to read first."""
    return next(iter(benchmark.reports[name].values()))


def _facts(each: Contender) -> dict[str, Any]:
    info = asdict(each.info)
    return {
        "name": each.name,
        **info,
        "thresholds": {key: value.model_dump() for key, value in each.thresholds.items()},
    }


def _setting(benchmark: Benchmark) -> str:
    findings = benchmark.findings
    clips, count = len(benchmark.data.clips), len(findings.path)
    reasons = Counter(reason for reason in findings.reasons if reason)
    why = "".join(f", {number} {reason}" for reason, number in reasons.most_common())
    text = f"{count} pictures of {clips} clips. Without a usable face: {percent(benchmark.lost)} %{why}."
    if not benchmark.reports:
        return text
    report = first_report(benchmark, benchmark.contenders[0].name)
    row = report.rows[0]
    lost = f"APNRR {percent(row.figures['apnrr'].value)} %, BPNRR {percent(row.figures['bpnrr'].value)} %"
    each = "clip, the mean over its pictures" if report.level == "video" else "picture"
    return (
        f"{text} Scored: {row.live} live and {row.attack} attack {_many(report.level)} ({lost}). One score per {each}. All "
        f"students judge the same faces, each at its own threshold. Error rates in per cent with 95 % intervals by "
        f"{report.draws} bootstrap draws of {report.units} {_many(report.unit)}."
    )


def _many(unit: str) -> str:
    return "clips" if unit == "video" else f"{unit}s"


def _rates(benchmark: Benchmark) -> str:
    rows = []
    for each in benchmark.contenders:
        report = first_report(benchmark, each.name)
        row = report.rows[0]
        rates = [cell(row.at["default"][point]) for point in tables.POINTS]
        tpr = row.figures["tpr_at_fpr_1"]
        rows.append((each.name, f"{each.thresholds['default'].value:.3g}", cell(row.figures["auc"]),
                     cell(row.figures["eer"]), *rates, cell(tpr)))  # fmt: skip
    header = ("student", "threshold", "AUC", "EER", "HTER", "BPCER", "APCER", "APCER max", "ACER", "TPR at FPR 1 %")
    return grid(header, rows)


def _by(benchmark: Benchmark, group: str) -> list[str]:
    """AUC, HTER or APCER by attack type or domain, the students beside each other; nothing for a single one."""
    found = {each.name: _rows(first_report(benchmark, each.name), group) for each in benchmark.contenders}
    names = list(next(iter(found.values())))
    if not names or (group == "domain" and len(names) < 2):
        return []
    rate = "apcer" if group == "attack type" else "hter"
    header = [group, "live", "attack", *(f"{name}: {what}" for name in found for what in ("AUC", rate.upper()))]
    lines = []
    for name in names:
        cells = [(rows[name].figures["auc"], rows[name].at["default"][rate]) for rows in found.values()]
        one = next(iter(found.values()))[name]
        lines.append([name, str(one.live), str(one.attack), *(cell(figure) for pair in cells for figure in pair)])
    return [f"By {group}:", grid(header, lines)]


def _rows(report: Report, group: str) -> dict[str, Row]:
    """Of a single domain the report has attack types of that domain only."""
    found = {row.name: row for row in report.rows if row.group == group}
    if found or group != "attack type":
        return found
    inner = [row for row in report.rows if row.group == "domain and attack type"]
    return {row.name.rpartition(" ")[2]: row for row in inner}


def _intervals(benchmark: Benchmark) -> list[str]:
    """The same figures with intervals over other units, where there are such."""
    lines = []
    for name, by_unit in benchmark.reports.items():
        for unit, report in list(by_unit.items())[1:]:
            row = report.rows[0]
            figures = [row.figures["auc"], row.figures["eer"], row.at["default"]["hter"], row.at["default"]["acer"]]
            lines.append((name, f"{report.units} {_many(unit)}", *map(cell, figures)))
    if not lines:
        return []
    return [
        "The same with intervals over other units:",
        grid(("student", "units", "AUC", "EER", "HTER", "ACER"), lines),
    ]


def _agreement(benchmark: Benchmark) -> str:
    lines = [
        (f"{each.one} and {each.other}", each.group, str(each.count), _plain(each.spearman), percent(each.same))
        for each in benchmark.agreements
    ]
    text = "Rank correlation of P(live) over pictures, and the share of equal verdicts."
    return f"{text}\n\n{grid(('students', 'pictures', 'n', 'Spearman', 'same verdict %'), lines)}"


def _spread(benchmark: Benchmark) -> str:
    header = ("student", "pictures", "n", *(f"{level} %" for level in LEVELS), "accepted %")
    lines = [
        (each.name, each.group, str(each.count), *(f"{value:.3f}" for value in each.quantiles), percent(each.accepted))
        for each in benchmark.spreads
    ]
    return f"Quantiles of P(live), and the share at or above the student's threshold.\n\n{grid(header, lines)}"


def _drift(benchmark: Benchmark) -> str:
    groups = list(dict.fromkeys(each.group for found in benchmark.drifts.values() for each in found))
    header = ["student", "change", *(f"{group}: {side}" for group in groups for side in SIDES)]
    lines = []
    for name, found in benchmark.drifts.items():
        for change in dict.fromkeys(each.change for each in found):
            by_group = {each.group: each for each in found if each.change == change}
            cells = []
            for group in groups:
                each = by_group.get(group)
                cells += (
                    [f"{each.median:.3f}", f"{each.p95:.3f}", f"{percent(each.flips)} %"]
                    if each
                    else ["–"] * len(SIDES)
                )
            lines.append([name, change, *cells])
    text = (
        "How far P(live) moves: median and 95th percentile. Box scale, shift and jitter move the facial points, as a "
        "detector does; the rest is done to the whole frame. Flips: share of verdicts that change."
    )
    return f"{text}\n\n{grid(header, lines)}"


def _students(benchmark: Benchmark) -> str:
    lines = []
    for each in benchmark.contenders:
        info, default = each.info, each.thresholds["default"]
        crops = ", ".join(f"{rule.kind} {rule.margin:g}, {rule.size} px" for rule in rules(info))
        lines.append((each.name, info.path, info.sha256[:12], f"{info.backend}, {info.precision}", crops,
                      f"{default.value:.4g}: {default.rule}, {default.split}"))  # fmt: skip
    return grid(("student", "file", "sha256", "runs on", "crop", "threshold"), lines)


def _lines(benchmark: Benchmark) -> Iterator[list[str | int]]:
    for name, by_unit in benchmark.reports.items():
        for unit, report in by_unit.items():
            yield from ([name, unit, *line] for line in csv_lines(report))
    for each in benchmark.agreements:
        for figure, value in (("spearman", each.spearman), ("same_verdict", each.same)):
            row = f"{each.other}, {each.group}"
            yield [
                each.one,
                "",
                "agreement",
                row,
                *_counts(each.group, each.count),
                "default",
                figure,
                number(value),
                "",
                "",
            ]
    for one in benchmark.spreads:
        quantiles = zip((f"quantile_{level}" for level in LEVELS), one.quantiles, strict=True)
        for figure, value in (*quantiles, ("accepted", one.accepted)):
            counts = _counts(one.group, one.count)
            yield [one.name, "", "scores", one.group, *counts, "default", figure, number(value), "", ""]
    for name, found in benchmark.drifts.items():
        for drift in found:
            for figure, value in (("median", drift.median), ("p95", drift.p95), ("flips", drift.flips)):
                row = f"{drift.change}, {drift.group}"
                counts = _counts(drift.group, drift.count)
                yield [name, "", "robustness", row, *counts, "default", f"drift_{figure}", number(value), "", ""]


def _counts(group: str, count: int) -> tuple[str | int, str | int]:
    """Columns live and attack."""
    return count if group == "live" else "", count if group == "attack" else ""


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
