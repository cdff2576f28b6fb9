"""Augmentation against closed forms: what each change does, its mean, its range, its adjoint; p follows D."""

import copy

import pytest
import torch
from runs import run_of
from test_cuda_graph import played, reason_on_a_gpu, record
from torch import Tensor
from toys import Spy, normal, play, same, seeded

from gan_ref.errors import UserError
from gan_ref.techniques import augmentation, penalties
from gan_ref.techniques.augmentation import AdaptiveAugment, DiffAugment

COLOUR, TRANSLATION, CUTOUT = ({"policy": name} for name in augmentation.POLICY)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- each change


def test_translation_moves_pixels_and_lets_gray_in():
    x = normal(3, 2, 5, 8)
    moved = augmentation.translate(x, torch.tensor([2, -1, 0]), torch.tensor([-3, 1, 0]))
    assert torch.equal(moved[0, :, 2:, :-3], x[0, :, :-2, 3:]) and moved[0, :, :2].abs().max() == 0
    assert torch.equal(moved[1, :, :-1, 1:], x[1, :, 1:, :-1]) and moved[1, :, :, :1].abs().max() == 0
    assert torch.equal(moved[2], x[2])


def test_cutout_hides_half_of_each_side_about_its_middle():
    x = normal(3, 2, 8, 4) + 10
    cut = augmentation.cut_out(x, torch.tensor([4, 0, 8]), torch.tensor([2, 0, 4]))
    kept = torch.ones(3, 1, 8, 4, dtype=torch.bool)
    kept[0, :, 2:6, 1:3] = kept[1, :, :2, :1] = kept[2, :, 6:, 3:] = False
    assert torch.equal(cut, torch.where(kept, x, 0))


def test_saturation_and_contrast_keep_their_means_and_multiply_what_is_left():
    x = normal(4, 3, 5, 5)
    factor = numbers(0.0, 0.5, 1.0, 2.0).view(-1, 1, 1, 1)
    gray, mean = x.mean(1, keepdim=True), x.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(augmentation.saturate(x, factor) - gray, factor * (x - gray), atol=1e-15)
    assert torch.allclose(augmentation.contrast(x, factor) - mean, factor * (x - mean), atol=1e-15)
    assert torch.allclose(augmentation.saturate(x, factor).mean((1, 2, 3)), x.mean((1, 2, 3)))


def test_the_adjoint_of_a_translation_is_the_opposite_one_and_the_others_are_their_own():
    x, y = normal(2, 3, 6, 8), normal(2, 3, 6, 8, seed=1)
    down, right = torch.tensor([1, -2]), torch.tensor([3, 0])
    factor = numbers(0.3, 1.7).view(-1, 1, 1, 1)
    row, column = torch.tensor([1, 5]), torch.tensor([4, 8])
    pairs = [
        (
            lambda v: augmentation.translate(v, down, right),
            lambda v: augmentation.translate(v, -down, -right),
        ),
        (lambda v: augmentation.cut_out(v, row, column),) * 2,
        (lambda v: augmentation.saturate(v, factor),) * 2,
        (lambda v: augmentation.contrast(v, factor),) * 2,
    ]
    for change, adjoint in pairs:
        assert (change(x) * y).sum().item() == pytest.approx((x * adjoint(y)).sum().item(), rel=1e-12)
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(change(leaf), leaf, y)
        assert torch.allclose(gradient, adjoint(y), atol=1e-14), "and autograd knows it"


@pytest.mark.parametrize("high", [0, 1, 8, 33])
def test_whole_numbers_are_uniform_and_never_too_large(high):
    u = torch.cat([torch.rand(40_000, generator=seeded()), torch.tensor([0.0, 1 - 2**-24])])
    found = augmentation.integer(u, -high, high)
    assert found.min() == -high and found.max() == high
    count = torch.bincount(found + high).float() / len(u)
    assert torch.allclose(count, torch.full_like(count, 1 / (2 * high + 1)), atol=0.01)


# ---------------------------------------------------------------- the whole, over its random numbers


def test_colour_leaves_the_expected_image_as_it_was_and_stays_in_range():
    x = 0.4 * normal(1, 3, 2, 2).expand(60_000, -1, -1, -1)
    changed = DiffAugment(**COLOUR)(x, seeded())
    assert torch.allclose(changed.mean(0), x[0], atol=0.01)
    mean = x.mean((1, 2, 3))
    moved = changed.mean((1, 2, 3)) - mean  # saturation and contrast keep it
    assert moved.abs().max() <= 0.5 and moved.std().item() == pytest.approx(12**-0.5, rel=0.02)
    left = (changed - changed.mean(1, keepdim=True)) / (x - x.mean(1, keepdim=True))
    assert 0 <= left.min() and left.max() <= 2 * 1.5, "the factors of saturation and contrast together"
    assert left.mean().item() == pytest.approx(1, abs=0.01)


def test_translation_moves_up_to_an_eighth_and_not_further():
    x = torch.zeros(4000, 1, 16, 32)
    x[:, :, 8, 16] = 1
    _, _, rows, columns = DiffAugment(**TRANSLATION)(x, seeded()).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 12, 20)
    assert rows.double().mean() == pytest.approx(8, abs=0.1)
    assert columns.double().mean() == pytest.approx(16, abs=0.2)


