"""The training loop on small pictures that differ in texture: learning, resuming, refusing."""

import math

import cv2
import numpy as np
import onnx
import pytest
import torch

from dtda.core.data.chips import cut_chips, jittered
from dtda.core.data.manifest import read_manifest
from dtda.core.errors import DtdaError
from dtda.core.export import PARITY, export
from dtda.core.models.student import build_student
from dtda.core.preprocess import TEMPLATE, CropRule, crop
from dtda.core.sidecar import read_sidecar
from dtda.core.training import checkpoint, loop, material, method
from dtda.core.training.config import AttackPart, DomainPart, OptimPart, TeacherPart, read_config
from dtda.core.training.optim import rate
from dtda.core.training.samples import Place, Samples, flipped
from dtda.core.training.scoring import logits
from dtda.core.types import Label

SIZE = 32


@pytest.fixture
def config(textures, tmp_path):
    path = tmp_path / "train.toml"
    path.write_text(
        f"""
        name = "tiny"
        workers = 0
        threads = 1
        dropout = 0.1
        [data]
        manifests = ["{textures}"]
        size = {SIZE}
        margin = 1.3
        crops = 2
        protocol = "sim-loo"
        fold = "c"
        [optim]
        epochs = 2
        batch = 8
        [augment]
        jpeg = 0.0
        noise = 0.0
        blur = 0.0
        erase = 0.0
        colour = 0.3
        """
    )
    return read_config(path)


def _no_detector():
    raise AssertionError("the manifest has points")


def _train(config, out, **options):
    return loop.train(config, out, options.pop("resume", False), _no_detector, **options)


@pytest.mark.slow
def test_it_learns_evaluates_and_exports_what_it_learned(config, tmp_path):
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"epochs": 30, "lr": 4e-3, "ema": 0.9})})
    path = _train(config, tmp_path / "run")
    state = checkpoint.load(path)
    assert state["history"][-1]["dev_auc"] > 0.9
    held_out = state["results"]["test identities, held-out domains"]
    assert set(held_out) == {"all", "c print"}
    assert held_out["all"]["auc"] > 0.85
    assert held_out["all"]["auc_low"] <= held_out["all"]["auc"] <= held_out["all"]["auc_high"]

    chips = material.load_chips(config.data, _no_detector)
    out = tmp_path / "student.onnx"
    difference = export(path, out, np.asarray(chips.images[:16, 0]), "chequers", "Apache-2.0")
    assert difference < PARITY
    sidecar = read_sidecar(out)
    assert (sidecar.size, sidecar.margin) == (SIZE, 1.3)
    assert not any(node.metadata_props for node in onnx.load(out).graph.node)  # a tenth of the file, and full of paths
    assert sidecar.threshold == state["thresholds"]["default"]["value"]
    assert sidecar.metrics["test identities, held-out domains: all"]["auc"] == pytest.approx(
        held_out["all"]["auc"], abs=1e-4
    )

    # The live pipeline's own crop, through the live engine, gives what the trained network says.
    from dtda.engines.registry import open_engine

    engine = open_engine(out)
    record = chips.records[0]
    chip = crop(cv2.imread(str(record.path)), record.points, sidecar.rule)
    trained = checkpoint.load_student(path).student
    x = torch.from_numpy(chip.transpose(2, 0, 1)[None].copy()).float() / 255
    assert engine.infer(chip[None])[0] == pytest.approx(float(torch.sigmoid(trained(x).detach())[0]), abs=PARITY)
    engine.close()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(config, tmp_path):
    whole = checkpoint.load(_train(config, tmp_path / "whole"))
    _train(config, tmp_path / "cut", stop_after=3)  # in the middle of the first epoch
    assert checkpoint.load(tmp_path / "cut" / "last.ckpt")["batch"] == 3
    resumed = checkpoint.load(_train(config, tmp_path / "cut", resume=True))
    for name, value in whole["student"].items():
        assert torch.equal(value, resumed["student"][name]), name
    for name, value in whole["ema"].items():
        assert torch.equal(value, resumed["ema"][name]), name
    assert resumed["results"] == whole["results"] or str(resumed["results"]) == str(whole["results"])


def test_another_seed_gives_other_weights(config, tmp_path):
    one = checkpoint.load(_train(config, tmp_path / "one", stop_after=2))
    other = checkpoint.load(_train(config.model_copy(update={"seed": 1}), tmp_path / "other", stop_after=2))
    assert not torch.equal(one["student"]["head.1.weight"], other["student"]["head.1.weight"])


