"""Reports worked by hand on small score tables, and what they must refuse or say."""

import math
import time

import numpy as np
import pytest

from dtda.core.epochs import summarise
from dtda.core.errors import DtdaError
from dtda.core.evaluate import evaluate, working_points
from dtda.core.scores import About, make_table
from dtda.core.sidecar import Threshold

# name, subject, label, attack type, part, P(live); one frame a video
DEV = [("live", "", 0.9), ("live", "", 0.8), ("live", "", 0.7), ("live", "", 0.3),
       ("spoof", "print", 0.6), ("spoof", "print", 0.2), ("spoof", "phone", 0.1), ("spoof", "phone", 0.0)]  # fmt: skip
TEST = [("live", "", 0.95), ("live", "", 0.6), ("live", "", 0.5), ("live", "", 0.44), ("live", "", 0.1),
        ("spoof", "print", 0.7), ("spoof", "print", 0.3), ("spoof", "print", 0.2), ("spoof", "print", 0.1),
        ("spoof", "phone", 0.46), ("spoof", "phone", 0.05)]  # fmt: skip


def _rows(part, domain, entries):
    return [
        (f"{part}/{n}.png", f"{part}{n}", domain, f"{part}-s{n}", label, kind, part)
        for n, (label, kind, _) in enumerate(entries)
    ]


def _table(dev=DEV, test=TEST, about=None, domain="kiosk"):
    scores = [entry[2] for entry in (*dev, *test)]
    return make_table([*_rows("dev", "office", dev), *_rows("test", domain, test)], scores, about or About())


