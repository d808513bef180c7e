"""The domain adversarial attack: bounded, effective, and without a trace on the networks."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from dtda.core.models.discriminator import Discriminator
from dtda.core.models.student import Student
from dtda.core.training.attack import domain_attack, frozen, harm
from dtda.core.training.config import AttackPart

DOMAINS = 3


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2), nn.BatchNorm2d(12)
    )
    student, discriminator = Student(trunk, 12, 0.3), Discriminator(12, DOMAINS, 16)
    with torch.no_grad():  # statistics away from their initial values
        for _ in range(3):
            student(torch.rand(8, 3, 32, 32))
    return student, discriminator


def pictures(seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, 32, 32, generator=generator)
    x[:, :, :4], x[:, :, 4:8] = 0.0, 1.0  # at the ends of the range as well
    return x, torch.randint(DOMAINS, (count,), generator=generator)


parts = st.builds(
    AttackPart,
    objective=st.sampled_from(["confuse", "untargeted"]),
    eps=st.floats(1e-3, 0.3),
    alpha=st.none() | st.floats(1e-3, 0.3),
    steps=st.integers(1, 3),
    start=st.sampled_from(["zero", "noise"]),
)


@settings(max_examples=40)
@given(part=parts, seed=st.integers(0, 1000), training=st.booleans())
def test_it_stays_in_bounds_and_changes_nothing_else(networks, part, seed, training):
    student, discriminator = networks
    student.train(training)
    x, domain = pictures(seed)
    original = x.clone()
    before = copy.deepcopy([student.state_dict(), discriminator.state_dict()])
    attacked = domain_attack(student, discriminator, x, domain, part)
    assert attacked.shape == x.shape
    assert not attacked.requires_grad
    assert float((attacked - x).abs().max()) <= part.eps + 1e-6
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    assert not torch.equal(attacked, x)
    assert torch.equal(x, original)
    for state, module in zip(before, (student, discriminator), strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
        assert all(inner.training == module.training for inner in module.modules())
    assert student.training == training


@pytest.mark.parametrize("objective", ["confuse", "untargeted"])
@pytest.mark.parametrize("steps", [1, 4])
def test_it_gets_what_it_is_after(networks, objective, steps):
    student, discriminator = networks
    x, domain = pictures(7, 16)
    part = AttackPart(objective=objective, eps=4 / 255, steps=steps)
    attacked = domain_attack(student, discriminator, x, domain, part)
    with frozen(student, discriminator), torch.no_grad():
        before, after = (discriminator(student.features(images)) for images in (x, attacked))
    assert float(harm(after, domain, objective)) > float(harm(before, domain, objective)) + 1e-3
    if objective == "untargeted":
        assert float(cross_entropy(after, domain)) > float(cross_entropy(before, domain))
    else:
        uniform = torch.full_like(before, 1 / DOMAINS)
        far, near = (kl_div(logits.log_softmax(1), uniform, reduction="batchmean") for logits in (before, after))
        assert float(near) < float(far)


def test_more_steps_harm_more(networks):
    student, discriminator = networks
    x, domain = pictures(3, 16)
    harms = []
    for steps in (1, 8):
        part = AttackPart(objective="untargeted", eps=4 / 255, steps=steps)
        attacked = domain_attack(student, discriminator, x, domain, part)
        with frozen(student, discriminator), torch.no_grad():
            harms.append(float(harm(discriminator(student.features(attacked)), domain, "untargeted")))
    assert harms[1] > harms[0]


def test_a_picture_is_attacked_alike_whatever_its_batch(networks):
    student, discriminator = networks
    x, domain = pictures(5, 6)
    part = AttackPart(eps=0.01)
    together = domain_attack(student, discriminator, x, domain, part)
    alone = torch.cat([domain_attack(student, discriminator, x[i : i + 1], domain[i : i + 1], part) for i in range(6)])
    # Where a gradient is all but zero its sign may turn with the order of additions.
    assert float(((together - alone).abs() < 1e-6).float().mean()) > 0.99


def test_objectives_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    # KL(uniform || p) is -log 3 - (log 1/2 + 2 log 1/4) / 3; the attack ascends its negative without the constant.
    divergence = -1.098612 + (0.693147 + 2 * 1.386294) / 3
    assert float(-harm(logits, torch.tensor([0]), "confuse")) - 1.098612 == pytest.approx(divergence, abs=1e-5)
    assert float(harm(logits, torch.tensor([1]), "untargeted")) == pytest.approx(1.386294, abs=1e-5)  # -log 1/4


def test_freezing_gives_everything_back_even_after_an_error():
    part = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    part[1].eval()
    part[0].bias.requires_grad_(False)

    def fail():
        with frozen(part):
            assert not any(inner.training for inner in part.modules())
            assert not any(parameter.requires_grad for parameter in part.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert part.training
    assert not part[1].training
    assert part[0].weight.requires_grad
    assert not part[0].bias.requires_grad
