"""The pyramid of networks (Denton et al. 2015): its images, its separate levels, what is drawn of it."""

import copy

import numpy as np
import pytest
import torch
from runs import run_of
from torch import nn
from toys import normal, same

from gan_ref import checkpoint
from gan_ref.checkpoint import discriminator_of, load_generator
from gan_ref.commands import evaluate, export, film, project, sample, train, walk
from gan_ref.errors import UserError
from gan_ref.latents.samples import draw_samples
from gan_ref.loop import draw, play_round
from gan_ref.networks.lapgan import Discriminator, Generator, double, from_rows, pyramid, sizes, to_rows
from gan_ref.watch.pages import draw_sample_page


class Told(nn.Module):
    """A G_k that returns the same h_k always, and keeps the l that it is given."""

    def __init__(self, h: torch.Tensor):
        super().__init__()
        self.h, self.low = h, torch.empty(0)

    def forward(self, z: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        self.low = low
        return self.h


def told(x: torch.Tensor, levels: int = 3) -> tuple[Generator, list[torch.Tensor]]:
    """A G that makes the residuals of x, and its pyramid."""
    images = pyramid(x, levels)
    generator = Generator(tuple(x.shape[2:]), x.shape[1], 2, 9).double()
    generator.smallest = nn.Sequential()
    generator.smallest.forward = lambda z: images[0]
    residuals = [fine - double(coarse) for coarse, fine in zip(images, images[1:])]
    generator.residuals = nn.ModuleList(map(Told, residuals))
    return generator, images


# ---------------------------------------------------------------- the pyramid


def test_each_image_is_the_mean_of_the_next_ones_pixels():
    x = normal(2, 3, 24, 32)
    small, middle, large = pyramid(x, 3)
    assert torch.equal(large, x) and small.shape == (2, 3, 6, 8)
    assert torch.allclose(middle, x.unflatten(3, (16, 2)).unflatten(2, (12, 2)).mean((3, 5)))
    assert torch.allclose(small, x.unflatten(3, (8, 4)).unflatten(2, (6, 4)).mean((3, 5)))
    assert sizes(64) == [(8, 8), (16, 16), (32, 32), (64, 64)] and sizes("24x32") == [
        (6, 8),
        (12, 16),
        (24, 32),
    ]


def test_the_residuals_of_an_image_rebuild_it():
    x = normal(2, 3, 24, 32)
    generator, _ = told(x)
    assert torch.allclose(generator(normal(2, 9)), x, rtol=0, atol=1e-12)


def test_rows_hold_the_pyramid_to_the_bit():
    images = pyramid(torch.rand(5, 3, 24, 32), 3)
    rows = to_rows(images)
    assert rows.shape == (15, 3, 24, 32) and torch.equal(rows[2::3], images[2])
    assert same(from_rows(rows, 3), images)


# ---------------------------------------------------------------- the levels


def test_fakes_are_made_of_real_small_images_in_training_and_of_fake_ones_when_drawn():
    torch.manual_seed(0)
    generator = Generator(32, 3, 2, 9).double()
    x, z = normal(4, 3, 32, 32), normal(4, 9, seed=1)
    given = []
    for residual in generator.residuals:
        residual.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]))
    fakes = from_rows(generator(torch.cat([z, x.flatten(1)], 1)), 3)
    small, middle, _ = pyramid(x, 3)
    assert same(given, [double(small), double(middle)])
    given.clear()
    images = generator.images(z)
    assert same(given, [double(images[0]), double(images[1])]) and torch.equal(generator(z), images[2])
    assert torch.equal(images[0], fakes[0]) and not torch.equal(images[1], fakes[1])


def test_no_level_of_g_sees_the_image_that_it_is_to_make():
    generator = Generator(32, 3, 2, 9).double()
    x, z = normal(4, 3, 32, 32), normal(4, 9, seed=1)
    other = x + torch.tensor([1.0, -1.0]).repeat(16).double()  # whose means of 2×2 pixels are the same
    a, b = (generator(torch.cat([z, images.flatten(1)], 1)) for images in (x, other))
    assert torch.allclose(a, b, atol=1e-12)


def test_each_level_is_made_of_its_own_part_of_z():
    generator = Generator(32, 3, 2, 8).double()  # parts of 3, 3 and 2
    x = normal(1, 3, 32, 32).flatten(1).expand(9, -1)
    z = normal(1, 8) + torch.cat([torch.zeros(1, 8), torch.eye(8)]).double()
    images = from_rows(generator(torch.cat([z, x], 1)), 3)
    moved = [[k for k in range(8) if not torch.allclose(level[1 + k], level[0])] for level in images]
    assert moved == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_no_gradient_passes_between_levels():
    run = run_of("lapgan", "faces")
    game, batch = run.game, draw(run)
    fake = game.generate(batch.z)
    for turn in (game.d_loss(batch.x, fake.detach()), game.g_loss(batch.x, fake)):
        player = game.d if turn.player == "D" else game.g
        module = player.module
        parts = (
            module.judges if player is game.d else [module.generator.smallest, *module.generator.residuals]
        )
        for level, part in enumerate(parts):
            loss = turn.fake_output.scores[level::2].sum()
            gradients = torch.autograd.grad(loss, player.parameters, retain_graph=True, allow_unused=True)
            mine = {id(p) for p in part.parameters()}
            for parameter, gradient in zip(player.parameters, gradients):
                moves = gradient is not None and bool(gradient.any())
                assert moves == (id(parameter) in mine)


