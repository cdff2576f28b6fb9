"""What the papers propose, one class each, in the file of its kind.

A Config names a technique by its class and arguments, as Python would write it:
``"GradientPenalty(weight=10)"``. ``build("penalties", line)`` reads such a line, and can call nothing else.
"""

import ast
import importlib
import inspect
import warnings
from typing import Any

from torch import nn

from gan_ref.errors import UserError

KINDS = "objectives penalties balance updates noise augmentation schedules growth".split()


def choices(kind: str) -> dict[str, type[nn.Module]]:
    """The techniques of one kind, by class name: every nn.Module that its file defines."""
    module = importlib.import_module(f"gan_ref.techniques.{kind}")
    own = {name: of for name, of in vars(module).items() if getattr(of, "__module__", "") == module.__name__}
    return {name: of for name, of in own.items() if inspect.isclass(of) and issubclass(of, nn.Module)}


def build(kind: str, spec: str) -> Any:
    """The technique that a line such as ``"R1(weight=10)"`` or plain ``"R1"`` names.

    Only a class of that kind, with literals as keyword arguments, is accepted. So a line from a config file
    or a checkpoint can name a technique and do nothing else. Raises UserError for any other line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's own words, before it refuses the line
            call = ast.parse(spec.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            name, arguments = call.id, {}
        elif isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            name = call.func.id
            arguments = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
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
        expected = type(defaults[word])
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise UserError(f"{name}: {word}={value!r} is not of the kind of its default, {defaults[word]!r}")
        if word.endswith("steps") and value > 10_000:
            raise UserError(f"{name}: {word} must be at most 10000, since each round plays them all")
        if not isinstance(value, str) and not abs(value) < 1e18:  # infinity and NaN too: 1e999 − 1e999
            raise UserError(f"{name}: {word} must be an ordinary number")
    try:
        return known[name](**arguments)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
