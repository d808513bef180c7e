"""From a checkpoint to a report, through the command: what is scored, what is refused, and that a score file is enough."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dtda.app import cli
from dtda.core.data.chips import cut_chips
from dtda.core.data.manifest import POINTS, read_manifest, write_manifest
from dtda.core.errors import DtdaError
from dtda.core.evaluate import evaluate
from dtda.core.metrics import auc
from dtda.core.models.student import build_student
from dtda.core.preprocess import TEMPLATE, CropRule
from dtda.core.training import checkpoint
from dtda.core.training.config import DataPart, TrainConfig
from dtda.core.training.judging import Task, judge
from dtda.core.training.scoring import features, score, score_table
from dtda.core.types import Label

SIZE = 32
POINT_VALUES = (TEMPLATE * 0.6 + 45).ravel().tolist()


class Bright(torch.nn.Module):
    """A student that takes bright pictures for live."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def features(self, x):
        return x.mean((2, 3))

    def forward(self, x):
        return self.gain * (x.mean((1, 2, 3)) - 0.5)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Three domains, 8 people; live bright, attacks dark; two pictures a clip; domain c has one picture without a file."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "attack_type", "domain", "subject", "split", "video", *POINTS])
        for subject in range(8):
            split = ("train", "dev", "test", "test")[subject % 4]
            for domain in "abc":
                for kind in ("", "print"):
                    for frame in range(2):
                        name = f"{domain}{subject}{kind}{frame}.png"
                        light = rng.uniform(0, 60, (160, 160, 3)) + (40 if kind else 150)
                        if name != "c2print0.png":
                            cv2.imwrite(str(folder / name), light.astype(np.uint8))
                        label = "spoof" if kind else "live"
                        clip = f"{domain}{subject}{kind}"
                        writer.writerow([name, label, kind, domain, f"s{subject}", split, clip, *POINT_VALUES])
    return folder / "manifest.csv"


@pytest.fixture
def save(manifest, tmp_path):
    """save(**changes of the state) -> path of a checkpoint that claims to be trained on sim-loo, fold c."""
    data = DataPart(manifests=[manifest], size=SIZE, margin=1.3, crops=1, protocol="sim-loo", fold="c")
    config = TrainConfig(name="tiny", data=data)
    torch.manual_seed(0)
    weights = build_student("mobile").state_dict()
    threshold = {"value": 0.5, "rule": "equal error rate", "split": "dev identities of a, b"}

    def write(data_changes=None, **changes):
        path = tmp_path / "run" / "last.ckpt"
        path.parent.mkdir(exist_ok=True)
        dumped = config.model_dump(mode="json")
        dumped["data"] |= data_changes or {}
        dumped |= changes.pop("config", {})
        history = [{"dev_eer": 0.2, "test_eer": 0.3, "test_auc": 0.7, "test_hter": 0.35, "dev_auc": 0.8}] * 2
        state = {"config": dumped, "student": weights, "ema": weights, "fold": "c", "sources": ["a", "b"],
                 "targets": ["c"], "history": history, "trained_on": ["s0", "s4"],
                 "thresholds": {"default": threshold}}  # fmt: skip
        checkpoint.save(path, {key: value for key, value in (state | changes).items() if value is not None})
        return path

    return write


def _no_detector():
    raise AssertionError("the manifest has points")


