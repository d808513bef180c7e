"""Students on the same faces: each its own crop, one detection, figures against those by hand, and the tables."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from dtda.core import benchmark_tables as tables
from dtda.core import metrics
from dtda.core.benchmark import Contender, Options, conclude, scan
from dtda.core.data.gather import gather
from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, crop
from dtda.core.robustness import ALTERS
from dtda.core.sidecar import Threshold
from dtda.core.types import EngineInfo, Face

SMALL, LARGE = CropRule(16, 1.5), CropRule(24, 3.0, "upright")


def contender(name, *rules, threshold=0.5, way=lambda chips: chips.mean((1, 2, 3)) / 255):
    """P(live) is the mean of `way` over the batches."""
    first, *further = rules
    info = EngineInfo(name, name, "fake", "none", "fp32", first.size, first.margin, threshold, "0" * 64,
                      crop=first.kind, further=tuple(further))  # fmt: skip

    def infer(*batches):
        assert [batch.shape[1] for batch in batches] == [rule.size for rule in rules]
        return np.mean([way(batch) for batch in batches], 0, dtype=np.float32)

    points = {"default": Threshold(value=threshold, rule="fixed", split="none")}
    return Contender(name, info, infer, points)


def never(bgr):
    raise AssertionError("no detection was needed")


def chequer(chips):
    """Attacks of `textures` have a fine chequer: share of contrast that is fine."""
    grey = chips.mean(3)
    fine = np.abs(np.diff(grey, axis=2)).mean((1, 2))
    return np.clip(1 - fine / 20, 0, 1)


@pytest.fixture(scope="module")
def data(textures):
    return gather(str(textures), ["test"])


@pytest.fixture(scope="module")
def pair():
    return [contender("bright", SMALL), contender("fine", LARGE, SMALL, threshold=0.6, way=chequer)]


@pytest.fixture(scope="module")
def benchmark(data, pair):
    return conclude(data, pair, scan(data.clips, pair, never, Options(robust=True)), "video", "auto", 50)


def test_every_student_gets_its_own_crops_of_the_picture(data, pair):
    findings = scan(data.clips, pair, never, Options())
    assert findings.moved.shape == (2, len(data.clips), 0)
    clip = data.clips[3]
    bgr = read_picture(clip.path)
    by_rule = {rule: crop(bgr, clip.points, rule) for rule in (SMALL, LARGE)}
    assert findings.scores[0, 3] == pytest.approx(by_rule[SMALL].mean() / 255, abs=1e-6)
    expected = np.mean([chequer(by_rule[rule][None])[0] for rule in (LARGE, SMALL)])
    assert findings.scores[1, 3] == pytest.approx(expected, abs=1e-6)


def test_figures_are_those_of_the_scores_at_each_threshold(data, pair, benchmark):
    for number, each in enumerate(pair):
        scores = benchmark.findings.scores[number]
        live = np.array([clip.label.value == "live" for clip in data.clips])
        report = tables.first_report(benchmark, each.name)
        row, threshold = report.rows[0], each.info.threshold
        assert row.figures["auc"].value == pytest.approx(metrics.auc(scores, live))
        assert row.at["default"]["hter"].value == pytest.approx(metrics.hter(scores, live, threshold))
        assert row.at["default"]["apcer_max"].value == pytest.approx(metrics.apcer(scores, live, threshold))
    assert tables.first_report(benchmark, "fine").rows[0].figures["auc"].value > 0.9


def test_intervals_are_over_people_and_over_clips_where_those_differ(data, pair, benchmark):
    assert [list(found) for found in benchmark.reports.values()] == [["subject"], ["subject"]]  # one clip each
    clips = tuple(replace(clip, subject=f"s{number // 2}") for number, clip in enumerate(data.clips))
    pairs = replace(data, clips=clips)
    found = conclude(pairs, pair, scan(clips, pair, never, Options()), "video", "auto", 50)
    assert list(found.reports["fine"]) == ["subject", "video"]
    assert "36 clips" in tables.markdown(found)
    only = conclude(pairs, pair, scan(clips, pair, never, Options()), "video", "video", 50)
    assert list(only.reports["fine"]) == ["video"]


def test_the_tables_hold_the_figures(benchmark):
    text = tables.markdown(benchmark)
    for words in ("## Error rates", "By attack type:", "By domain:", "## Agreement", "## Robustness", "fixed"):
        assert words in text
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    assert "|dp|" not in text
    assert all(row.count("|") > 3 for row in rows)
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(benchmark))))
    (auc,) = [row for row in lines if (row["student"], row["group"], row["figure"]) == ("fine", "all", "auc")]
    assert float(auc["value"]) == pytest.approx(
        tables.first_report(benchmark, "fine").rows[0].figures["auc"].value, abs=1e-6
    )
    assert {row["group"] for row in lines} >= {"agreement", "scores", "robustness"}
    found = json.loads(tables.to_json(benchmark))
    assert [each["name"] for each in found["students"]] == ["bright", "fine"]
    assert found["students"][1]["further"][0]["size"] == 16
    pictures = list(csv.DictReader(io.StringIO(tables.pictures(benchmark))))
    assert len(pictures) == 36
    assert float(pictures[3]["fine"]) == pytest.approx(benchmark.findings.scores[1, 3], abs=1e-6)


def test_drift_is_measured_on_both_classes(benchmark):
    assert benchmark.findings.moved.shape == (2, 36, len(ALTERS))
    found = {(each.change, each.group): each for each in benchmark.drifts["bright"]}
    darker = found["brightness -20 %", "live"]
    middle = np.median(benchmark.findings.scores[0][[clip.label.value == "live" for clip in benchmark.data.clips]])
    assert darker.median == pytest.approx(0.2 * middle, rel=0.1)
    assert found["JPEG 95", "attack"].median < 0.02


def test_where_crops_fill_the_picture_a_larger_box_is_no_test(data, pair, benchmark):
    wide = [contender("wide", CropRule(16, 8.0)), pair[0]]
    found = conclude(data, wide, scan(data.clips, wide, never, Options(robust=True)), "video", "auto", 10)
    (note,) = [note for note in found.notes if "fills the picture" in note]
    assert note.startswith("wide: for 100 %")
    assert not [note for note in benchmark.notes if note.startswith("bright: for")]


def test_a_face_is_found_once_for_all_students(data, pair):
    calls = []

    def detect(bgr):
        calls.append(bgr.shape)
        box = np.array([40, 40, 120, 140], np.float32)
        return [] if len(calls) == 2 else [Face(box, data.clips[0].points, 0.9)]

    clips = data.clips[:3]
    findings = scan(clips, pair, detect, Options(afresh=True))
    assert len(calls) == 3
    assert findings.reasons == ("", "no face found", "")
    assert np.isnan(findings.scores).tolist() == [[False, True, False]] * 2


def test_what_the_live_gate_refuses_can_be_left_out(data, pair):
    small = tuple(replace(clip, points=clip.points * 0.3) for clip in data.clips[:2])
    assert not np.isnan(scan(small, pair, never, Options()).scores).any()
    gated = scan(small, pair, never, Options(gated=True))
    assert np.isnan(gated.scores).all()
    assert all("too small" in reason for reason in gated.reasons)
    with pytest.raises(DtdaError, match="no face was found in 2 pictures"):
        conclude(replace(data, clips=small), pair, gated, "video", "auto", 10)


def test_an_unreadable_picture_is_a_non_response(data, pair, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    clips = (*data.clips, replace(data.clips[0], path=broken, video="broken"))
    findings = scan(clips, pair, never, Options(robust=True))
    assert findings.unreadable == (f"{broken}: not a readable picture.",)
    found = conclude(replace(data, clips=clips), pair, findings, "video", "auto", 10)
    row = tables.first_report(found, "bright").rows[0]
    assert row.figures["bpnrr"].value == pytest.approx(1 / (row.live + 1))
    assert "1 unreadable" in tables.markdown(found)


def test_unlabelled_pictures_give_agreement_and_quantiles(data, pair, textures, tmp_path):
    from dtda.core.types import Label

    clips = tuple(replace(clip, label=Label.CANNOT_TELL, attack_type="") for clip in data.clips)
    unlabelled = replace(data, clips=clips, labelled=False)
    found = conclude(unlabelled, pair, scan(clips, pair, never, Options(robust=True)), "video", "auto", 10)
    assert not found.reports
    assert not found.tables
    assert [each.group for each in found.agreements] == ["all"]
    text = tables.markdown(found)
    assert "Error rates" not in text
    assert "Nothing says what is live here" in text
    assert all(row["label"] == "" for row in csv.DictReader(io.StringIO(tables.pictures(found))))


def test_one_class_alone_gives_no_error_rates(data, pair):
    clips = tuple(clip for clip in data.clips if clip.label.value == "live")
    found = conclude(replace(data, clips=clips), pair, scan(clips, pair, never, Options()), "video", "auto", 10)
    assert not found.reports
    assert "only live pictures" in found.notes[-1]
    assert {each.group for each in found.spreads} == {"live"}


def test_a_student_that_points_the_wrong_way_is_named(data):
    both = [contender("right", LARGE, way=chequer), contender("wrong", LARGE, way=lambda chips: 1 - chequer(chips))]
    found = conclude(data, both, scan(data.clips, both, never, Options()), "video", "auto", 10)
    (note,) = [note for note in found.notes if "below 50 %" in note]
    assert note.startswith("wrong: ")
