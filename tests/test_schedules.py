"""Schedules: a setting times a function of the round, nothing of it in a checkpoint, and replayed."""

import math

import pytest
import torch
from runs import run_of
from toys import same

from gan_ref import recipes
from gan_ref.errors import UserError
from gan_ref.loop import play_round
from gan_ref.techniques import build

DECAY, WARM_UP = "Ramp(of='lr', start=0.5, last=0.01)", "Ramp(of='lr', first=0.0, last=1.0, end=0.1)"
R3GAN = (  # 2e-4 → 5e-5, γ 0.05 → 0.005, β₂ 0.9 → 0.99
    "Cosine(of='lr', last=0.25)",
    "Cosine(of='R1.weight', last=0.1)",
    "Cosine(of='beta2', last=1.1)",
)
LIKE_R3GAN = {"lr_g": 2e-4, "lr_d": 2e-4, "beta1": 0.0, "beta2": 0.9, "schedules": R3GAN}
LIKE_R3GAN |= {"penalties": ("R1(weight=0.05)",)}


@pytest.mark.parametrize(
    ("line", "round", "factor"),
    [
        (DECAY, 0, 1), (DECAY, 50, 1), (DECAY, 75, 1 - 0.99 / 2), (DECAY, 100, 0.01), (DECAY, 999, 0.01),
        (WARM_UP, 0, 0), (WARM_UP, 5, 0.5), (WARM_UP, 10, 1), (WARM_UP, 90, 1),
        ("Cosine(last=0.25)", 0, 1), ("Cosine(last=0.25)", 50, 0.625), ("Cosine(last=0.25)", 100, 0.25),
        ("Cosine", 25, (1 + math.cos(math.pi / 4)) / 2),
        ("Exponential(last=0.01)", 0, 1), ("Exponential(last=0.01)", 50, 0.1), ("Exponential", 200, 0.01),
        ("Ramp(rounds=20)", 5, 0.75), ("Ramp(rounds=20)", 20, 0), ("Ramp(rounds=20)", 100, 0),
    ],
)  # fmt: skip
def test_the_factor_is_a_function_of_the_round(line, round, factor):
    assert build("schedules", line)(round, 100) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", ["face-2015-bn", "face-2015-margin", "face-2015-l2"])
def test_the_face_gan_warms_up_and_falls_by_one_percent_an_epoch(name):
    """rmsprop in the authors' code: lr/50 for 10 steps, lr/5 until the 30th; lr·0.99^epoch, at least 1e-6."""
    lines = [build("schedules", line) for line in recipes.settings(name)["schedules"]]

    def rate(round: int) -> float:
        return 1e-3 * math.prod(line(round, 1000) for line in lines)

    epoch = math.ceil(13_000 / 64)  # their 13,000 training images, 64 reals in a round
    steps = {0: 1 / 50, 9: 1 / 50, 10: 1 / 5, 29: 1 / 5, 30: 1}
    for round in (*steps, 1000, 20_000, 100_000):
        assert rate(round) == pytest.approx(1e-3 * steps.get(round, 1) * 0.99 ** (round / epoch), rel=0.01)
    assert rate(200_000) == pytest.approx(1e-6)


def now(run) -> dict[str, float]:
    """What the optimizers and the first penalty have at this moment."""
    (g,), (d,) = run.game.g.optimizer.param_groups, run.game.d.optimizer.param_groups
    (penalty,) = run.game.penalties
    return {"lr_g": g["lr"], "lr_d": d["lr"], "beta2": d["betas"][1], "weight": penalty.weight}


