"""StarGAN: official names, its losses by hand, and a training that changes both networks and resumes to the bit."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from dtda.app import cli
from dtda.core.data.manifest import POINTS
from dtda.core.errors import DtdaError
from dtda.core.models.frames import celeba_frame
from dtda.core.models.stargan import Discriminator, Generator, discriminator_of
from dtda.core.models.teachers import open_teacher
from dtda.core.training import teacher
from dtda.core.training.attributes import read_faces
from dtda.core.training.gan_config import GanConfig, gan_config
from dtda.core.types import Face

DATA = Path(__file__).parent / "data"
TINY = {"size": 32, "width": 4, "generator_width": 4, "blocks": 1, "batch": 4, "critic": 2, "held_out": 0.3}


@pytest.fixture(autouse=True)
def _one_thread():
    """Nets this small lose more to a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "net"), [("discriminator", Discriminator), ("generator", Generator)])
def test_official_names_and_shapes(name, net):
    official = json.loads((DATA / f"stargan_{name}.json").read_text())["shapes"]
    with torch.device("meta"):
        state = net().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == official


def test_a_discriminator_is_rebuilt_from_its_shapes():
    for size, width, attributes, repeats in ((128, 8, 5, 6), (64, 4, 2, 5), (32, 4, 1, 3)):
        found = discriminator_of(Discriminator(size, width, attributes, repeats).state_dict())
        assert (found.size, found.attributes, found.width) == (size, attributes, width * 2 ** (repeats - 1))
        assert sum(isinstance(layer, nn.Conv2d) for layer in found.main) == repeats


def test_shapes_of_both_networks():
    net = Discriminator(64, 4, 3, 5)
    score, logits = net(torch.zeros(2, 3, 64, 64))
    assert (score.shape, logits.shape) == ((2, 1, 2, 2), (2, 3))
    painted = Generator(4, 3, 1)(torch.zeros(2, 3, 64, 64), torch.zeros(2, 3))
    assert painted.shape == (2, 3, 64, 64)


def test_the_generator_paints_alike_in_eval_mode():
    torch.manual_seed(0)
    net, x, wanted = Generator(4, 2, 1), torch.rand(2, 3, 32, 32), torch.rand(2, 2)
    torch.testing.assert_close(net.eval()(x, wanted), net.train()(x, wanted))
    assert not torch.equal(net(x, wanted), net(x, 1 - wanted))  # it heeds what is wanted


