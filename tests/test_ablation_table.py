"""The ablation table: its figures are those of its score files, worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.metrics import auc
from dtda.core.resampling import interval
from dtda.core.scores import About, make_table
from dtda.core.training.ablation import Job
from dtda.core.training.ablation_table import Drawn, markdown, table, write
from dtda.core.training.config import TrainConfig


def _scores(seed, shift, people=30, display=0.0):
    """Test people 0..29 live and attacked, scores apart by `shift`; dev scores the same for all. Every other attack is on a
    display, further apart by `display`."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for part in ("dev", "test"):
        for person in range(people):
            for label in ("live", "spoof"):
                name = f"{part}-{person}-{label}"
                kind = "" if label == "live" else ("print", "display")[person % 2]
                rows.append((name, name, "a", f"{part}{person}", label, kind, part))
                apart = shift if label == "live" else -display * (kind == "display")
                scores.append(float(np.clip(0.5 + rng.normal(0, 0.1) + apart, 0, 1)))
    return make_table(rows, scores, About())


def _job(row, fold, seed):
    return Job(row, fold, seed, TrainConfig.model_validate({"data": {"manifests": ["m.csv"]}}), Path())


def test_the_table_is_what_its_score_files_say():
    done = [
        (_job(row, fold, seed), _scores(10 * seed + len(fold), shift))
        for row, shift in (("ERM", 0.05), ("DTDA", 0.2))
        for fold in ("x", "yy")
        for seed in range(2)
    ]
    erm, dtda = table(done, draws=200)
    assert (erm.row, erm.runs, dtda.row) == ("ERM", 4, "DTDA")
    aucs = {(job.row, job.fold, job.seed): auc(s.of("test").p_live, s.of("test").live) for job, s in done}
    assert dtda.auc == pytest.approx(np.mean([value for (row, *_), value in aucs.items() if row == "DTDA"]))
    assert dtda.by_fold["yy"] == pytest.approx((aucs["DTDA", "yy", 0] + aucs["DTDA", "yy", 1]) / 2)
    assert dtda.gain == pytest.approx(dtda.auc - erm.auc)
    assert dtda.gain_interval[0] < dtda.gain < dtda.gain_interval[1]
    assert dtda.gain_interval[0] > 0  # the shift is real
    assert erm.gain == 0
    assert erm.gain_interval == (0.0, 0.0)  # paired: the same people are drawn for both
    means = [(aucs["ERM", "x", seed] + aucs["ERM", "yy", seed]) / 2 for seed in range(2)]
    assert erm.auc_sd == pytest.approx(np.std(means, ddof=1))
    text = markdown([erm, dtda]).splitlines()
    assert text[0].endswith("| x | yy |")
    assert text[3].startswith("| DTDA | 4 | ")
    assert len({line.count("|") for line in text}) == 1


def test_without_erm_the_table_names_what_gains_are_over():
    done = [(_job(row, "x", 0), _scores(0, shift)) for row, shift in (("DTDA", 0.2), ("DAT", 0.05))]
    dat, dtda = table(done, draws=20)
    assert (dat.base, dtda.base, dat.gain) == ("DAT", "DAT", 0)
    header, _, first, second = markdown([dat, dtda]).splitlines()
    assert "| vs DAT (95 %) |" in header
    assert "ERM" not in header
    assert first.split(" | ")[3] == "-"
    assert second.split(" | ")[3].startswith("+")


def test_only_pairs_that_all_rows_have_are_compared():
    done = [(_job("ERM", "x", 0), _scores(0, 0.1)), (_job("ERM", "x", 1), _scores(1, 0.1))]
    done.append((_job("DAT", "x", 0), _scores(2, 0.1)))
    assert [line.runs for line in table(done, draws=20)] == [1, 1]
    assert table(done[1:], draws=20) == []