def test_scores_are_calibrated_once_and_none_passes_another(config, tmp_path, monkeypatch):
    # After fewer steps the logits differ by rounding only.
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"epochs": 4, "lr": 4e-3, "ema": 0.9})})
    monkeypatch.setattr(loop, "calibrate", lambda *_: {"slope": 1.0, "intercept": 0.0})
    raw = checkpoint.load_student(_train(config, tmp_path / "raw"))
    monkeypatch.undo()
    made = checkpoint.load_student(_train(config, tmp_path / "run"))
    slope, intercept = made.state["calibration"]["slope"], made.state["calibration"]["intercept"]
    data = material.load(config.data, _no_detector)
    before, after = (logits(each.student, data.chips, data.fold.dev) for each in (raw, made))
    np.testing.assert_allclose(after, slope * before + intercept, rtol=1e-4, atol=1e-4)
    assert slope > 0
    assert slope != 1
    live = np.array([data.chips.records[number].label is Label.LIVE for number in data.fold.dev])

    def cost(found):  # of both classes alike
        each = np.log1p(np.exp(-np.where(live, found, -found)))
        return each[live].mean() + each[~live].mean()

    assert cost(after) < cost(before)
    again = checkpoint.load_student(_train(config, tmp_path / "run", resume=True))
    assert again.state["calibration"] == made.state["calibration"]
    assert torch.equal(again.student.head[1].weight, made.student.head[1].weight)


def test_a_share_of_what_it_started_from_is_kept(config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "calibrate", lambda *_: {"slope": 1.0, "intercept": 0.0})
    first = _train(config, tmp_path / "first")
    config = config.model_copy(update={"weights": str(first), "seed": 1})
    start = build_student(config.student, weights=config.weights).state_dict()
    whole = checkpoint.load(_train(config, tmp_path / "whole"))["ema"]
    kept = config.model_copy(update={"optim": config.optim.model_copy(update={"keep": 0.25})})
    found = checkpoint.load(_train(kept, tmp_path / "kept"))["ema"]
    name = "trunk.0.0.weight"
    assert (whole[name] - start[name]).abs().max() > 1e-4
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * whole[name] + 0.25 * start[name], rtol=1e-4, atol=1e-5)
    (tmp_path / "x.toml").write_text('[data]\nmanifests = ["m.csv"]\n[optim]\nkeep = 0.5\n')
    with pytest.raises(DtdaError, match=r"x\.toml: optim.keep needs weights to start from"):
        read_config(tmp_path / "x.toml")
    with pytest.raises(DtdaError, match=r"x\.toml: optim.begun is about weights to start from"):
        read_config(tmp_path / "x.toml", ["optim.keep=0", "optim.begun=0.5"])


def test_an_existing_run_is_not_overwritten_nor_resumed_differently(config, tmp_path):
    _train(config, tmp_path / "run", stop_after=1)
    with pytest.raises(DtdaError, match="--resume"):
        _train(config, tmp_path / "run")
    with pytest.raises(DtdaError, match="another configuration"):
        _train(config.model_copy(update={"seed": 5}), tmp_path / "run", resume=True)
    with pytest.raises(DtdaError, match="no such checkpoint"):
        _train(config, tmp_path / "elsewhere", resume=True)


