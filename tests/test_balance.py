"""Who moves: the margin rule's truth table, schedules, and that a skipped player stands still."""

import math

import pytest
import torch
from toys import batches, play, play_round

from gan_ref.networks.output import Output
from gan_ref.techniques import balance
from gan_ref.techniques.game import Turn
from gan_ref.techniques.updates import Alternating, Simultaneous


def turn(on_reals: float, on_fakes: float) -> Turn:
    """A D turn with these two cross entropies."""

    def score(error: float) -> torch.Tensor:  # softplus(−score) = error
        return -torch.log(torch.expm1(torch.tensor([error, error], dtype=torch.float64)))

    real, fake = score(on_reals), -score(on_fakes)
    return Turn("D", real, fake, Output(real, real), Output(fake, fake), real.sum())


def test_errors_are_ds_cross_entropies():
    assert balance.errors(turn(0.25, 1.5)) == pytest.approx((0.25, 1.5))


@pytest.mark.parametrize(
    ("on_reals", "on_fakes", "moves"),
    [
        (0.5, 0.5, (True, True)),  # both within the margins
        (0.29, 0.5, (False, True)),  # D too good on reals
        (0.5, 0.29, (False, True)),  # D too good on fakes
        (0.1, 0.1, (False, True)),  # on both
        (0.71, 0.5, (True, False)),  # G too good: D misses reals
        (0.5, 0.71, (True, False)),  # D misses fakes
        (0.9, 0.9, (True, False)),
        (0.29, 0.71, (True, True)),  # each too good somewhere: that would stop both
        (0.71, 0.29, (True, True)),
        (0.31, 0.69, (True, True)),
    ],
)
def test_the_margin_rules_truth_table(on_reals, on_fakes, moves):
    assert balance.Margin(margin=0.3).who_moves(turn(on_reals, on_fakes)) == moves


@pytest.mark.parametrize("update", [Alternating(), Simultaneous()])
@pytest.mark.parametrize("moves", [(True, False), (False, True)])
def test_a_skipped_player_stands_still_with_its_optimizer(update, moves):
    game = play(optimizer=lambda module: torch.optim.Adam(module.parameters(), 0.01))

    class Stub(balance.Fixed):
        def who_moves(self, d):
            return moves

    before = [[p.clone() for p in player.parameters] for player in (game.d, game.g)]
    play_round(game, update, batches(), Stub())
    for player, old, moved in zip((game.d, game.g), before, moves):
        assert moved == (not all(torch.equal(a, b) for a, b in zip(old, player.parameters)))
        assert moved == bool(player.optimizer.state)


def test_a_round_has_as_many_steps_as_the_balance_says():
    game, steps = play(), []
    for player, name in ((game.d, "D"), (game.g, "G")):
        player.optimizer.register_step_post_hook(lambda *_, name=name: steps.append(name))
    play_round(game, Alternating(), batches(), balance.Fixed(d_steps=3, g_steps=2))
    assert "".join(steps) == "DDDGG"


def test_the_critic_is_warmed_up_first_and_now_and_then():
    schedule = balance.CriticWarmUp()
    counts = [schedule.steps(round) for round in (0, 24, 25, 499, 500, 501, 1000)]
    assert counts == [(100, 1), (100, 1), (5, 1), (5, 1), (100, 1), (5, 1), (100, 1)]


def test_the_player_behind_moves_more_often():
    rule = balance.Dynamic(low=0.3, high=0.65, steps=3)
    assert rule.steps(0) == (1, 1)
    for errors, expected in (((0.9, 0.8), (3, 1)), ((0.1, 0.2), (1, 3)), ((0.5, 0.4), (1, 1))):
        rule.who_moves(turn(*errors))
        assert rule.steps(1) == expected
    other = balance.Dynamic()
    rule.who_moves(turn(math.log(2), 0.9))
    other.load_state_dict(rule.state_dict())
    assert other.steps(1) == (3, 1), "what it saw last travels in a checkpoint"