def test_cutout_hides_the_share_that_its_middles_give():
    hidden = 1 - DiffAugment(**CUTOUT)(torch.ones(20_000, 1, 8, 16), seeded()).mean().item()
    sides = []
    for n in (8, 16):  # over the middles 0 … n, the rows from middle − n/4 to middle + n/4 that exist
        lengths = [min(m + n // 4, n) - max(m - n // 4, 0) for m in range(n + 1)]
        sides.append(sum(lengths) / (n + 1) / n)
    assert hidden == pytest.approx(sides[0] * sides[1], rel=0.01)


def test_p_is_the_share_of_images_that_each_change_reaches():
    x = normal(20_000, 1, 8, 8) + 10
    changed = DiffAugment(p=0.3, **CUTOUT)(x, seeded())
    assert (changed != x).flatten(1).any(1).double().mean().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("kind", [DiffAugment(p=0.0), AdaptiveAugment()], ids=["p = 0", "adaptive, at first"])
def test_p_0_is_the_identity_to_the_bit(kind):
    x = normal(8, 3, 16, 16).float().to(memory_format=torch.channels_last)
    assert torch.equal(kind(x, seeded()), x)


def test_packs_are_augmented_image_by_image():
    x = normal(6, 3, 8, 8)
    single = DiffAugment()(x, seeded())
    packs = DiffAugment()(x.unflatten(0, (-1, 2)).flatten(1, 2), seeded(), pack=2)
    assert torch.equal(packs.reshape(single.shape), single)


def test_the_two_derivatives_are_those_of_finite_differences():
    x, change = normal(2, 3, 8, 8).requires_grad_(), DiffAugment()
    loss = lambda v: change(v, seeded()).pow(3).sum()  # the same random numbers each time
    assert torch.autograd.gradcheck(loss, (x,))
    assert torch.autograd.gradgradcheck(loss, (x,))


# ---------------------------------------------------------------- in the game


def images_game(**parts):
    d = Spy(*normal(192).tolist())
    return play(d, augmentation=DiffAugment(**CUTOUT), **parts), d


def test_d_sees_nothing_that_is_not_augmented():
    game, d = images_game(penalties=[penalties.GradientPenalty(), penalties.R1()])
    real, fake = normal(4, 3, 8, 8) + 10, normal(4, 3, 8, 8, seed=1) + 10
    game.d_loss(real, fake)
    game.g_loss(real, fake)
    assert len(d.seen) == 4
    assert all((seen == 0).flatten(1).any(1).all() for seen in d.seen)


def test_r1_is_the_slope_through_the_augmentation():
    """D(T(x)) = w·T(x), and T hides pixels: its gradient is w without those, T's adjoint of w."""
    game, d = images_game(penalties=[penalties.R1(weight=2.0)])
    turn = game.d_loss(torch.ones(4, 3, 8, 8).double(), normal(4, 3, 8, 8))
    seen = d.seen[0].flatten(1)  # 1 where w counts, 0 where not
    expected = (seen * d.w.detach()).square().sum(1).mean()
    assert turn.terms["R1"].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("signs", "p"),
    [
        ([1.0] * 8, 2 * 4 * 10 / 1000),  # D knows all reals: two steps up
        ([0.4] * 8, 0.0),  # under the target: p stays at 0
        ([1.0] * 7, 4 * 10 / 1000),  # the second step is not due yet
        ([1.0] * 4 + [0.4] * 4, 0.0),  # up and down again
        ([1.0] * 1000, 1.0),  # and never over 1
    ],
)
def test_p_rises_while_d_knows_the_reals_and_falls_while_not(signs, p):
    adaptive = AdaptiveAugment(target=0.6, every=4, images=1000)
    for sign in signs:
        share = round(10 * (1 + sign) / 2)
        adaptive.follow(torch.tensor([1.0] * share + [-1.0] * (10 - share)))
    assert adaptive.p.item() == pytest.approx(p, abs=1e-6)


LINES = ["DiffAugment", "AdaptiveAugment(target=-1.0, images=100)"]


@pytest.mark.parametrize("line", LINES)
def test_a_run_plays_resumes_to_the_bit_and_replays(line):
    settings = {"augment": line, "norm_d": "none", "penalties": ("R1(weight=0.1)",), "pack": 2}
    straight, resumed, recorded = (run_of("dcgan", "faces", **settings) for _ in range(3))
    begun = played(straight, 5)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    rest = played(straight, 5)
    assert played(resumed, 5) == rest and same(straight.state_dict(), resumed.state_dict())
    assert reason_on_a_gpu(recorded) == ""
    recorder = record(recorded)
    assert played(recorded, 10) == begun + rest and recorder.recordings == 1
    if "Adaptive" in line:
        assert begun[0]["augment_p"] == 0 < rest[-1]["augment_p"] < 1


def test_a_scheduled_p_is_read_anew_at_each_replay():
    settings = {"augment": "DiffAugment", "schedules": ("Ramp(of='DiffAugment.p', first=0.0, last=1.0)",)}
    run, recorded, without = (run_of("dcgan", "faces", **s) for s in (settings, settings, {}))
    assert reason_on_a_gpu(run) == ""
    record(recorded)
    rows = played(run, 12)
    for a, b in zip(played(recorded, 12), rows, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)  # a tensor holds the rate in float32
    assert rows[0]["d_loss"] == pytest.approx(played(without, 1)[0]["d_loss"]), "p = 0 in the first round"


def test_points_are_not_augmented():
    with pytest.raises(UserError, match="--augment changes images"):
        run_of("dcgan", "grid25", augment="DiffAugment")
