"""The ablation table: its rows, its runs, and figures made from score files worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from dtda.core.errors import DtdaError
from dtda.core.metrics import auc
from dtda.core.scores import About, make_table
from dtda.core.training import ablation
from dtda.core.training.ablation import ROWS, WARM, Job, do, jobs, markdown, row_config, table
from dtda.core.training.config import TrainConfig, read_config

TEACHERS = {name: {"kind": "stargan", "file": f"{name}.pth"} for name in ("perceptual", "generative")}


@pytest.fixture
def config():
    return TrainConfig.model_validate({"data": {"manifests": ["m.csv"]}, "teachers": TEACHERS})


def test_rows_switch_terms_and_nothing_else(config):
    made = {row: row_config(config, row) for row in ROWS}
    assert {row: (c.domain.adversary, tuple(c.teachers)) for row, c in made.items()} == {
        "ERM": ("none", ()),
        "DAT": ("dat", ()),
        "DAA": ("daa", ()),
        "DAA + perceptual": ("daa", ("perceptual",)),
        "DAA + generative": ("daa", ("generative",)),
        "DTDA": ("daa", ("perceptual", "generative")),
    }
    for changed in made.values():
        same = changed.model_copy(update={"domain": config.domain, "teachers": config.teachers})
        assert same == config
    with pytest.raises(DtdaError, match=r"the row DTDA needs teachers\.generative"):
        row_config(config.model_copy(update={"teachers": {"perceptual": config.teachers["perceptual"]}}), "DTDA")


def test_every_row_fold_and_seed_has_its_run(config, tmp_path):
    made = jobs(config, "sim-loo", ["a", "b c"], ["ERM", "DTDA"], 3, tmp_path)
    assert len({job.out for job in made}) == len(made) == 12
    assert [(job.row, job.fold, job.seed) for job in made[:3]] == [("ERM", "a", 0), ("DTDA", "a", 0), ("ERM", "b c", 0)]
    assert all((job.config.seed, job.config.data.fold) == (job.seed, job.fold) for job in made)
    with pytest.raises(DtdaError, match="SSDG: no such row; there are ERM"):
        jobs(config, "sim-loo", ["a"], ["SSDG"], 1, tmp_path)


def test_warm_runs_come_first_and_give_the_rows_their_start(config, tmp_path):
    made = jobs(config, "sim-loo", ["a"], ["ERM", "DAT"], 1, tmp_path, warm=config)
    assert [job.row for job in made] == [WARM, "ERM", "DAT"]
    assert made[0].config.domain.adversary == "none"
    assert made[0].config.weights == "random"
    assert {job.config.weights for job in made[1:]} == {str(made[0].out / "last.ckpt")}


def _scores(seed, shift, people=30):
    """Test people 0..29 live and attacked, scores apart by `shift`; dev scores the same for all."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for part in ("dev", "test"):
        for person in range(people):
            for label in ("live", "spoof"):
                name = f"{part}-{person}-{label}"
                rows.append((name, name, "a", f"{part}{person}", label, "" if label == "live" else "print", part))
                scores.append(float(np.clip(0.5 + rng.normal(0, 0.1) + (shift if label == "live" else 0), 0, 1)))
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


def test_only_pairs_that_all_rows_have_are_compared():
    done = [(_job("ERM", "x", 0), _scores(0, 0.1)), (_job("ERM", "x", 1), _scores(1, 0.1))]
    done.append((_job("DAT", "x", 0), _scores(2, 0.1)))
    assert [line.runs for line in table(done, draws=20)] == [1, 1]
    assert table(done[1:], draws=20) == []


@pytest.fixture
def tiny(textures, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        threads = 1
        workers = 0
        [data]
        manifests = ["{textures}"]
        size = 32
        margin = 1.3
        crops = 1
        [optim]
        epochs = 1
        batch = 16
        """
    )
    return read_config(path)


def test_a_run_is_done_once_and_never_mixed(tiny, tmp_path, monkeypatch):
    (job,) = jobs(tiny, "sim-loo", ["c"], ["DAA"], 1, tmp_path / "out")
    scores = do(job, None)
    assert {record for record in scores.domain[scores.part == "test"]} == {"c"}
    assert scores.about.fold == "c"
    monkeypatch.setattr(ablation, "_material", None)  # a second training would fail
    again = do(job, None)
    np.testing.assert_array_equal(again.p_live, scores.p_live)
    (other,) = jobs(tiny.model_copy(update={"dropout": 0.0}), "sim-loo", ["c"], ["DAA"], 1, tmp_path / "out")
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(other, None)


def test_a_killed_run_goes_on(tiny, tmp_path):
    from dtda.core.training import checkpoint
    from dtda.core.training.loop import train

    whole, cut = (jobs(tiny, "sim-loo", ["c"], ["DAT"], 1, tmp_path / name)[0] for name in ("whole", "cut"))
    train(cut.config, cut.out, False, None, stop_after=1)
    assert not cut.scores.exists()
    np.testing.assert_array_equal(do(cut, None).p_live, do(whole, None).p_live)
    assert checkpoint.load(cut.out / "last.ckpt")["step"] == 3
