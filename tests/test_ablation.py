"""The runs of an ablation: done once, never mixed, judged on the pictures of the configuration."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock

from dtda.app import cli
from dtda.core.data.chips import cut_chips
from dtda.core.data.manifest import read_manifest, write_manifest
from dtda.core.errors import DtdaError
from dtda.core.models.stargan import Discriminator
from dtda.core.preprocess import CropRule
from dtda.core.training import ablation
from dtda.core.training.ablation import do, jobs
from dtda.core.training.ablation_rows import WARM, Row, picked
from dtda.core.training.checkpoint import load_student
from dtda.core.training.config import TrainConfig, read_config
from dtda.core.training.scoring import score

TEACHERS = {name: {"kind": "stargan", "file": f"{name}.pth"} for name in ("perceptual", "generative")}


@pytest.fixture
def config():
    return TrainConfig.model_validate({"data": {"manifests": ["m.csv"]}, "teachers": TEACHERS})


def test_every_row_fold_and_seed_has_its_run(config, tmp_path):
    made = jobs(config, "sim-loo", ["a", "b c"], picked(["ERM", "DTDA"]), 3, tmp_path)
    assert len({job.out for job in made}) == len(made) == 12
    assert [(job.row, job.fold, job.seed) for job in made[:3]] == [("ERM", "a", 0), ("DTDA", "a", 0), ("ERM", "b c", 0)]
    assert all((job.config.seed, job.config.data.fold) == (job.seed, job.fold) for job in made)


def test_warm_runs_come_first_and_give_the_rows_their_start(config, tmp_path):
    made = jobs(config, "sim-loo", ["a"], picked(["ERM", "DAT"]), 1, tmp_path, warm=config)
    assert [job.row for job in made] == [WARM, "ERM", "DAT"]
    assert made[0].config.domain.adversary == "none"
    assert made[0].config.weights == "random"
    assert {job.config.weights for job in made[1:]} == {str(made[0].out / "last.ckpt")}


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
    (job,) = jobs(tiny, "sim-loo", ["c"], picked(["DAA"]), 1, tmp_path / "out")
    scores = do(job, None)
    assert {record for record in scores.domain[scores.part == "test"]} == {"c"}
    assert scores.about.fold == "c"
    monkeypatch.setattr("dtda.core.training.loop.train", None)  # a second training would fail
    again = do(job, None)
    np.testing.assert_array_equal(again.p_live, scores.p_live)
    (job.out / "job.json").write_text(job.config.model_dump_json(indent=2))  # as earlier versions wrote it
    np.testing.assert_array_equal(do(job, None).p_live, scores.p_live)
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(replace(job, judged_on=(Path("elsewhere.csv"),)), None)
    (other,) = jobs(tiny.model_copy(update={"dropout": 0.0}), "sim-loo", ["c"], picked(["DAA"]), 1, tmp_path / "out")
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(other, None)


def test_a_run_is_not_of_pictures_that_have_changed_since(tiny, textures, tmp_path):
    mine = _redrawn(textures, tmp_path / "mine")
    data = tiny.data.model_copy(update={"manifests": [mine]})
    (job,) = jobs(tiny.model_copy(update={"data": data}), "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path / "out")
    before = do(job, None)
    record = read_manifest(mine)[0]
    picture = cv2.imread(str(record.path))
    cv2.imwrite(str(record.path), np.roll(picture, 3, axis=1) // 2)
    ablation._material.cache_clear()  # as another process would see them
    with pytest.raises(DtdaError, match=r"other pictures of the same names; name another --out"):
        do(job, None)
    values = json.loads((job.out / "job.json").read_text())
    del values["pictures"]  # as earlier versions wrote it
    (job.out / "job.json").write_text(json.dumps(values))
    np.testing.assert_array_equal(do(job, None).p_live, before.p_live)


def _redrawn(textures, folder, change=lambda record: record):
    """The pictures of `textures` without their grain, in a set of its own, and records changed."""
    folder.mkdir()
    records = []
    for record in read_manifest(textures):
        path = folder / record.path.name
        cv2.imwrite(str(path), cv2.blur(cv2.imread(str(record.path)), (5, 5)))
        records.append(change(replace(record, path=path, video="")))
    write_manifest(folder / "manifest.csv", records)
    return folder / "manifest.csv"


def test_a_row_of_other_pictures_is_judged_on_those_of_the_configuration(tiny, textures, tmp_path):
    other = _redrawn(textures, tmp_path / "other")
    row = Row(name="without grain", change=(f'data.manifests=["{other}"]', "data.crop=upright"), terms=())
    (job,) = jobs(tiny, "sim-loo", ["c"], [row], 1, tmp_path / "out")
    ablation.check_people([job], None)
    scores = do(job, None)
    assert {Path(path).parent for path in scores.path.tolist()} == {textures.parent}
    trained = load_student(job.out / "last.ckpt")
    assert trained.config.data.manifests == [other]
    assert scores.about.history == []  # its epochs were judged on other pictures
    records = {str(r.path): r for r in read_manifest(textures)}
    chips = cut_chips(
        [records[path] for path in scores.path.tolist()], CropRule(32, 1.3, "upright"), 1, tmp_path / "chips"
    )
    np.testing.assert_allclose(score(trained.student, chips, range(len(scores))), scores.p_live, atol=1e-5)
    np.testing.assert_array_equal(do(job, None).p_live, scores.p_live)
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(replace(job, judged_on=(other,)), None)


def test_who_is_judged_has_not_trained(tiny, textures, tmp_path):
    names = {"s0": "s20", "s20": "someone else"}  # s20 is tested in c
    other = _redrawn(textures, tmp_path / "other", lambda r: replace(r, subject=names.get(r.subject, r.subject)))
    rows = [*picked(["ERM"]), Row(name="mixed", change=(f'data.manifests=["{other}"]',))]
    made = jobs(tiny, "sim-loo", ["c"], rows, 1, tmp_path / "out")
    said = "the row mixed, fold c, is trained on 1 of the 12 test people it is judged on, such as s20"
    with pytest.raises(DtdaError, match=said):
        ablation.check_people(made, None)
    with pytest.raises(DtdaError, match=said):
        do(made[1], None)
    assert not (made[1].out / "last.ckpt").exists()
    torch.save({"student": {}, "trained_on": ["s20"]}, tmp_path / "start.ckpt")
    for start in ("weights", "texture"):
        begun = tiny.model_copy(update={start: str(tmp_path / "start.ckpt")})
        with pytest.raises(DtdaError, match="the row ERM, fold c, is trained on 1 of"):
            ablation.check_people(jobs(begun, "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path / "out"), None)


def test_how_a_run_is_executed_may_differ(tiny, tmp_path):
    (job,) = jobs(tiny, "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path / "out")
    scores = do(job, None)
    elsewhere = tiny.model_copy(update={"threads": 2, "workers": 1, "checkpoint_minutes": 9.0})
    (again,) = jobs(elsewhere, "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path / "out")
    np.testing.assert_array_equal(do(again, None).p_live, scores.p_live)
    (job.out / "job.json").write_text("{}")
    with pytest.raises(DtdaError, match="holds a run of another configuration"):
        do(job, None)


def test_a_second_writer_is_refused(tiny, tmp_path, monkeypatch):
    (job,) = jobs(tiny, "sim-loo", ["c"], picked(["ERM"]), 1, tmp_path / "out")
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
    ablation.check(config, picked(["ERM", "DAA + perceptual"]))  # rows without that teacher are fine


def test_a_wrong_student_is_refused_before_the_first_run(config):
    with pytest.raises(DtdaError, match="giant: no such student"):
        ablation.check(config, [*picked(["ERM"]), Row(name="large", change=("student=giant",), terms=())])


def _network(folder):
    """P(live) of its own crop: how green it is."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["classes"], axes=[2, 3], keepdims=0)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 24, 24])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["N", 3])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "0.onnx")
    networks = [{"file": "0.onnx", "margin": 2.0, "size": 24}]
    (folder / "network.json").write_text(json.dumps({"name": "green", "networks": networks, "classes": 3, "live": 1}))
    return folder / "network.json"


