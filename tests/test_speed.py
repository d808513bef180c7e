"""What a step costs: every row runs, and the figures are of what they say."""

import pytest
import torch

from dtda.app import cli
from dtda.core.models.stargan import Discriminator
from dtda.core.training.speed import PARTS, measure

CONFIG = """
threads = 1
workers = 0
[data]
manifests = ["{manifest}"]
size = 32
margin = 1.3
crops = 1
[optim]
batch = 12
[teachers.generative]
kind = "stargan"
file = "{teacher}"
"""


@pytest.fixture
def path(textures, tmp_path):
    torch.save(Discriminator(32, 8, 2, 4).state_dict(), tmp_path / "d.pth")
    (tmp_path / "c.toml").write_text(CONFIG.format(manifest=textures, teacher=tmp_path / "d.pth"))
    return tmp_path / "c.toml"


@pytest.mark.slow
def test_rows_cost_what_their_terms_cost(path):
    from dtda.core.training.config import read_config

    speed = measure(read_config(path), ["ERM", "DAA", "DAA + generative"], 9, None)
    erm, daa, taught = speed.costs
    assert [cost.row for cost in speed.costs] == ["ERM", "DAA", "DAA + generative"]
    assert speed.batch == 12
    assert speed.loader > 0
    assert erm.step < daa.step  # a second pass and an attack
    assert (erm.parts["attack"], daa.parts["attack"] > 0.05) == (pytest.approx(0, abs=0.01), True)
    assert taught.parts["teachers"] > daa.parts["teachers"]
    for cost in speed.costs:
        assert set(cost.parts) == set(PARTS)
        assert sum(cost.parts.values()) == pytest.approx(1)
        assert 50e6 < cost.peak < 20e9


@pytest.mark.slow
def test_the_command_prints_ratios(path, capsys):
    assert cli.main(["bench-train", str(path), "--row", "ERM", "--row", "DAT", "--steps", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| ERM | ")
    assert "| 1.00 |" in lines[2]
    assert lines[-1].startswith("loader alone: ")
    assert cli.main(["bench-train", str(path), "--row", "DTDA"]) == 2
    assert "needs teachers.perceptual" in capsys.readouterr().err