def _evaluate(capsys, *words):
    status = cli.main(["evaluate", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_live_is_bright_and_bright_is_live(manifest, tmp_path):
    """Polarity from the label column to the score: a label turned round anywhere on the way gives an AUC of 0."""
    chips = cut_chips(read_manifest(manifest)[:20], CropRule(SIZE, 1.3), 1, tmp_path)
    student, numbers = Bright(), list(range(20))
    student.train()
    p_live = score(student, chips, numbers, batch=7)
    assert student.training
    assert p_live.shape == (20,)
    live = np.array([record.label is Label.LIVE for record in chips.records])
    assert p_live[live].min() > 0.5 > p_live[~live].max()
    table = score_table(student, chips, {"test": numbers})
    assert auc(table.p_live, table.live) == 1
    np.testing.assert_array_equal(table.live, live)
    assert features(student, chips, numbers, batch=7).shape == (20, 3)
    assert len(score(student, chips, [])) == 0


def test_a_protocol_gives_source_dev_and_target_test(save):
    judged = judge(save(), Task(), _no_detector)
    table, about = judged.table, judged.table.about
    assert (about.protocol, about.fold, about.sources, about.targets) == ("sim-loo", "c", ["a", "b"], ["c"])
    assert len(about.history) == 2
    dev, test = table.of("dev"), table.of("test")
    assert set(dev.domain.tolist()) == {"a", "b"}
    assert set(dev.subject.tolist()) == {"s1", "s5"}
    assert set(test.domain.tolist()) == {"c"}
    assert set(test.subject.tolist()) == {"s2", "s3", "s6", "s7"}
    lost = np.isnan(table.p_live)
    assert [Path(path).name for path in table.path[lost]] == ["c2print0.png"]  # the lost frame is kept as one
    assert not np.isnan(table.per_video().p_live).any()


def test_a_manifest_is_scored_at_the_checkpoint_s_threshold(save, manifest, capsys):
    status, out, _ = _evaluate(capsys, save(), manifest, "--domain", "a", "--no-plots", "--draws", 20)
    assert status == 0
    assert "| a print " in out
    assert "student's own" in out
    report = json.loads(next(save().parent.glob("evaluation/*-a/report.json")).read_text())
    assert report["thresholds"]["default"]["value"] == 0.5
    assert report["about"]["targets"] == ["a"]
    judged = judge(save(), Task(str(manifest), split="dev"), _no_detector)
    assert set(judged.table.subject.tolist()) == {"s1", "s5"}
    assert judged.parts.keys() == {"test"}


@pytest.mark.slow
def test_a_score_file_gives_the_same_report_without_the_model(save, tmp_path, capsys):
    status, out, _ = _evaluate(capsys, save(), "--out", tmp_path / "one", "--draws", 50)
    assert status == 0
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "report.md", "report.json", "report.csv", "scores.csv", "roc.png", "roc.svg", "det.png", "det.svg",
        "scores.png", "scores.svg", "tsne.png", "tsne.svg",
    }  # fmt: skip
    save().unlink()
    status, again, _ = _evaluate(capsys, tmp_path / "one" / "scores.csv", "--out", tmp_path / "two", "--draws", 50)
    assert status == 0
    assert out.endswith(again.replace("two", "one"))  # after what the picture without a file was told
    for name in ("report.md", "report.json", "report.csv", "scores.csv", "roc.png", "det.svg", "scores.png"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    status, printed, _ = _evaluate(capsys, tmp_path / "one" / "scores.csv", "--draws", 50)
    assert printed == (tmp_path / "one" / "report.md").read_text()
    assert len(list((tmp_path / "one").iterdir())) == 12


def test_other_folds_need_unseen_test_pictures(save):
    other = judge(save(), Task("splits"), _no_detector)  # test people, in domains trained on too
    assert other.table.about.history == []
    assert set(other.table.of("test").domain.tolist()) == {"a", "b", "c"}
    with pytest.raises(DtdaError, match="has the folds a, b, c; name one with --fold"):
        judge(save({"protocol": "splits", "fold": None}, fold="splits"), Task("sim-loo"), _no_detector)


def test_test_pictures_of_people_trained_on_are_refused(save, manifest, tmp_path):
    """Also in domain c, where they were not trained on: the same people stand in all domains of a simulated set."""
    custom = tmp_path / "own.toml"
    custom.write_text(
        '[swapped]\nabout = "train and test change places"\n[[swapped.fold]]\nname = "all"\n'
        'train = [{ split = ["test"] }]\ndev = [{ split = ["dev"] }]\ntest = [{ split = ["train"] }]\n'
    )
    with pytest.raises(
        DtdaError, match=r"^24 of the 24 test pictures .* \(2 of 2 people\); name another fold or protocol\. "
    ):
        judge(save(), Task(f"{custom}:swapped"), _no_detector)
    with pytest.raises(DtdaError, match=r"24 of the 24 test pictures .*; name another --split\. If they only have"):
        judge(save(), Task(str(manifest), split="train"), _no_detector)


def test_a_checkpoint_that_does_not_say_whom_it_was_trained_on_is_refused(save):
    with pytest.raises(DtdaError, match=r"did not say whom it was trained on; train it again\.$"):
        judge(save(trained_on=None), Task(), _no_detector)


def _renamed(manifest, name, subject, domains="abc", **changes):
    """The manifest with other subjects and columns, only of some domains."""
    records = [r for r in read_manifest(manifest) if r.domain in domains and r.path.name != "c2print0.png"]
    path = manifest.parent / name
    write_manifest(path, [replace(r, subject=subject(r), **{k: f(r) for k, f in changes.items()}) for r in records])
    return path


@pytest.fixture
def loo(save, manifest):
    """A checkpoint of loo, fold c, of three sets with people of their own, and their manifest. It was trained on the train
    and test people of a and b."""
    path = _renamed(manifest, "loo.csv", lambda r: f"{r.domain}/{r.subject}")
    people = sorted(f"{domain}/s{n}" for domain in "ab" for n in range(8) if n % 4 != 1)
    data = {"protocol": "loo", "fold": "c", "manifests": [str(path)]}
    return lambda: save(data, trained_on=people), path


def test_a_split_that_was_trained_on_is_refused_whatever_names_it(loo, manifest, capsys):
    checkpoint, path = loo
    of_a = _renamed(manifest, "a.csv", lambda r: f"a/{r.subject}", "a")
    for words, counts, way in (
        ((path,), "32 of the 47 test pictures", "name another --split or --domain c."),
        ((path, "--domain", "a"), "16 of the 16 test pictures", "name another --split."),
        ((path, "--domain", "b", "--domain", "c"), "16 of the 31 test pictures", "name another --split or --domain c."),
        (("splits",), "32 of the 47 test pictures", "name another fold or protocol or --domain c."),
        (("splits", "--manifest", of_a), "16 of the 16 test pictures", "name another fold or protocol."),
        (("loo", "--fold", "a"), "24 of the 24 test pictures", "name another fold or protocol."),
    ):
        status, out, err = _evaluate(capsys, checkpoint(), *words)
        told = err.splitlines()[-1]
        assert (status, out) == (2, ""), words
        assert told.startswith(f"dtda: {counts} show people that the checkpoint was trained on ("), told
        assert way in told, told
    for task in (Task(), Task(str(path), domains=["c"]), Task("splits", domains=["c"])):
        table = judge(checkpoint(), task, _no_detector).table
        assert set(table.of("test").domain.tolist()) == {"c"}
        assert table.about.notes == []


def test_people_trained_on_do_not_set_the_threshold(save, manifest):
    """Every sixth training subject of a set without a dev part sets it; with one person less those are others."""
    columns = {"split": lambda r: "test" if r.split == "test" else "train", "domain": lambda r: "casia-fasd"}
    whole = _renamed(manifest, "whole.csv", lambda r: r.subject, "a", **columns)
    fewer = manifest.parent / "fewer.csv"
    write_manifest(fewer, [r for r in read_manifest(whole) if r.subject != "s0"])
    data = {"protocol": "intra", "fold": None, "manifests": [str(whole)]}
    path = save(data, fold="intra", trained_on=["s1", "s4", "s5"])  # s0 is the threshold's
    assert set(judge(path, Task(), _no_detector).table.of("dev").subject.tolist()) == {"s0"}
    with pytest.raises(
        DtdaError, match=r"4 of the 4 dev pictures .* \(1 of 1 people\); name .* or a manifest\.csv, to be"
    ):
        judge(path, Task(manifests=[fewer]), _no_detector)
    judge(path, Task(str(fewer)), _no_detector)


def test_a_protocol_whose_lists_share_people_says_so(save, manifest, tmp_path, capsys):
    """As NUAA's: its own evaluation is allowed, every other one of its training people is not."""
    everyone = sorted({record.subject for record in read_manifest(manifest)})
    shared = _renamed(manifest, "nuaa.csv", lambda r: everyone[int(r.subject[1:]) // 4], "a", domain=lambda r: "nuaa",
                      split=lambda r: "test" if r.split == "test" else "train")  # fmt: skip
    path = save({"protocol": "nuaa", "fold": None, "manifests": [str(shared)]}, fold="nuaa", trained_on=["s1"])
    status, out, _ = _evaluate(capsys, path, "--no-plots", "--draws", 5, "--out", tmp_path / "e")
    assert status == 0
    assert "as the protocol's lists want it: the figures are not about new people." in out
    assert _evaluate(capsys, tmp_path / "e" / "scores.csv", "--draws", 5)[1] == (tmp_path / "e/report.md").read_text()
    with pytest.raises(DtdaError, match="8 of the 16 test pictures"):
        judge(path, Task(str(shared)), _no_detector)
    with pytest.raises(DtdaError, match="8 of the 16 test pictures"):
        judge(save({"manifests": [str(shared)]}, trained_on=["s1"]), Task("nuaa"), _no_detector)


def test_what_cannot_be_checked_is_noted(save, manifest):
    unnamed = _renamed(manifest, "unnamed.csv", lambda r: "")
    notes = judge(save(), Task(str(unnamed)), _no_detector).table.about.notes
    assert notes == ["Pictures without a subject cannot be told from those of people that were trained on."]
    with pytest.raises(DtdaError, match=r"^47 of the 47 test pictures"):
        judge(save(trained_on=["", "s0"]), Task(str(unnamed)), _no_detector)
    assert "dev people" in judge(save(), Task(str(manifest), split="dev"), _no_detector).table.about.notes[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere: no such protocol; there are"),
        (["sim-loo", "--fold", "mars"], "protocol sim-loo has no fold mars; there are a, b, c"),
        (["--domain", "mars"], "the test part has no domain mars; there are c"),
        (["--split", "dev"], "--split goes with a manifest.csv"),
        (["--manifest", "gone.csv"], "gone.csv: no such manifest; name the data with --manifest FILE"),
        (["gone.csv"], "gone.csv: no such file; name the manifest.csv of a data set, or a protocol"),
        (["--draws", "0"], "--draws is 0; it takes at least 1"),
        (["--out", "e.json"], "--out e.json: name a folder"),
    ],
)
def test_wrong_words_are_one_sentence(save, capsys, words, sentence):
    status, out, err = _evaluate(capsys, save(), *words)
    assert status == 2
    assert "# tiny" not in out
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_protocol_whose_domain_is_not_in_the_data_is_one_sentence(save, tmp_path, capsys):
    custom = tmp_path / "own.toml"
    custom.write_text(
        '[one]\nabout = "an absent domain"\n[[one.fold]]\nname = "x"\ntrain = [{ domain = ["a"], split = ["train"] }]\n'
        'dev = [{ domain = ["a"], split = ["dev"] }]\ntest = [{ domain = ["mars"] }]\n'
    )
    status, _, err = _evaluate(capsys, save(), f"{custom}:one")
    assert status == 2
    assert "protocol one, fold x: needs mars, which is not in the data; there are a, b, c." in err


def test_another_architecture_and_an_unfinished_run_are_one_sentence(save, manifest, capsys):
    status, _, err = _evaluate(capsys, save(config={"student": "resnet18"}))
    assert (status, err.count("\n")) == (2, 1)
    assert "its weights are not those of a resnet18 student" in err
    unfinished = save(thresholds=None)
    status, _, err = _evaluate(capsys, unfinished, manifest)
    assert status == 2
    assert "its training has not finished, so it has no threshold" in err
    assert evaluate(judge(unfinished, Task(), _no_detector).table, draws=5).thresholds["default"].value > 0


def test_a_score_file_takes_no_protocol(tmp_path, capsys):
    path = tmp_path / "s.csv"
    path.write_text("path,label,part,p_live\nx,live,test,0.5\ny,live,dev,0.5\n")
    status, _, err = _evaluate(capsys, path, "sim-loo")
    assert status == 2
    assert "a score file is of one protocol already; leave out PROTOCOL" in err
    status, _, err = _evaluate(capsys, path)
    assert status == 2
    assert err == "dtda: the dev part has only live videos; error rates need live and attack ones.\n"