@pytest.mark.slow
def test_the_command_compares_rows_of_a_file(tiny_file, textures, astronaut, tmp_path, capsys):
    (tmp_path / "rows.toml").write_text(
        f"""
        [[row]]
        name = "full"
        [[row]]
        name = "without grain"
        change = ['data.manifests=["{_redrawn(textures, tmp_path / "other")}"]', "data.size=40"]
        """
    )
    (tmp_path / "faces").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "faces" / f"{number}.png"), cv2.convertScaleAbs(astronaut, alpha=0.6 + 0.1 * number))
    out = tmp_path / "out"
    words = ["ablate", "sim-loo", f"data.cache={tmp_path}/chips", "--config", str(tiny_file), "--out", str(out),
             "--rows", str(tmp_path / "rows.toml"), "--fold", "c", "--seeds", "1", "--by", "type"]  # fmt: skip
    asked = ["--agree", str(_network(tmp_path)), "--unlabelled", str(tmp_path / "faces")]
    assert cli.main([*words, *asked]) == 0
    head, _, full, other = capsys.readouterr().out.splitlines()[:4]
    assert head.startswith("| row | runs | AUC % (95 %) | vs full (95 %) |")
    ranked = " | ".join(f"ranks as green: {group} (95 %)" for group in ("live", "attack", "unlabelled"))
    assert head.endswith(f"| print (vs full) | {ranked} |")
    assert (full[:9], other[:18]) == ("| full | ", "| without grain | ")
    lines = json.loads((out / "ablation.json").read_text())
    assert [line["row"] for line in lines] == ["full", "without grain"]
    assert all(-1 <= value <= 1 for line in lines for value in line["ranks"].values())
    assert cli.main(words) == 0  # all is there
    assert "ranks" not in capsys.readouterr().out
    assert cli.main([*words, *asked[2:]]) == 2
    assert "--unlabelled goes with --agree" in capsys.readouterr().err
    assert cli.main([*words, "--row", "ERM"]) == 2
    assert "ERM: no such row; there are full, without grain" in capsys.readouterr().err
    assert cli.main([*words, "--warm", "1"]) == 2
    assert "the row without grain changes data.manifests" in capsys.readouterr().err


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

    whole, cut = (jobs(tiny, "sim-loo", ["c"], picked(["DAT"]), 1, tmp_path / name)[0] for name in ("whole", "cut"))
    train(cut.config, cut.out, False, None, stop_after=1)
    assert not cut.scores.exists()
    np.testing.assert_array_equal(do(cut, None).p_live, do(whole, None).p_live)
    assert checkpoint.load(cut.out / "last.ckpt")["step"] == 3