def test_nan_stops_with_a_sentence_and_keeps_the_last_checkpoint(config, tmp_path, monkeypatch):
    _train(config, tmp_path / "run", stop_after=2)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    monkeypatch.setattr(method, "binary_cross_entropy_with_logits", lambda x, *_, **__: x * math.nan)
    with pytest.raises(DtdaError, match=r"the loss is nan at step 2 .*lower optim\.lr"):
        _train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_a_gradient_that_is_no_number_changes_nothing(config, tmp_path, monkeypatch):
    _train(config, tmp_path / "run", stop_after=2)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()

    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf

    real = method.classification
    monkeypatch.setattr(method, "classification", lambda x, *rest: real(Poison.apply(x), *rest))
    with pytest.raises(DtdaError, match=r"the gradient is (nan|inf) at step 2"):
        _train(config.model_copy(update={"checkpoint_minutes": 1e-6}), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_scores_that_are_no_numbers_are_told(config, tmp_path):
    wild = config.optim.model_copy(update={"lr": 1e30, "batch": 48, "epochs": 1})
    with pytest.raises(DtdaError, match=r"not numbers any more|is (nan|inf)"):
        _train(config.model_copy(update={"optim": wild}), tmp_path / "run")


def test_a_run_does_not_go_on_with_other_data(config, textures, tmp_path):
    own = textures.with_name("own.csv")
    own.write_text(textures.read_text())
    config = config.model_copy(update={"data": config.data.model_copy(update={"manifests": [own]})})
    _train(config, tmp_path / "run", stop_after=1)
    own.write_text("\n".join(line for line in textures.read_text().splitlines() if "s4," not in line) + "\n")
    with pytest.raises(DtdaError, match="the data is not that of the run"):
        _train(config, tmp_path / "run", resume=True)


def test_a_checkpoint_says_who_was_trained_on(config, tmp_path):
    state = checkpoint.load(_train(config, tmp_path / "run", stop_after=1))
    made = material.load(config.data, _no_detector)
    assert state["trained_on"] == sorted({made.chips.records[i].subject for i in made.fold.train})
    assert (state["fold"], state["sources"], state["targets"]) == ("c", ["a", "b"], ["c"])


def test_whoever_trained_the_first_student_is_remembered_by_the_next(config, tmp_path):
    first = _train(config, tmp_path / "first", stop_after=1)
    data = config.data.model_copy(update={"fold": "a"})
    after = config.model_copy(update={"data": data, "weights": str(first)})
    state = checkpoint.load(_train(after, tmp_path / "after", stop_after=1))
    before = checkpoint.load(first)
    assert set(before["trained_on"]) < set(state["trained_on"])
    torch.save({name: value for name, value in before.items() if name != "trained_on"}, first)
    with pytest.raises(DtdaError, match="does not say whom it was trained on"):
        _train(after, tmp_path / "again", stop_after=1)


def test_tensorboard_has_what_one_looks_for(config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = config.model_copy(update={"domain": DomainPart(adversary="daa")})
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"epochs": 1})})
    _train(config, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    figures = {"loss", "live", "attacked", "domain", "domain_accuracy", "domain_accuracy_attacked", "attack_success"}
    assert {f"{when}/{name}" for when in ("train", "epoch") for name in figures} <= set(events.Tags()["scalars"])
    steps = [event.step for event in events.Scalars("train/attack_success")]
    assert steps == list(range(1, len(steps) + 1))
    assert list((tmp_path / "run").rglob("features/metadata.tsv"))  # the projector's


def test_learning_rates():
    cosine = OptimPart(warmup=0.1)
    assert [rate(step, 100, cosine) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [rate(step, 100, cosine) for step in (10, 55, 100)] == pytest.approx([1.0, 0.5, 0.0])
    steps = OptimPart(schedule="step", warmup=0.0, milestones=[0.5, 0.8])
    assert [rate(step, 100, steps) for step in (1, 49, 50, 79, 80)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_students_start_from_weights(tmp_path):
    import torchvision

    torch.manual_seed(5)
    net = torchvision.models.mobilenet_v3_small(weights=None)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    student = build_student("mobile", weights=str(tmp_path / "net.pth"))
    assert torch.equal(student.trunk[0][0].weight, net.features[0][0].weight)
    torch.save({"student": student.state_dict()}, tmp_path / "own.ckpt")
    again = build_student("mobile", weights=str(tmp_path / "own.ckpt"))
    assert torch.equal(again.head[1].weight, student.head[1].weight)
    for name, words in (("resnet18", "not weights of a resnet18 student"), ("mobile", "no such file of weights")):
        path = tmp_path / ("net.pth" if name == "resnet18" else "gone.pth")
        with pytest.raises(DtdaError, match=words):
            build_student(name, weights=str(path))


def test_unusable_data_is_named(config, textures, tmp_path):
    wrong = config.model_copy(update={"data": config.data.model_copy(update={"fold": "mars"})})
    with pytest.raises(DtdaError, match="protocol sim-loo has no fold mars; there are a, b, c"):
        _train(wrong, tmp_path / "x")
    rows = [line for line in textures.read_text().splitlines() if ",spoof," not in line or ",train," not in line]
    one_class = textures.with_name("live_only.csv")
    one_class.write_text("\n".join(rows) + "\n")
    wrong = config.model_copy(update={"data": config.data.model_copy(update={"manifests": [one_class]})})
    with pytest.raises(DtdaError, match="its train part needs live and spoof pictures; it has only live"):
        _train(wrong, tmp_path / "y")


def test_wrong_settings_are_named(config, tmp_path):
    small = config.model_copy(update={"optim": config.optim.model_copy(update={"batch": 3})})
    with pytest.raises(DtdaError, match=r"optim\.batch is 3; live and attack of 2 domains need 4"):
        _train(small, tmp_path / "x")
    for device in ("foo", "cuda:7"):
        with pytest.raises(DtdaError, match=f"device {device} cannot be used here"):
            _train(config.model_copy(update={"device": device}), tmp_path / "x")


def test_an_unfinished_run_is_not_exported(config, tmp_path):
    path = _train(config, tmp_path / "run", stop_after=1)
    with pytest.raises(DtdaError, match="has not finished"):
        export(path, tmp_path / "s.onnx", np.zeros((1, SIZE, SIZE, 3), np.uint8), "", "")
    assert not (tmp_path / "s.onnx").exists()


def test_a_cue_map_is_exported_and_the_live_engine_runs_beside_it(config, tmp_path):
    import onnxruntime

    from dtda.engines.registry import open_engine

    config = config.model_copy(update={"cue_map": 0.5})
    path = _train(config, tmp_path / "run")
    chips = np.asarray(material.load_chips(config.data, _no_detector).images[:4, 0])
    out = tmp_path / "student.onnx"
    assert export(path, out, chips, "chequers", "Apache-2.0") < PARITY
    planes = chips.transpose(0, 3, 1, 2).copy()
    p_live, cues = onnxruntime.InferenceSession(out).run(["p_live", "cue_map"], {"image": planes})
    trained = checkpoint.load_student(path).student
    with torch.no_grad():
        expected = torch.sigmoid(trained.cues(trained.feature_map(torch.from_numpy(planes).float() / 255)))
    np.testing.assert_allclose(cues, expected.numpy(), atol=PARITY)
    engine = open_engine(out)
    np.testing.assert_allclose(engine.infer(chips), p_live, atol=1e-6)
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ["dat", "daa"])
def test_every_method_resumes_to_the_same_weights(config, adversary, tmp_path):
    """As ERM above, with discriminator, a teacher's adapter, its own attack noise, and SGD in steps."""
    import torch as saved

    from dtda.core.models.stargan import Discriminator

    teacher = tmp_path / "discriminator.pth"
    torch.manual_seed(3)
    saved.save(Discriminator(32, 8, 2, 4).state_dict(), teacher)
    attack = AttackPart(start="noise", steps=2)
    config = config.model_copy(
        update={
            "domain": DomainPart(adversary=adversary, attack=attack),
            "teachers": {"generative": TeacherPart(kind="stargan", file=teacher)},
            "optim": config.optim.model_copy(update={"optimizer": "sgd", "lr": 0.01, "schedule": "step"}),
        }
    )
    whole = checkpoint.load(_train(config, tmp_path / "whole"))
    _train(config, tmp_path / "cut", stop_after=3)
    resumed = checkpoint.load(_train(config, tmp_path / "cut", resume=True))
    for key in ("student", "ema", "parts"):
        assert whole[key]
        for name, value in whole[key].items():
            assert torch.equal(value, resumed[key][name]), name
    assert whole["history"] == resumed["history"]
    assert {"domain_accuracy", "generative"} <= set(whole["history"][0])


def test_checkpoints_of_other_kinds_are_refused(config, tmp_path):
    broken = tmp_path / "broken.ckpt"
    for content in (b"", b"not a checkpoint", b"e text that looks like a pickle", b"PK\x03\x04"):
        broken.write_bytes(content)
        with pytest.raises(DtdaError, match="not a readable checkpoint"):
            checkpoint.load(broken)
    torch.save({"format": checkpoint.FORMAT}, broken)
    with pytest.raises(DtdaError, match="not a checkpoint of this program"):
        checkpoint.load(broken)
    path = _train(config, tmp_path / "run", stop_after=1)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "config": state["config"] | {"colour": 1}}, broken)
    with pytest.raises(DtdaError, match="another version of this program"):
        checkpoint.load_student(broken)
    state["config"]["student"] = "resnet18"
    torch.save(state, broken)
    with pytest.raises(DtdaError, match="not those of a resnet18 student"):
        checkpoint.load_student(broken)
    with pytest.raises(DtdaError, match="no such student"):
        build_student("vgg")


