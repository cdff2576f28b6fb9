"""What the papers propose, one class each, in the file of its kind.

A technique is named in a Config by its class and arguments, as it would be written in Python:
``"GradientPenalty(weight=10)"``. ``build("penalties", spec)`` reads such a line; it calls nothing else.
"""

from __future__ import annotations

import ast
import importlib
import inspect

from torch import nn

from gan_ref.errors import UserError

KINDS = ("objectives", "penalties", "balance", "updates", "noise")


def choices(kind: str) -> dict[str, type[nn.Module]]:
    """The public techniques of one kind: every nn.Module that its file defines, by class name."""
    module = importlib.import_module(f"gan_ref.techniques.{kind}")
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
        and name not in ("Objective", "Penalty")
    }


def build(kind: str, spec: str) -> nn.Module:
    """The technique that a line such as ``"R1(weight=10)"`` or plain ``"R1"`` names.

    Only a class of that kind with keyword arguments that are literals is accepted, so that a line from a
    config file or a checkpoint can name a technique and do nothing else. Raises UserError otherwise.
    """
    try:
        call = ast.parse(spec.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            name, arguments = call.id, {}
        elif isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            name = call.func.id
            arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        else:
            raise ValueError
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise UserError(f"{spec!r} is not a technique: write one as in 'R1(weight=10)'") from None
    known = choices(kind)
    if name not in known:
        raise UserError(f"no {name!r} among the {kind}: choose from {', '.join(sorted(known))}")
    parameters = inspect.signature(known[name].__init__).parameters
    named = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    defaults = {p.name: p.default for p in named}
    for word, value in arguments.items():
        if word not in defaults:
            raise UserError(f"{name} takes {', '.join(defaults) or 'no arguments'}; not {word!r}")
        if type(value) not in _fits(defaults[word]):
            raise UserError(f"{name}: {word}={value!r} is not of the kind of its default, {defaults[word]!r}")
        if not abs(value) < 1e18:  # infinity and NaN are written as literals too: 1e999 − 1e999
            raise UserError(f"{name}: {word} must be an ordinary number")
    try:
        return known[name](**arguments)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _fits(default: object) -> tuple[type, ...]:
    """An integer may stand where a float is expected, and nothing else for anything else."""
    return (float, int) if isinstance(default, float) else (type(default),)