def _many(videos=400, frames=3, seed=0, domains=("kiosk",)):
    """Test and dev videos of many people; the target's scores lie lower than the source's."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for number in range(videos):
        part = ("dev", "test")[number % 2]
        domain = "office" if part == "dev" else domains[number // 2 % len(domains)]
        live = rng.random() < 0.4
        kind = "" if live else str(rng.choice(["print", "phone"]))
        centre = rng.normal((0.65 if live else 0.4) - 0.15 * (part == "test"), 0.1)
        for frame in range(frames):
            label = "live" if live else "spoof"
            rows.append((f"{number}/{frame}", f"v{number}", domain, f"s{number % 40}{part}", label, kind, part))
            scores.append(float(np.clip(rng.normal(centre, 0.05), 0, 1)))
    return make_table(rows, scores, About(name="tiny", sources=["office"], targets=list(domains)))


def test_both_conventions_counted_by_hand():
    """Dev: at any threshold in (0.3, 0.6] one live and one attack of four are on the wrong side; the middle, 0.45, is
    taken. Test at 0.45: live 0.44 and 0.1 are rejected, attacks 0.7 and 0.46 accepted."""
    report = evaluate(_table(), draws=50)
    default = report.thresholds["default"]
    assert default.value == pytest.approx(0.45)
    assert default.rule == "equal error rate"
    assert default.split == "dev part of office (4 live, 4 attack videos)"
    at = {name: figure.value for name, figure in report.rows[0].at["default"].items()}
    assert at == {
        "bpcer": 2 / 5,
        "apcer": 2 / 6,
        "apcer_max": 1 / 2,  # phone; print 1/4
        "hter": pytest.approx((2 / 5 + 2 / 6) / 2),
        "acer": pytest.approx((2 / 5 + 1 / 2) / 2),
    }
    # Field: |2/6 - 2/5| is the smallest gap on the test data, and lies between 0.44 and 0.46
    assert report.rows[0].figures["eer"].value == pytest.approx((2 / 6 + 2 / 5) / 2)
    assert report.target_threshold == pytest.approx((0.44 + 0.46) / 2, abs=0.011)
    assert report.rows[0].figures["auc"].value == pytest.approx((6 + 5 + 5 + 4 + 1.5) / 30)


def test_rows_of_attack_types_hold_all_live():
    rows = {row.name: row for row in evaluate(_table(), draws=50).rows}
    assert list(rows) == ["all", "kiosk phone", "kiosk print"]
    assert (rows["kiosk print"].live, rows["kiosk print"].attack) == (5, 4)
    assert rows["kiosk print"].at["default"]["apcer"].value == 1 / 4
    assert rows["kiosk phone"].at["default"]["apcer"].value == 1 / 2
    assert rows["kiosk phone"].at["default"]["bpcer"].value == 2 / 5


def test_several_domains_have_rows_of_their_own():
    report = evaluate(_many(domains=("kiosk", "window")), draws=20)
    names = [(row.group, row.name) for row in report.rows]
    assert names == [
        ("all", "all"), ("attack type", "phone"), ("attack type", "print"), ("domain", "kiosk"), ("domain", "window"),
        ("domain and attack type", "kiosk phone"), ("domain and attack type", "kiosk print"),
        ("domain and attack type", "window phone"), ("domain and attack type", "window print"),
    ]  # fmt: skip
    rows = {row.name: row for row in report.rows}
    assert rows["kiosk"].live + rows["window"].live == rows["all"].live
    assert rows["print"].attack == rows["kiosk print"].attack + rows["window print"].attack


def test_the_target_does_not_move_the_honest_threshold():
    """Where the target's scores are shifted, the field's HTER stays good and the honest one shows it."""
    before = evaluate(_many(), draws=20)
    table = _many()
    table.p_live[table.part == "test"] *= 0.8
    after = evaluate(table, draws=20)
    assert after.thresholds == before.thresholds
    assert after.rows[0].figures["eer"].value == before.rows[0].figures["eer"].value
    assert after.rows[0].at["default"]["hter"].value > after.rows[0].figures["eer"].value + 0.1


def test_scores_are_of_videos_unless_pictures_are_asked_for():
    videos, pictures = evaluate(_many(), draws=20), evaluate(_many(), level="picture", draws=20)
    assert videos.rows[0].live + videos.rows[0].attack == 200
    assert pictures.rows[0].live + pictures.rows[0].attack == 600


def test_intervals_hold_the_figure_and_are_of_people():
    table = _many()
    report = evaluate(table, draws=300)
    assert (report.unit, report.units) == ("subject", 20)
    for row in report.rows:
        for figure in (*row.at["default"].values(), row.figures["auc"], row.figures["eer"]):
            assert figure.low <= figure.value <= figure.high
            assert figure.low < figure.high
    narrow, wide = (
        evaluate(table, level="picture", units=units, draws=300).rows[0].at["default"]["bpcer"]
        for units in ("picture", "video")
    )
    assert narrow.value == wide.value
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)  # frames of a video err together


def test_no_error_is_not_the_certainty_of_none():
    """0 of 5 live rejected: every draw has 0 errors. The exact bound of 0 in 5 is 1 - 0.025^(1/5) = 0.522."""
    dev = [("live", "", 0.9), ("spoof", "print", 0.1)]
    report = evaluate(_table(dev, [("live", "", 0.8)] * 5 + [("spoof", "print", 0.2)] * 3), draws=50)
    at = report.rows[0].at["default"]
    assert (at["bpcer"].value, at["bpcer"].low, at["bpcer"].high) == (0, 0, pytest.approx(0.5218, abs=1e-4))
    assert at["apcer"].high == pytest.approx(1 - 0.025 ** (1 / 3))
    assert at["hter"].high == pytest.approx((at["bpcer"].high + at["apcer"].high) / 2)
    missed = evaluate(_table(dev, [("live", "", 0.1)] * 5 + [("spoof", "print", 0.2)] * 3), draws=50)
    assert missed.rows[0].at["default"]["bpcer"].low == pytest.approx(1 - 0.5218, abs=1e-4)


def test_few_people_are_said():
    few = evaluate(_table(), units="auto", draws=20)  # 11 subjects, one video each
    assert few.unit == "subject"
    four = [(*row[:3], f"s{n % 4}", *row[4:]) for n, row in enumerate(_rows("test", "kiosk", TEST))]
    table = make_table([*_rows("dev", "office", DEV), *four], [e[2] for e in (*DEV, *TEST)], About())
    report = evaluate(table, draws=20)
    assert report.unit == "video"
    assert any("Only 4 test subjects" in note for note in report.notes)
    assert evaluate(table, units="subject", draws=20).units == 4
    bare = [(*row[:3], "", *row[4:]) for row in _rows("test", "kiosk", TEST)]
    table = make_table([*_rows("dev", "office", DEV), *bare], [e[2] for e in (*DEV, *TEST)], About())
    assert any("not named" in note for note in evaluate(table, draws=20).notes)
    with pytest.raises(DtdaError, match="use --units video"):
        evaluate(table, units="subject", draws=20)


def test_rates_that_cannot_be_resolved_are_not_printed_as_numbers():
    row = evaluate(_many(2600, frames=1), draws=20).rows[0]
    assert 100 <= row.attack < 1000
    assert not math.isnan(row.figures["tpr_at_fpr_1"].value)
    assert math.isnan(row.figures["tpr_at_fpr_0.1"].value)


def test_non_responses_are_counted_apart_and_change_no_error_rate():
    table = _table(test=[*TEST, ("live", "", math.nan), ("spoof", "print", math.nan), ("spoof", "print", math.nan)])
    rows = {row.name: row for row in evaluate(table, draws=50).rows}
    assert rows["all"].figures["bpnrr"].value == 1 / 6
    assert rows["all"].figures["apnrr"].value == 2 / 8
    assert rows["kiosk print"].figures["apnrr"].value == 2 / 6
    assert rows["kiosk phone"].figures["apnrr"].value == 0
    assert (rows["all"].live, rows["all"].attack) == (5, 6)
    plain = evaluate(_table(), draws=50).rows[0]
    assert {k: f.value for k, f in rows["all"].at["default"].items()} == {
        k: f.value for k, f in plain.at["default"].items()
    }


@pytest.mark.parametrize(
    ("dev", "test", "words"),
    [
        (DEV, TEST[:5], "the test part has only live videos; error rates need live and attack ones"),
        (DEV, TEST[5:], "the test part has only attack videos"),
        (DEV[:4], TEST, "the dev part has only live videos"),
        ([], TEST, "no threshold is fixed before the test; add rows of source data with part dev"),
        (DEV, [("live", "", math.nan), ("spoof", "print", 0.1)], "the test part has only attack videos"),
        (DEV, [], "the test part has no scored video"),
    ],
)
def test_data_that_give_no_figures_are_one_sentence(dev, test, words):
    with pytest.raises(DtdaError) as failure:
        evaluate(_table(dev, test))
    assert words in str(failure.value)


def test_without_dev_scores_the_checkpoint_s_thresholds_hold():
    given = Threshold(value=0.65, rule="equal error rate", split="dev identities of office")
    report = evaluate(_table([], TEST, About(thresholds={"default": given})), draws=20)
    assert report.thresholds == {"default": given}
    assert report.rows[0].at["default"]["apcer"].value == 1 / 6
    assert any("student's own" in note for note in report.notes)


def test_inverted_labels_are_said():
    other = {"live": "spoof", "spoof": "live"}
    dev, test = ([(other[label], "", p) for label, _, p in part] for part in (DEV, TEST))
    notes = evaluate(_table(dev, test), draws=20).notes
    assert any("inverted" in note for note in notes)
    assert any("wrong way" in note for note in notes)
    assert not any("inverted" in note for note in evaluate(_table(), draws=20).notes)


def test_a_thousand_draws_of_five_thousand_videos_take_seconds():
    table = _many(10_000, frames=1)
    evaluate(_table(), draws=2)  # imports
    start = time.perf_counter()
    assert evaluate(table, units="video", draws=1000).units == 5000
    assert time.perf_counter() - start < 20  # some 2 s on one core


def test_working_points_come_from_live_dev_scores():
    scores = np.concatenate([np.arange(100) / 100, np.full(10, 0.001)])
    points = working_points(scores, np.arange(110) < 100, "dev")
    assert points["bpcer_1"].value == 0.01
    assert points["bpcer_5"].value == 0.05
    assert {point.split for point in points.values()} == {"dev"}


def test_the_epochs_of_both_conventions():
    history = [
        {"dev_eer": 0.2, "test_eer": 0.30, "test_auc": 0.7, "test_hter": 0.35},
        {"dev_eer": 0.3, "test_eer": 0.10, "test_auc": 0.9, "test_hter": 0.40},  # best on the test data
        {"dev_eer": 0.1, "test_eer": 0.20, "test_auc": 0.8, "test_hter": 0.25},  # best on dev
    ]
    found = summarise(history)
    assert (found.on_test.number, found.on_test.eer, found.on_test.auc) == (2, 0.10, 0.9)
    assert (found.on_dev.number, found.on_dev.hter) == (3, 0.25)
    assert (found.count, found.last) == (3, 3)
    assert found.mean.eer == pytest.approx(0.2)
    assert found.sd.eer == pytest.approx(0.1)  # of a sample: divided by n - 1
    assert summarise(history * 5).last == 10
    assert math.isnan(summarise(history[:1]).sd.eer)
    assert summarise([]) is None
    assert summarise([{"dev_eer": 0.1, "test_eer": None, "test_auc": 0.1, "test_hter": 0.1}]) is None