def test_samples_depend_on_seed_epoch_and_number_only(config):
    made = material.load(config.data, _no_detector)
    samples = Samples(made, config)
    torch.manual_seed(1)
    first = samples[Place(3, 5, 1.0)]
    torch.rand(7)
    again = samples[Place(3, 5, 1.0)]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.points, again.points)
    record = made.chips.records[made.fold.train[5]]
    assert (first.live, first.domain) == (record.label.value == "live", ("a", "b").index(record.domain))
    assert any(not torch.equal(first.image, samples[Place(epoch, 5, 1.0)].image) for epoch in range(4, 8))
    assert first.image.dtype == torch.uint8
    assert first.image.shape == (3, SIZE, SIZE)


def test_a_mirrored_chip_keeps_its_points_on_the_face():
    chip = np.zeros((40, 40, 3), np.uint8)
    points = np.array([[5, 10], [30, 11], [18, 20], [8, 30], [28, 31]], np.float32)
    for value, (x, y) in enumerate(points.astype(int), 1):
        chip[y, x] = value
    mirrored, moved = flipped(chip, points)
    found = [int(mirrored[int(y), int(x), 0]) for x, y in moved]
    assert found == [2, 1, 3, 5, 4]  # the left eye of the picture is now the other eye
    assert moved[0, 0] < moved[1, 0]
    np.testing.assert_array_equal(flipped(*flipped(chip, points))[1], points)


