"""The losses of a step against numbers worked out by hand, and who learns from which."""

import math

import pytest
import torch
from torch import nn

from dtda.core.models.discriminator import reverse_gradient
from dtda.core.models.student import Student
from dtda.core.training.config import AttackPart, DomainPart, TeacherPart, TrainConfig
from dtda.core.training.method import Batch, Method, classification, distance, divergence, ramp


def config(adversary="none", teachers=(), **changes):
    made = {
        name: TeacherPart(kind="onnx", file="x.onnx", weight=0.5, share=share, distance=kind)
        for name, share, kind in teachers
    }
    domain = DomainPart(adversary=adversary, reversal=0.3, attack=AttackPart(eps=0.02, weight=1.0), hidden=8)
    return TrainConfig(data={"manifests": ["m.csv"]}, domain=domain, teachers=made, dropout=0.0, **changes)


def batch(count=6):
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.rand(count, 3, 32, 32, generator=generator),
        torch.tensor([1.0, 0.0] * (count // 2)),
        torch.arange(count) % 3,
        torch.ones(count),
        torch.rand(count, 5, 2, generator=generator) * 32,
    )


class Imitated(nn.Module):
    """A teacher that would learn if anything let it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 7)
        self.seen = []

    def forward(self, x, points):
        self.seen.append((x, points))
        return self.layer(x.mean((2, 3)))


def method(made, teachers=None):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 4))
    return Method(Student(trunk, 12, made.dropout, made.cue_map > 0), made, 3, teachers or {})


def step(module, data, progress=1.0):
    attacked = module.attacked(data)
    with torch.no_grad():
        targets = module.known(data, attacked)
    total, parts = module(data, attacked, targets, progress)
    total.backward()
    return total, parts


def test_classification_by_hand():
    data = batch(2)
    logits = torch.tensor([math.log(3), math.log(3)])  # P(live) = 3/4 for both; the second is an attack
    expected = (-math.log(0.75) - math.log(0.25)) / 2
    assert float(classification(logits, data, 0.0)) == pytest.approx(expected)
    # Smoothing 0.2: targets 0.9 and 0.1, each -0.9 log of the right and -0.1 log of the wrong probability.
    smooth = (-0.9 * math.log(0.75) - 0.1 * math.log(0.25) - 0.9 * math.log(0.25) - 0.1 * math.log(0.75)) / 2
    assert float(classification(logits, data, 0.2)) == pytest.approx(smooth)
    weighted = Batch(data.x, data.live, data.domain, torch.tensor([1.5, 0.5]), data.points)
    assert float(classification(logits, weighted, 0.0)) == pytest.approx(
        (-1.5 * math.log(0.75) - 0.5 * math.log(0.25)) / 2
    )
    cells = torch.stack([torch.full((2, 2), math.log(3)), torch.full((2, 2), 0.0)])
    assert float(classification(cells, data, 0.0)) == pytest.approx((-math.log(0.75) - math.log(0.5)) / 2)


def test_distances_by_hand():
    found = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    target = torch.tensor([[4.0, 3.0], [0.0, 5.0]])
    # cosines 24/25 and 0
    assert float(distance(found, target, "cosine")) == pytest.approx((1 / 25 + 1) / 2)
    # normalised: (.6, .8) - (.8, .6) and (1, 0) - (0, 1): squares .04 + .04 and 1 + 1, over two dimensions
    assert float(distance(found, target, "mse")) == pytest.approx((0.08 + 2) / 4)
    assert float(distance(3 * found, target, "mse")) == pytest.approx((0.08 + 2) / 4)  # length says nothing


def test_divergence_by_hand():
    live, others = torch.tensor([1.0, -2.0]), torch.tensor([[0.3, 0.1], [2.0, -1.0]])
    probability = live.sigmoid()
    share = others.softmax(1)
    student = torch.cat([probability[:, None], (1 - probability)[:, None] * share], 1)
    target = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    expected = (target * (target / student).log()).sum(1).mean()
    torch.testing.assert_close(divergence(live, others, target.log(), 1.0), expected)  # P(live) is the student's own
    softened = [(values.log() / 3).softmax(1) for values in (target, student)]
    expected = 9 * (softened[0] * (softened[0] / softened[1]).log()).sum(1).mean()
    torch.testing.assert_close(divergence(live, others, target.log(), 3.0), expected)
    same = torch.tensor([[0.5, 0.25, 0.25]]).log()
    assert divergence(torch.zeros(1), torch.zeros(1, 2), same, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert divergence(torch.zeros(1), torch.zeros(1, 1), torch.tensor([[0.5, 0.5]]).log(), 2.0).item() == pytest.approx(
        0
    )


def test_an_antispoofing_teacher_moves_the_students_own_live_logit():
    part = TeacherPart(kind="antispoof", file="x", weight=1.0, temperature=1.0)
    target = torch.tensor([0.98, 0.01, 0.01]).log()
    taught = config().model_copy(update={"teachers": {"old": part}})
    made = method(taught, {"old": (lambda x, points: target.expand(len(x), 3), 3)})
    assert made.adapters["old"].out_features == 2
    alone = method(config())
    alone.student.load_state_dict(made.student.state_dict())
    total, losses = step(made, batch())
    torch.testing.assert_close(total.detach(), losses["live"] + losses["old"])
    step(alone, batch())
    assert made.student.head[1].bias.grad < alone.student.head[1].bias.grad - 0.1  # down the slope lies "live"


def test_reversal_negates_and_scales_the_gradient():
    x = torch.randn(4, 5, requires_grad=True, dtype=torch.float64)
    weight = torch.randn(5, dtype=torch.float64)
    (plain,) = torch.autograd.grad((x * weight).sin().sum(), x)
    passed = reverse_gradient(x, 0.7)
    assert torch.equal(passed, x)
    (reversed_,) = torch.autograd.grad((passed * weight).sin().sum(), x)
    torch.testing.assert_close(reversed_, -0.7 * plain)


def test_dat_pushes_the_student_against_the_discriminator_by_lambda():
    made = config("dat")
    data = batch()
    module = method(made).eval()  # the same statistics in all passes

    def gradients(loss):
        parameters = [*module.student.trunk.parameters()], [*module.discriminator.parameters()]
        found = torch.autograd.grad(loss, [*parameters[0], *parameters[1]])
        return found[: len(parameters[0])], found[len(parameters[0]) :]

    total, parts = module(data, None, {}, 0.25)
    live = classification(module.student(data.x), data, made.optim.smoothing)
    domain = nn.functional.cross_entropy(module.discriminator(module.student.features(data.x)), data.domain)
    assert float(total.detach()) == pytest.approx(float((live + domain).detach()), rel=1e-5)
    assert float(parts["domain"]) == pytest.approx(float(domain), rel=1e-5)
    mine = gradients(total)
    alone = torch.autograd.grad(live, [*module.student.trunk.parameters()], retain_graph=True)
    away = gradients(domain)
    strength = made.domain.reversal * ramp(0.25)
    assert strength == pytest.approx(0.3 * (2 / (1 + math.exp(-2.5)) - 1))
    for found, own, pushed in zip(mine[0], alone, away[0], strict=True):
        torch.testing.assert_close(found, own - strength * pushed, rtol=2e-3, atol=1e-5)
    for found, expected in zip(mine[1], away[1], strict=True):  # the discriminator itself learns unreversed
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_daa_never_lets_the_discriminator_push_the_student():
    data = batch()
    with_attack, plain = method(config("daa")).eval(), method(config()).eval()
    attacked = with_attack.attacked(data)
    total, parts = with_attack(data, attacked, {}, 1.0)
    total.backward()
    student = plain.student
    student.load_state_dict(with_attack.student.state_dict())
    smoothing = plain.config.optim.smoothing
    loss = classification(student(data.x), data, smoothing) + classification(student(attacked), data, smoothing)
    loss.backward()
    assert float(total) == pytest.approx(float(loss + parts["domain"]), rel=1e-5)
    for one, other in zip(with_attack.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-3, atol=1e-6)
    assert all(parameter.grad is not None for parameter in with_attack.discriminator.parameters())
    assert {"domain_accuracy", "domain_accuracy_attacked", "attack_success"} <= set(parts)


def test_a_share_of_the_batch_may_be_attacked():
    made = config("daa", [("perceptual", 1.0, "cosine")])
    attack = made.domain.attack.model_copy(update={"share": 0.5})
    made = made.model_copy(update={"domain": made.domain.model_copy(update={"attack": attack})})
    teacher, data = Imitated(), batch()
    module = method(made, {"perceptual": (teacher, 7)}).eval()
    attacked = module.attacked(data)
    assert attacked.shape == (3, 3, 32, 32)
    targets = module.known(data, attacked)
    seen = torch.cat([attacked, data.x[3:]])  # teachers see the whole batch, its attacked part as attacked
    assert torch.equal(teacher.seen[0][0], seen)
    _, parts = module(data, attacked, targets, 1.0)
    expected = classification(module.student(attacked), data.first(3), made.optim.smoothing)
    assert float(parts["attacked"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    imitated = module.adapters["perceptual"](module.student.features(seen))
    assert float(parts["perceptual"]) == pytest.approx(
        float(distance(imitated, targets["perceptual"], "cosine").detach()), rel=1e-4
    )


def test_teachers_see_the_attacked_pictures_and_stay_as_they_are():
    teacher = Imitated()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    made = config("daa", [("perceptual", 0.5, "cosine")])
    module, data = method(made, {"perceptual": (teacher, 7)}), batch()
    attacked = module.attacked(data)
    with torch.no_grad():
        targets = module.known(data, attacked)
    seen, points = teacher.seen[0]
    assert torch.equal(seen, attacked[:3])  # half of the batch, after the attack
    assert torch.equal(points, data.points[:3])
    total, parts = module(data, attacked, targets, 1.0)
    total.backward()
    assert float(total) == pytest.approx(
        float(parts["live"] + parts["attacked"] + parts["domain"] + 0.5 * parts["perceptual"]), rel=1e-5
    )
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert module.adapters["perceptual"].weight.grad.abs().sum() > 0
    assert not any(name.startswith("teachers") for name in module.state_dict())


def test_a_teacher_is_imitated_around_its_mean():
    made = config("none", [("generative", 1.0, "cosine")])
    module = method(made, {"generative": (lambda x, points: x.mean((2, 3)) + 100, 3)})
    first, second = batch(), batch()._replace(x=batch().x * 0.5)
    means = [data.x.mean((2, 3)).mean(0) + 100 for data in (first, second)]
    found = module.known(first, None)["generative"]
    torch.testing.assert_close(found, first.x.mean((2, 3)) + 100 - means[0])
    found = module.known(second, None)["generative"]
    torch.testing.assert_close(found, second.x.mean((2, 3)) + 100 - (means[0] + means[1]) / 2)
    assert any(name == "centres.generative.mean" for name in module.state_dict())
    module.eval()
    module.known(first, None)
    torch.testing.assert_close(module.centres["generative"].mean, (means[0] + means[1]) / 2)
    plain = made.teachers["generative"].model_copy(update={"centre": False})
    module = method(made.model_copy(update={"teachers": {"generative": plain}}), {"generative": (Imitated(), 7)})
    assert not torch.allclose(module.known(first, None)["generative"].mean(0), torch.zeros(7), atol=1e-3)


def test_erm_is_classification_alone():
    module = method(config())
    total, parts = step(module, batch())
    assert set(parts) == {"live"}
    assert float(total) == float(parts["live"])
    assert module.discriminator is None


def test_a_cue_map_learns_with_the_rest():
    made = config(cue_map=0.4)
    module = method(made)
    total, parts = step(module, batch())
    assert float(total) == pytest.approx(float(parts["live"] + 0.4 * parts["cues"]), rel=1e-5)
    assert module.student.cue_head.weight.grad.abs().sum() > 0
    assert module.student.cues(module.student.feature_map(batch().x)).shape == (6, 4, 4)


def test_attack_figures_by_hand():
    module = method(config("daa"))
    clean = torch.eye(3)[[0, 1, 2, 0]] * 5  # predicts 0, 1, 2, 0
    module.discriminator = nn.Identity()
    attacked = torch.eye(3)[[0, 2, 2, 1]] * 5  # predicts 0, 2, 2, 1
    figures = module._fooled(clean, attacked, torch.tensor([0, 1, 2, 1]))
    assert float(figures["domain_accuracy"]) == 0.75
    assert float(figures["domain_accuracy_attacked"]) == 0.75
    assert float(figures["attack_success"]) == pytest.approx(1 / 3)