def test_the_loss_is_the_mean_of_the_levels_games():
    run = run_of("lapgan", "faces")
    batch = draw(run)
    turn = run.game.d_loss(batch.x, run.game.generate(batch.z).detach())
    outputs = turn.real_output, turn.fake_output
    levels = [run.game.objective.d_loss(*(o.rows(slice(k, None, 2)) for o in outputs)) for k in range(2)]
    assert turn.loss.item() == pytest.approx(sum(levels).item() / 2, rel=1e-6)
    assert turn.real.shape == turn.fake.shape == (16, 3, 16, 16)


def test_a_row_is_judged_by_the_pixels_of_its_level_alone():
    """So the penalties on D's gradient at each sample hold at each level."""
    torch.manual_seed(0)
    judge = Discriminator(32, 3, 4).double().eval()
    x = to_rows(pyramid(normal(2, 3, 32, 32), 3)).requires_grad_()
    (slope,) = torch.autograd.grad(judge(x).scores[4], x)  # of sample 1, level 1
    assert slope[4, :, ::2, ::2].any() and not slope[[0, 1, 2, 3, 5]].any()
    assert not slope[4, :, 1::2].any() and not slope[4, :, :, 1::2].any()


def test_it_plays_with_a_penalty_on_each_samples_gradient():
    run = run_of("lapgan", "faces", objective="Wasserstein", penalties=("GradientPenalty", "R1"))
    d, g = play_round(run)
    assert torch.isfinite(d.loss) and torch.isfinite(g.loss)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"conditional": "projection"}, "--conditional"),
        ({"pack": 2}, "--pack"),
        ({"objective": "FeatureMatching"}, "a D a level"),
        ({"penalties": ("FeatureMatchingTerm",)}, "a D a level"),
        ({"norm_d": "spectral"}, "--norm none"),
        ({"weights": "he"}, "--weights"),
        ({"growth": "Stages"}, "cannot grow"),
        ({"d_dropout": 0.1}, "own D"),
        ({"latent_dim": 1}, "--latent-dim"),
    ],
)
def test_what_it_has_no_place_for_is_refused(settings, why):
    with pytest.raises(UserError, match=why) as refused:
        run_of("lapgan", "faces", **settings)
    assert "\n" not in str(refused.value)


# ---------------------------------------------------------------- a run of it


def test_a_run_goes_on_to_the_bit():
    straight, resumed = run_of("lapgan", "faces"), run_of("lapgan", "faces")
    for _ in range(3):
        play_round(straight)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for run in (straight, resumed):
        for _ in range(3):
            play_round(run)
    assert same(straight.state_dict(), resumed.state_dict())


def test_a_checkpoint_draws_what_the_run_drew(tmp_path):
    run = run_of("lapgan", "faces")
    play_round(run)
    checkpoint.save(tmp_path / "checkpoint.pt", run.state_dict())
    page = draw_sample_page(run.game, run.dataset, run.sampling_generator(), run.numbered_z(64))
    generator = load_generator(tmp_path)
    drawn = draw_samples(generator, 64, run.config.seed)
    assert np.array_equal(page, drawn.reshape(8, 8, 16, 16, 3).swapaxes(1, 2).reshape(128, 128, 3))
    assert discriminator_of(generator) is None


@pytest.mark.full
def test_every_command_works_on_it(tmp_path):
    run = tmp_path / "run"
    small = "--recipe lapgan --image-size 16 --width 4 --batch-size 8 --device cpu --steps 6 --sample-every 2"
    assert train.main([*small.split(), "--out", str(run)]) == 0
    for command, out in ((sample, "page.png"), (walk, "walk.gif"), (film, "film.gif"), (export, "g.pt")):
        more = ["--frames", "8"] if command is walk else []
        assert command.main([str(run), "--out", str(tmp_path / out), *more]) in (0, None)
        assert (tmp_path / out).stat().st_size > 0
    one = tmp_path / "one.png"
    assert sample.main([str(run), "--out", str(one), "--count", "1"]) in (0, None)
    assert project.main([str(run), str(one), "--out", str(tmp_path / "z.npy"), "--steps", "3"]) in (0, None)
    assert evaluate.main([str(run), "--samples", "200", "--pixels"]) in (0, None)