def test_chips_are_the_live_crop_and_cached(textures, tmp_path):
    records = read_manifest(textures)[:6]
    rule = CropRule(SIZE, 1.3)
    chips = cut_chips(records, rule, 3, tmp_path)
    expected = crop(cv2.imread(str(records[0].path)), records[0].points, rule)
    np.testing.assert_array_equal(chips.images[0, 0], expected)
    assert not np.array_equal(chips.images[0, 1], expected)  # a training picture is moved
    stamp = (chips.place / "images.npy").stat().st_mtime_ns
    assert cut_chips(records, rule, 3, tmp_path).place == chips.place
    assert (chips.place / "images.npy").stat().st_mtime_ns == stamp
    assert cut_chips(records, CropRule(SIZE, 1.4), 3, tmp_path).place != chips.place


def test_pictures_that_cannot_be_used_are_listed(textures, tmp_path):
    from dataclasses import replace

    good, bare = read_manifest(textures)[:2]
    missing = replace(good, path=tmp_path / "gone.png")
    chips = cut_chips([good, missing, replace(bare, points=None)], CropRule(SIZE, 1.3), 1, tmp_path, lambda bgr: [])
    assert chips.records == (good,)
    assert [sentence.split(": ")[1] for sentence in chips.skipped] == ["not a readable picture.", "no face found."]
    with pytest.raises(DtdaError, match="none of the 1 pictures"):
        cut_chips([missing], CropRule(SIZE, 1.3), 1, tmp_path)


def test_jitter_stays_near():
    rng = np.random.default_rng(0)
    points = TEMPLATE * 2
    moved = np.stack([jittered(points, rng) for _ in range(300)])
    eyes = np.linalg.norm(points[1] - points[0])
    assert np.abs(moved.mean(0) - points).max() < 0.05 * eyes
    assert 0.02 * eyes < (moved - points).std() < 0.15 * eyes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x.png,genuine,,a,s,train", "label is 'genuine'"),
        ("x.png,live,,a,s,validation", "split is 'validation'"),
    ],
)
def test_wrong_manifest_lines_are_named(tmp_path, line, words):
    path = tmp_path / "m.csv"
    path.write_text("path,label,attack_type,domain,subject,split\n" + line + "\n")
    with pytest.raises(DtdaError, match="line 2") as failure:
        read_manifest(path)
    assert words in str(failure.value)
    path.write_text("path,label\nx,live\n")
    with pytest.raises(DtdaError, match="column domain is missing"):
        read_manifest(path)
    path.write_text("path,label,domain,subject,split\nx,live\n")
    with pytest.raises(DtdaError, match="line 2: has more or fewer fields"):
        read_manifest(path)
    path.write_bytes("path,label,domain,subject,split\nü,live,a,s,train\n".encode("latin-1"))
    with pytest.raises(DtdaError, match="not a CSV in UTF-8"):
        read_manifest(path)
    path.write_text("\ufeffpath,label,domain,subject,split\nx,live,a,s,train\n")  # as Excel saves it
    assert len(read_manifest(path)) == 1


def test_overrides_are_typed(textures, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f'[data]\nmanifests = ["{textures}"]\n')
    config = read_config(path, ["optim.lr=1e-4", "name=other", "data.fold=c"])
    assert (config.optim.lr, config.name, config.data.fold) == (1e-4, "other", "c")
    for override, words in (
        ("optim.lr=fast", "optim.lr"),
        ("optim.speed=1", "optim.speed"),
        ("seed=-1", "seed"),
        ("workers=-1", "workers"),
        ("augment.hue=2", "augment.hue"),
        ("lr", "section.key=value"),
        ("data.manifests.first=x", "not a section"),
    ):
        with pytest.raises(DtdaError) as failure:
            read_config(path, [override])
        assert words in str(failure.value)