def test_rows_come_in_the_order_given():
    done = [(_job(row, "x", 0), _scores(0, shift)) for row, shift in (("small", 0.05), ("full", 0.2))]
    lines = table(done, draws=20, order=["full", "small", "not run"])
    assert [line.row for line in lines] == ["full", "small"]
    assert {line.base for line in lines} == {"full"}
    done.append((_job("ERM", "x", 0), _scores(0, 0.1)))
    assert {line.base for line in table(done, draws=20, order=["full", "ERM", "small"])} == {"ERM"}


def test_each_attack_type_against_all_live_pictures(tmp_path):
    pairs = {(row, seed): _scores(seed, 0.05, display=display)
             for row, display in (("ERM", 0.0), ("DAT", 0.2)) for seed in range(2)}  # fmt: skip
    erm, dat = table([(_job(row, "x", seed), scores) for (row, seed), scores in pairs.items()], draws=200)
    assert list(dat.by_type) == ["display", "print"]

    def of(row, kind):
        found = [scores.of("test") for (name, _), scores in pairs.items() if name == row]
        chosen = [test.where(test.live | (test.attack_type == kind)) for test in found]
        return np.mean([auc(each.p_live, each.live) for each in chosen])

    for kind in ("display", "print"):
        assert dat.by_type[kind] == pytest.approx(of("DAT", kind))
        assert dat.by_type_gain[kind] == pytest.approx(of("DAT", kind) - of("ERM", kind))
        assert erm.by_type_gain_interval[kind] == (0, 0)
    assert dat.by_type_gain_interval["display"][0] > 0.05
    assert dat.by_type_gain_interval["print"] == (0, 0)  # the same scores, the same draws
    low, high = dat.by_type_interval["print"]
    assert low < dat.by_type["print"] < high
    text = markdown([erm, dat], "type").splitlines()
    assert text[0].endswith("| EER % | display (vs ERM) | print (vs ERM) |")
    assert text[3].endswith("(+0.0 to +0.0) |")
    assert len({line.count("|") for line in text}) == 1
    write(tmp_path, [erm, dat], "type")
    assert (tmp_path / "ablation.md").read_text() == markdown([erm, dat], "type") + "\n"


def test_a_type_that_one_fold_lacks_is_over_the_others():
    only = _scores(0, 0.1)
    only = only.where(only.attack_type != "display")
    (line,) = table([(_job("ERM", "x", 0), only), (_job("ERM", "y", 0), _scores(1, 0.1, display=0.3))], draws=20)
    (alone,) = table([(_job("ERM", "y", 0), _scores(1, 0.1, display=0.3))], draws=20)
    assert line.by_type["display"] == alone.by_type["display"]
    assert line.by_type["print"] != alone.by_type["print"]


def test_rows_judged_on_other_pictures_are_not_compared():
    scores = _scores(0, 0.1)
    fewer = scores.where(scores.subject != "test3")
    with pytest.raises(DtdaError, match="rows ERM and DAT were judged on other people or pictures in fold x"):
        table([(_job("ERM", "x", 0), scores), (_job("DAT", "x", 0), fewer)], draws=20)


def test_ranks_are_means_over_runs_and_draws():
    done = [(_job("ERM", "x", seed), _scores(seed, 0.1)) for seed in range(2)]
    drawn = {seed: np.linspace(seed, seed + 0.5, 20) for seed in range(2)}
    ranks = {("ERM", "x", seed): {"net: live": Drawn(0.25 + seed / 10, drawn[seed]),
                                  "net: attack": Drawn(float("nan"), np.full(20, np.nan))} for seed in range(2)}  # fmt: skip
    (line,) = table(done, draws=20, ranks=ranks)
    assert line.ranks["net: live"] == pytest.approx(0.3)
    assert line.ranks_interval["net: live"] == interval(np.mean(list(drawn.values()), axis=0))
    head, _, row = markdown([line]).splitlines()
    assert head.endswith("| ranks as net: live (95 %) | ranks as net: attack (95 %) |")
    low, high = line.ranks_interval["net: live"]
    assert row.endswith(f"| 0.30 ({low:.2f} to {high:.2f}) | - |")
