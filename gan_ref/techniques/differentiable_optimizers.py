"""A step of an optimizer as a pure function, through which one can differentiate.

torch.optim writes its result into the parameters. Here the result is returned, on the graph of the gradients.
The arithmetic is that of torch.optim, for the three optimizers that a Config can name.
"""

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop

from gan_ref.techniques.numerics import safe_root

State = dict[str, Tensor]


def copy_states(optimizer: Optimizer, parameters: list[Tensor]) -> list[State]:
    """A copy of what the optimizer remembers of each parameter; {} before its first step."""
    return [
        {name: value.clone() for name, value in optimizer.state[p].items() if torch.is_tensor(value)}
        if p in optimizer.state
        else {}
        for p in parameters
    ]


def step(
    optimizer: Optimizer, parameters: list[Tensor], gradients: list[Tensor], states: list[State]
) -> tuple[list[Tensor], list[State]]:
    """The parameters and states after one step with ``gradients``. Nothing is written.

    Raises ValueError for an optimizer other than Adam, RMSprop and SGD, or an option that no Config sets.
    """
    (group,) = optimizer.param_groups
    options = ("weight_decay", "amsgrad", "centered", "nesterov", "maximize")
    used = [name for name in options if group.get(name)]
    rule = RULES.get(type(optimizer))
    if rule is None or used or (rule is rmsprop and group["momentum"]):
        raise ValueError(f"cannot differentiate through {type(optimizer).__name__} {' '.join(used)}".rstrip())
    results = [rule(group, *of_one) for of_one in zip(parameters, gradients, states)]
    return [parameter for parameter, _ in results], [state for _, state in results]


def adam(group: dict, parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
    """m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← θ − η·m̂/(√v̂ + ε)  (Kingma & Ba 2015, Algorithm 1)."""
    (beta1, beta2), zero = group["betas"], torch.zeros((), dtype=parameter.dtype, device=parameter.device)
    # Apple's GPUs have no float64, and torch's own step takes these powers in float32 there.
    exact = torch.float64 if parameter.device.type in ("cpu", "cuda") else torch.float32
    t = state.get("step", zero).to(exact) + 1
    m = beta1 * state.get("exp_avg", zero) + (1 - beta1) * gradient
    v = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * gradient.square()
    m_hat, root_v_hat = m / (1 - beta1**t), safe_root(v) / (1 - beta2**t).sqrt()
    after = parameter - group["lr"] * m_hat / (root_v_hat + group["eps"])
    return after, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def rmsprop(group: dict, parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
    """v ← αv + (1 − α)g², θ ← θ − η·g/(√v + ε)  (Tieleman & Hinton 2012)."""
    v = group["alpha"] * state.get("square_avg", 0.0) + (1 - group["alpha"]) * gradient.square()
    return parameter - group["lr"] * gradient / (safe_root(v) + group["eps"]), {"square_avg": v}


def sgd(group: dict, parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
    """m ← μm + g, θ ← θ − ηm."""
    m = group["momentum"] * state.get("momentum_buffer", 0.0) + gradient
    return parameter - group["lr"] * m, {"momentum_buffer": m}


RULES = {Adam: adam, RMSprop: rmsprop, SGD: sgd}
