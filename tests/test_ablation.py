"""The ablation table: its rows, its runs, and figures made from score files worked out by hand."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from dtda.app import cli
from dtda.core.errors import DtdaError
from dtda.core.metrics import auc
from dtda.core.models.stargan import Discriminator
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


@pytest.fixture
def tiny(tiny_file):
    return read_config(tiny_file)


@pytest.fixture
def tiny_file(textures, tmp_path):
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
    return path


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


def test_how_a_run_is_executed_may_differ(tiny, tmp_path):
    (job,) = jobs(tiny, "sim-loo", ["c"], ["ERM"], 1, tmp_path / "out")
    scores = do(job, None)
    elsewhere = tiny.model_copy(update={"threads": 2, "workers": 1, "checkpoint_minutes": 9.0})
    (again,) = jobs(elsewhere, "sim-loo", ["c"], ["ERM"], 1, tmp_path / "out")
    np.testing.assert_array_equal(do(again, None).p_live, scores.p_live)
    (job.out / "job.json").write_text("{}")
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(job, None)


def test_a_second_writer_is_refused(tiny, tmp_path, monkeypatch):
    (job,) = jobs(tiny, "sim-loo", ["c"], ["ERM"], 1, tmp_path / "out")
    job.out.mkdir(parents=True)
    monkeypatch.setattr(ablation, "PATIENCE", 0.1)
    with FileLock(job.out / ".lock"), pytest.raises(DtdaError, match=r"seed0: another process trains this run"):
        do(job, None)
    assert not job.scores.exists()
    assert do(job, None)


def _teachers(tmp_path):
    """A configuration whose generative teacher is missing, as text."""
    torch.manual_seed(0)
    torch.save(Discriminator(32, 4, 2, 2).state_dict(), tmp_path / "gan.pth")
    return f"""
        [teachers.perceptual]
        kind = "stargan"
        file = "{tmp_path}/gan.pth"
        [teachers.generative]
        kind = "stargan"
        file = "{tmp_path}/none.pth"
        """


def test_wrong_teachers_are_refused_before_the_first_run(textures, tiny_file, tmp_path, capsys):
    tiny_file.write_text(tiny_file.read_text() + _teachers(tmp_path))
    words = [
        "ablate",
        "sim-loo",
        f"data.cache={tmp_path}/chips",
        "--config",
        str(tiny_file),
        "--out",
        str(tmp_path / "out"),
    ]
    for text, words_told in ((None, "no such teacher file"), ("x", "not a readable PyTorch weights file")):
        if text:
            (tmp_path / "none.pth").write_text(text)
        assert cli.main(words) == 2
        assert f"none.pth: {words_told}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "chips").exists()
    config = read_config(tiny_file)
    ablation.check(config, ["ERM", "DAA + perceptual"])  # rows without that teacher are fine
    with pytest.raises(DtdaError, match="SSDG: no such row"):
        ablation.check(config, ["SSDG"])


@pytest.fixture
def start(tiny_file, tmp_path):
    """start() begins, or goes on with, two runs that would take hours, and returns the command once both have saved."""
    started = []
    out = tmp_path / "out"
    code = "import sys; from dtda.app import cli\nif __name__ == '__main__': sys.exit(cli.main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "ablate", "sim-loo", "optim.epochs=100000", "checkpoint_minutes=1e-9", "--config",
             str(tiny_file), "--out", str(out), "--workers", "2", "--seeds", "1", "--row", "ERM", "--row", "DAT",
             "--fold", "c"]  # fmt: skip

    def begin():
        # A test run in the background may ignore Ctrl-C, and what it starts would too.
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        until = time.monotonic() + 200
        while not all((out / row / "c/seed0/last.ckpt").is_file() for row in ("erm", "dat")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.1)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _children(process):
    """Runs of the command: its processes but Python's own resource tracker."""
    numbers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(n) for n in numbers if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]


def _runs(number):
    """Whether the process still does something; one that has ended may wait for its new parent to ask for its status."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_command_leaves_no_run_behind_and_a_killed_run_ends_the_command(start):
    process = start()
    children = _children(process)
    assert len(children) == 2
    process.kill()
    process.stdout.read()  # ends when the last process that holds the pipe has ended
    process.wait()
    assert not any(_runs(number) for number in children)

    process = start()  # goes on in the same folders
    while len(_children(process)) < 2:
        time.sleep(0.1)
    os.kill(_children(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "a process of this program was ended from outside" in err


@pytest.mark.slow
def test_ctrl_c_waits_for_no_run(start):
    process = start()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_killed_run_goes_on(tiny, tmp_path):
    from dtda.core.training import checkpoint
    from dtda.core.training.loop import train

    whole, cut = (jobs(tiny, "sim-loo", ["c"], ["DAT"], 1, tmp_path / name)[0] for name in ("whole", "cut"))
    train(cut.config, cut.out, False, None, stop_after=1)
    assert not cut.scores.exists()
    np.testing.assert_array_equal(do(cut, None).p_live, do(whole, None).p_live)
    assert checkpoint.load(cut.out / "last.ckpt")["step"] == 3
