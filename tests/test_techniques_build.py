"""A technique's line names a class and literals, and can do nothing else."""

from __future__ import annotations

import inspect
import re

import pytest

from gan_ref.errors import UserError
from gan_ref.techniques import KINDS, build, choices, objectives, penalties

HOSTILE = [
    "__import__('os').system('touch hacked')",
    "R1(weight=__import__('os').getpid())",
    "R1(weight=(lambda: 10)())",
    "R1(weight=10).__class__",
    "R1.__init__",
    "R1(10)",
    "R1(*[10])",
    "R1(**{'weight': 10})",
    "R1(weight=10, **{})",
    "R1(weight='10')",
    "R1(weight=True)",
    "R1(weight=[10])",
    "R1(weight=None)",
    "R1(weight=1e999)",
    "R1(weight=-1e999)",
    "R1(weight=10**9)",
    "R1(weight=" + "9" * 400 + ")",
    "R1(weight=" + "9" * 5000 + ")",
    "R1(gamma=10)",
    "R1(self=1)",
    "R1(weight=10); R1",
    "R1(weight=10",
    "R1()()",
    "[R1]",
    "R1 if True else R1",
    "Penalty",
    "Tensor",
    "nn",
    "torch",
    "nothing",
    "NonSaturating",  # of another kind
    "",
    " ",
    "\x00",
    "R1\x00",
    "(" * 300 + "R1" + ")" * 300,
    "-" * 5000 + "R1",
    "R1(weight=" + "(" * 5000 + "1",
    "Ｒ１(weight=10).x",
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_line_is_refused_in_one_line(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        build("penalties", line)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_name_alone_and_keyword_literals_are_accepted():
    assert isinstance(build("penalties", "R1"), penalties.R1)
    assert build("penalties", " R1( weight = 3 ) ").weight == 3
    assert build("objectives", "LeastSquares(a=-1, b=1.0, c=0)").a == -1


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("updates", "Unrolled(steps=0)"),
        ("updates", "Unrolled(steps=1.5)"),
        ("balance", "Fixed(d_steps=0)"),
        ("noise", "InstanceNoise(rounds=0)"),
        ("objectives", "NonSaturating(real_label=1.5)"),
    ],
)
def test_values_that_make_no_sense_are_refused(kind, line):
    with pytest.raises(UserError, match=line.split("(")[0]):
        build(kind, line)


def every_technique():
    return [(kind, name) for kind in KINDS for name in choices(kind)]


@pytest.mark.parametrize(("kind", "name"), every_technique(), ids=str)
def test_every_technique_builds_by_name_and_says_where_it_is_from(kind, name):
    technique = build(kind, name)
    assert re.search(r"\b(19|20)\d\d\b", vars(type(technique))["__doc__"]), f"{name} names no paper"
    parameters = inspect.signature(type(technique)).parameters.values()
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert all(type(p.default) in (int, float, str) for p in named), "build knows no other kinds"
    spelled = ", ".join(f"{p.name}={p.default!r}" for p in named)
    assert type(build(kind, f"{name}({spelled})")) is type(technique)


def test_base_classes_are_not_choices():
    assert objectives.Objective not in choices("objectives").values()
    assert penalties.Penalty not in choices("penalties").values()