class _Linear(nn.Module):
    """Two patches of slope a each: the gradient of their sum is 2 a everywhere."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(float(a)))

    def forward(self, x):
        total = self.a * x.sum((1, 2, 3), keepdim=True)
        return torch.cat([total, total], 3), None


def test_gradient_penalty_by_hand():
    a, values = 0.3, 3 * 4 * 4
    net = _Linear(a)
    penalty = teacher.gradient_penalty(net, torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4))
    norm = 2 * a * values**0.5
    assert float(penalty.detach()) == pytest.approx((norm - 1) ** 2)
    penalty.backward()
    assert float(net.a.grad) == pytest.approx(2 * (norm - 1) * 2 * values**0.5)


def test_unknown_attributes_count_for_nothing():
    logits = torch.tensor([[0.0, 5.0], [0.0, -5.0]], requires_grad=True)
    loss = teacher.attribute_loss(logits, torch.tensor([[1.0, torch.nan], [0.0, torch.nan]]))
    assert float(loss.detach()) == pytest.approx(np.log(2))  # two known ones, each log 2, over two faces
    loss.backward()
    assert logits.grad[:, 1].tolist() == [0, 0]
    assert teacher.condition(torch.tensor([1.0, 0.0, torch.nan])).tolist() == [1.0, 0.0, 0.5]


def test_the_rate_falls_in_the_second_half():
    assert [teacher.rate(step, 10) for step in (0, 5, 8)] == pytest.approx([1, 1, 0.4])
    assert teacher.rate(9, 10) > 0


@pytest.fixture
def faces(tmp_path):
    """Twenty blobs; attribute `bright` is seen, `odd` is known for half of them. Eyes are red dots."""
    folder = tmp_path / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    box = ("box_x1", "box_y1", "box_x2", "box_y2")
    with (folder / "faces.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "source", "identity", *box, *POINTS, "bright", "odd"])
        for number in range(20):
            bright = number % 2
            picture = np.full((90, 100, 3), 170 if bright else 60, np.uint8)
            picture += rng.integers(0, 30, picture.shape, dtype=np.uint8)
            points = np.array([[40, 40], [60, 40], [50, 50], [42, 62], [58, 62]]) + rng.integers(-3, 4, 2)
            for x, y in points[:2]:
                picture[y - 1 : y + 2, x - 1 : x + 2] = (0, 0, 255)
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            odd = "" if number < 10 else str(number // 2 % 2)
            row = [f"{number}.png", "x", f"p{number // 2}", 30, 25, 70, 75, *points.ravel(), bright, odd]
            writer.writerow(row)
    return folder


def _nobody():
    raise AssertionError("the faces have points")


def _read(folder, table=None, **options):
    return read_faces(folder, table, options.get("size", 64), 0.3, options.get("make_detector", _nobody))


def test_faces_are_read_aligned_and_split_by_identity(faces):
    found = _read(faces)
    assert found.names == ("bright", "odd")
    assert found.images.shape == (20, 3, 64, 64)
    assert set(found.train) | set(found.held_out) == set(range(20))
    assert found.held_out
    names = sorted(path.name for path in faces.glob("*.png"))
    person = [int(name.split(".")[0]) // 2 for name in names]
    assert not {person[i] for i in found.train} & {person[i] for i in found.held_out}
    numbers = [int(name.split(".")[0]) for name in names]
    assert found.labels[:, 0].tolist() == [number % 2 for number in numbers]
    assert torch.equal(found.labels[:, 1].isnan(), torch.tensor([number < 10 for number in numbers]))
    for image in found.images:  # the red dots lie where CelebA has the eyes, and are red in RGB
        for x, y in celeba_frame(64).template[:2].round().int().tolist():
            red, green, blue = image[:, y, x].int().tolist()
            assert red > 200
            assert max(green, blue) < 100


def test_attributes_from_a_table_or_from_sub_folders(faces, tmp_path):
    table = tmp_path / "attributes.csv"
    lines = "\n".join(f"{number}.png,{number % 3 == 0:d}" for number in range(12))
    table.write_text(f"file,third\n{lines}\n")
    found = _read(faces, table)
    assert (found.names, len(found.images)) == (("third",), 12)

    (faces / "faces.csv").unlink()
    for number in range(20):
        place = faces / ("left" if number < 12 else "right")
        place.mkdir(exist_ok=True)
        (faces / f"{number}.png").rename(place / f"{number}.png")
    points = np.array([[40, 40], [60, 40], [50, 50], [42, 62], [58, 62]], np.float32)
    face = Face(np.array([30, 25, 70, 75], np.float32), points, 0.9)
    found = _read(faces, make_detector=lambda: lambda bgr: [face])
    assert found.names == ("left", "right")
    assert found.labels.sum(0).tolist() == [12, 8]
    with pytest.raises(DtdaError, match=r"none of the 20 pictures.*no face found"):
        _read(faces, make_detector=lambda: lambda bgr: [])


def test_unusable_attributes_are_refused_in_a_sentence(faces, tmp_path):
    table = tmp_path / "attributes.csv"
    for text, words in (
        ("name,smile\n0.png,1\n", "column file is missing"),
        ("file,smile\n", "column file is missing, or it has no lines"),
        ("file,smile\n0.png,yes\n", "has no column of 0 and 1"),
        ("file,smile\n0.png\n", "line 2: has more or fewer fields"),
        ("file,smile\nelsewhere.png,1\n", "none of its files is a portrait"),
        ("file,smile\n" + "".join(f"{number}.png,1\n" for number in range(20)), "attribute smile: training needs"),
    ):
        table.write_text(text)
        with pytest.raises(DtdaError, match=words):
            _read(faces, table)
    with pytest.raises(DtdaError, match="no such file"):
        _read(faces, tmp_path / "gone.csv")
    table.write_bytes("file,größe\n0.png,1\n".encode("latin-1"))
    with pytest.raises(DtdaError, match="not a CSV in UTF-8"):
        _read(faces, table)
    (faces / "faces.csv").unlink()
    with pytest.raises(DtdaError, match="no attributes; name a CSV with --attributes"):
        _read(faces)
    (faces / "0.png").write_bytes(b"no picture")
    table.write_text("file,smile\n0.png,1\n")
    with pytest.raises(DtdaError, match="not a readable picture"):
        _read(faces, table, make_detector=lambda: lambda bgr: [])


def _train(faces, out, steps=6, resume=False, stop_after=None, **changes):
    config = GanConfig(**TINY, steps=steps, **changes)
    return teacher.train_teacher(config, faces, None, out, resume, _nobody, stop_after)


def test_training_changes_both_networks_each_in_its_turn(faces, tmp_path):
    config = GanConfig(**TINY, lr=1e-3)
    read = _read(faces, size=32)
    torch.manual_seed(0)
    critic, painter = Discriminator(32, 4, 2, 4), Generator(4, 2, 1)
    critics, painters = (torch.optim.Adam(net.parameters(), 1e-3, teacher.BETAS) for net in (critic, painter))
    batch = teacher.draw(read, 4)
    assert batch[0].shape == (4, 3, 32, 32)
    assert -1 <= batch[0].min() < batch[0].max() <= 1
    before = [{name: value.clone() for name, value in net.state_dict().items()} for net in (critic, painter)]

    losses = teacher.criticise(critic, painter, critics, config, *batch)
    assert set(losses) == {"critic/distance", "critic/classes", "critic/penalty"}
    assert not _same(critic, before[0])
    assert _same(painter, before[1])
    after = {name: value.clone() for name, value in critic.state_dict().items()}
    losses = teacher.paint(critic, painter, painters, config, *batch)
    assert set(losses) == {"painter/score", "painter/classes", "painter/back"}
    assert _same(critic, after)
    assert not _same(painter, before[1])


def _same(net, state):
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_the_critic_learns_the_visible_attribute(faces, tmp_path):
    read = _read(faces, size=32)
    torch.manual_seed(0)
    critic, painter = Discriminator(32, 4, 2, 4), Generator(4, 2, 1)
    critics = torch.optim.Adam(critic.parameters(), 4e-3, teacher.BETAS)
    config = GanConfig(**TINY)
    for _ in range(25):
        teacher.criticise(critic, painter, critics, config, *teacher.draw(read, 8))
    figures = teacher.attribute_figures(critic, read, read.held_out)
    assert figures["bright"]["balanced_accuracy"] > 0.9
    assert figures["bright"]["with"] + figures["bright"]["without"] == len(read.held_out)


def test_a_killed_run_resumes_to_the_same_weights(faces, tmp_path):
    whole = torch.load(_train(faces, tmp_path / "whole"), weights_only=True)
    _train(faces, tmp_path / "cut", stop_after=3)
    resumed = torch.load(_train(faces, tmp_path / "cut", resume=True), weights_only=True)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    one, other = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "cut"))
    assert all(torch.equal(value, other["generator"][name]) for name, value in one["generator"].items())
    changed = torch.load(_train(faces, tmp_path / "seed", seed=1), weights_only=True)
    assert not torch.equal(changed["main.0.weight"], whole["main.0.weight"])


def test_every_step_sees_other_faces(faces, tmp_path, monkeypatch):
    seen = []
    draw = teacher.draw
    monkeypatch.setattr(teacher, "draw", lambda *arguments: seen.append(draw(*arguments)) or seen[-1])
    _train(faces, tmp_path / "run", steps=3)
    assert len(seen) == 3
    assert not torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[1][0], seen[2][0])


def test_a_finished_run_leaves_a_teacher_a_sheet_and_figures(faces, tmp_path):
    path = _train(faces, tmp_path / "run", sheet_steps=4)
    assert path == tmp_path / "run" / "discriminator.pth"
    found = open_teacher("stargan", path)
    assert (found.frame.size, found.width) == (32, 4 * 2**3)
    sheet = cv2.imread(str(tmp_path / "run" / "sheet.png"))
    rows = min(teacher.SHEET_ROWS, len(_read(faces).held_out))
    assert sheet.shape == (teacher.HEADER + rows * 32, 4 * 32, 3)  # itself, rebuilt, two attributes
    assert (tmp_path / "run" / "sheets" / "000004.png").is_file()
    about = json.loads((tmp_path / "run" / "teacher.json").read_text())
    assert about["attributes"] == ["bright", "odd"]
    assert set(about["held_out"]) == {"bright", "odd"}
    assert list((tmp_path / "run").glob("events.*"))


def test_other_runs_are_neither_overwritten_nor_resumed(faces, tmp_path):
    _train(faces, tmp_path / "run", stop_after=1)
    with pytest.raises(DtdaError, match="--resume"):
        _train(faces, tmp_path / "run")
    with pytest.raises(DtdaError, match="other options"):
        _train(faces, tmp_path / "run", resume=True, seed=5)
    with pytest.raises(DtdaError, match="no such checkpoint"):
        _train(faces, tmp_path / "elsewhere", resume=True)
    picture = cv2.imread(str(faces / "0.png"))
    cv2.imwrite(str(faces / "0.png"), 255 - picture)
    with pytest.raises(DtdaError, match="trained on other faces"):
        _train(faces, tmp_path / "run", resume=True)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(DtdaError, match="not a readable checkpoint"):
        _train(faces, tmp_path / "run", resume=True)
    with pytest.raises(DtdaError, match="device cuda:77 cannot be used here"):
        _train(faces, tmp_path / "x", device="cuda:77")


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(faces, tmp_path):
    _train(faces, tmp_path / "run", stop_after=1, lr=1e30)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    with pytest.raises(DtdaError, match=r"loss was (nan|inf|-inf) in step"):
        _train(faces, tmp_path / "run", resume=True, lr=1e30)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before
    assert not (tmp_path / "run" / "discriminator.pth").exists()


def test_the_command(faces, tmp_path, capsys):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = ["train-teacher", str(faces), "--out", str(tmp_path / "run"), "--steps", "2", *words]
    assert cli.main(command) == 0
    assert "discriminator.pth" in capsys.readouterr().out
    assert open_teacher("stargan", tmp_path / "run" / "discriminator.pth").width == 32
    assert cli.main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main([*command, "--size", "65"]) == 2
    assert "dtda: --size 65: Input should be 32, 64, 128 or 256." in capsys.readouterr().err
    with pytest.raises(DtdaError, match="--generator-width 1: "):
        gan_config({"generator_width": 1})
