"""Two processes on the CPU give what one gives on the same global batch."""

import subprocess
import sys

import pytest
import torch

from dtda.core.errors import DtdaError
from dtda.core.models.stargan import Discriminator
from dtda.core.training import checkpoint
from dtda.core.training.config import read_config
from dtda.core.training.parallel import CrossNorm, open_fabric

CONFIG = """
name = "tiny"
workers = 0
threads = 1
dropout = 0.0
[data]
manifests = ["{manifest}"]
size = 32
margin = 1.3
crops = 1
protocol = "sim-loo"
fold = "c"
[optim]
optimizer = "sgd"
lr = 0.05
epochs = 1
batch = 16
[augment]
jpeg = 0.0
noise = 0.0
blur = 0.0
erase = 0.0
colour = 0.3
[domain]
adversary = "daa"
[domain.attack]
share = 0.5
[teachers.generative]
kind = "stargan"
file = "discriminator.pth"
share = 0.5
"""


@pytest.fixture
def path(textures, tmp_path, monkeypatch):
    (tmp_path / "train.toml").write_text(CONFIG.format(manifest=textures))
    torch.manual_seed(0)
    torch.save(Discriminator(32, 8, 2, 4).state_dict(), tmp_path / "discriminator.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "train.toml"


def _train(words, cwd):
    done = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(path, tmp_path):
    command = ["-m", "dtda.app.cli", "train", "train.toml"]
    _train([*command, "--out", "one"], tmp_path)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    _train([*launcher, *command, "--out", "two"], tmp_path)
    one, two = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    assert len(two["rng"]) == 2
    assert one["step"] == two["step"] == 3
    start = checkpoint.load_student(tmp_path / "one" / "last.ckpt").student  # names of what is learned
    moved = 0.0
    torch.manual_seed(0)
    from dtda.core.models.student import build_student

    fresh = build_student("mobile", 0.0).state_dict()
    for name, _ in start.named_parameters():
        moved = max(moved, float((one["student"][name] - fresh[name]).abs().max()))
        torch.testing.assert_close(one["student"][name], two["student"][name], rtol=1e-3, atol=2e-4, msg=name)
    assert moved > 0.01  # the tolerance is far below what training changed
    for name, value in one["student"].items():
        if "running" in name:
            torch.testing.assert_close(value, two["student"][name], rtol=1e-3, atol=1e-4, msg=name)
    for name, value in one["parts"].items():
        torch.testing.assert_close(value, two["parts"][name], rtol=1e-3, atol=2e-4, msg=name)
    assert one["history"][0]["loss"] == pytest.approx(two["history"][0]["loss"], rel=1e-4)
    assert one["history"][0]["dev_auc"] == pytest.approx(two["history"][0]["dev_auc"], abs=0.02)


@pytest.mark.slow
def test_two_processes_in_half_precision_save_by_one_clock(path, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [
        "-m",
        "dtda.app.cli",
        "train",
        "train.toml",
        "precision=bf16-mixed",
        "checkpoint_minutes=1e-9",
        "--out",
        "run",
    ]
    told = _train([*launcher, *words], tmp_path)
    assert told.stdout.count("trained: ") == 1
    assert not (tmp_path / "runs").exists()  # only the first process writes, and only to --out
    state = checkpoint.load(tmp_path / "run" / "last.ckpt")
    assert all(torch.isfinite(value).all() for value in state["student"].values())


@pytest.mark.parametrize("kind", [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d])
def test_shared_statistics_of_one_process_are_its_own(kind, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: None)
    own, shared = kind(5), kind(5)
    shared.__class__ = CrossNorm
    x = torch.rand(8, 5, *(3, 3)[: 2 * (kind is torch.nn.BatchNorm2d)])
    torch.testing.assert_close(shared(x), own(x))
    torch.testing.assert_close(shared.running_var, own.running_var)
    torch.testing.assert_close(shared.eval()(x), own.eval()(x))


def test_what_cannot_run_is_said(path, monkeypatch):
    with pytest.raises(DtdaError, match="precision 16-mixed needs a GPU"):
        open_fabric(read_config(path, ["precision=16-mixed", "device=cpu"]))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(DtdaError, match=r"optim\.batch is 16, which 3 processes cannot share"):
        open_fabric(read_config(path, []))


def test_half_precision_on_the_cpu_learns_too(path, tmp_path):
    from dtda.core.training.loop import train

    config = read_config(path, ["precision=bf16-mixed", "optim.batch=8"])
    state = checkpoint.load(train(config, tmp_path / "run", False, None, stop_after=2))
    assert state["student"]["head.1.weight"].dtype == torch.float32
    assert all(torch.isfinite(value).all() for value in state["student"].values())
