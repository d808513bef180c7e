import cv2
import numpy as np

from dtda.app.cli import main
from dtda.core.simulate.config import SimulateConfig
from dtda.core.simulate.domains import DOMAINS
from dtda.core.simulate.sample import astronaut
from dtda.core.simulate.sheet import BAR, SIDE, draw_sheet_of


def test_one_line_a_domain_with_live_first():
    config = SimulateConfig(sources=1, face=(0.15, 0.18), domains=DOMAINS[:2])
    sheet = draw_sheet_of([astronaut()], config, live=1, attacks=2)
    assert sheet.shape == (2 * (SIDE + BAR), 3 * SIDE, 3)
    tiles = [
        sheet[row * (SIDE + BAR) + BAR :][:SIDE, column * SIDE :][:, :SIDE] for row in (0, 1) for column in (0, 1, 2)
    ]
    assert all(tile.std() > 5 for tile in tiles)
    assert len({tile.tobytes() for tile in tiles}) == 6
    np.testing.assert_array_equal(sheet, draw_sheet_of([astronaut()], config, live=1, attacks=2))


def test_the_command_says_what_it_needs(tmp_path, capsys):
    assert main(["simulate", "--bench"]) == 2
    assert main(["simulate", "--sheet", str(tmp_path / "x.gif")]) == 2
    told = capsys.readouterr().err
    assert "--faces" in told
    assert "written as .png or .jpg" in told


def test_the_command_draws_a_public_domain_portrait(tmp_path):
    (tmp_path / "c.toml").write_text("""
face = [0.15, 0.18]
sources = 1
[[domains]]
name = "only"
camera = {}
room = {}
instruments = [{ kind = "print", name = "laser" }]
""")
    assert main(["simulate", "--sheet", str(tmp_path / "x.png"), "--config", str(tmp_path / "c.toml")]) == 0
    assert cv2.imread(str(tmp_path / "x.png")).shape == (SIDE + BAR, 6 * SIDE, 3)