def test_a_round_has_the_scheduled_values_and_a_checkpoint_the_settings_themselves():
    run = run_of("dcgan", "ring8", **LIKE_R3GAN, steps=40)
    seen, rule = [], run.play
    run.play = lambda *round: (seen.append(now(run)), rule(*round))[1]
    for _ in range(40):
        play_round(run)
    own = {"lr_g": 2e-4, "lr_d": 2e-4, "beta2": 0.9, "weight": 0.05}
    ends = {"lr_g": 5e-5, "lr_d": 5e-5, "beta2": 0.99, "weight": 0.005}
    assert seen[0] == pytest.approx(own) and seen[-1] == pytest.approx(ends, rel=0.02)
    assert seen[20] == pytest.approx({name: (own[name] + ends[name]) / 2 for name in own})
    assert now(run) == own
    assert run.state_dict()["d_optimizer"]["param_groups"][0]["betas"] == (0.0, 0.9)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_schedules_of_one_setting_multiply_and_a_rate_of_0_stands_still(optimizer):
    lines = ("Ramp(of='lr', first=2.0, last=2.0)", "Ramp(of='lr_d', first=0.0, last=0.5)")
    run = run_of("dcgan", "ring8", optimizer=optimizer, lr_g=0.1, lr_d=0.1, steps=2, schedules=lines)
    before = [p.detach().clone() for p in run.game.d.parameters]
    play_round(run)  # in which D's rate is 0.1 · 2 · 0
    assert same(before, [p.detach() for p in run.game.d.parameters])
    run.game.begin_round()
    rates = [player.optimizer.param_groups[0]["lr"] for player in (run.game.g, run.game.d)]
    assert rates == pytest.approx([0.1 * 2, 0.1 * 2 * 0.25])


def test_unrolled_steps_look_ahead_at_the_scheduled_rate():
    still = run_of("unrolled", "grid25", schedules=("Ramp(of='lr_d', first=0.0, last=0.0)",))
    x, labels = still.data.next()
    z = torch.zeros(len(x), still.config.latent_dim)
    still.game.begin_round()
    ahead = still.update.look_ahead(still.game, x, still.game.generate(z), labels)
    assert all(torch.equal(ahead[name], p) for name, p in still.game.d.module.named_parameters())


def test_a_lengthened_run_follows_its_new_length_from_there_on():
    short, long, straight = (
        run_of("dcgan", "ring8", schedules=(DECAY, WARM_UP), steps=steps) for steps in (10, 20, 20)
    )
    for _ in range(10):
        play_round(short)
        play_round(straight)
    state = short.state_dict()
    state["d_optimizer"] = straight.state_dict()["d_optimizer"] | {"state": state["d_optimizer"]["state"]}
    long.load_state_dict(state)
    long.game.begin_round()
    straight.game.begin_round()
    for one, other in ((long.game.g, straight.game.g), (long.game.d, straight.game.d)):
        assert one.optimizer.param_groups[0]["lr"] == other.optimizer.param_groups[0]["lr"] == 2e-4


def test_a_resumed_run_has_the_scheduled_values():
    straight, resumed = (run_of("dcgan", "ring8", **LIKE_R3GAN) for _ in range(2))
    for _ in range(15):
        play_round(straight)
    resumed.load_state_dict(straight.state_dict())
    for run in (straight, resumed):
        run.game.begin_round()
    assert now(straight) == now(resumed) and now(resumed)["lr_d"] < 1.5e-4


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"schedules": ("Ramp(of='rate')",)}, "'rate'.*one of lr, lr_g, lr_d, beta2"),
        ({"schedules": ("Ramp(of='R1.weight')",)}, "R1.weight"),
        ({"schedules": ("Ramp(of='L2.weight')",), "penalties": ("L2",)}, "L2.weight"),  # it may follow e
        ({"schedules": ("Ramp(of='beta2')",), "optimizer": "sgd"}, "beta2"),
        ({"schedules": ("Cosine(of='beta2', last=1.1)",)}, "--beta2 0.999 .* below 1"),
        ({"schedules": ("Ramp(start=0.5, end=0.5)",)}, "start < end"),
        ({"schedules": ("Ramp(last=-1.0)",)}, "at least 0"),
        ({"schedules": ("Exponential(last=0.0)",)}, "above 0"),
        ({"schedules": ("Linear",)}, "Cosine, Exponential, Ramp"),
    ],
)
def test_a_schedule_of_nothing_is_refused(settings, why):
    with pytest.raises(UserError, match=why) as refused:
        run_of("dcgan", "ring8", **settings)
    assert "\n" not in str(refused.value)
