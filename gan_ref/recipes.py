"""Published combinations, each a set of overrides of Config. Flags on the command line win over them."""

from __future__ import annotations

from typing import Any, NamedTuple

from gan_ref.errors import UserError


class Recipe(NamedTuple):
    line: str  # what it is, in one line
    paper: str
    settings: dict[str, Any]


RECIPES: dict[str, Recipe] = {
    "dcgan": Recipe("the deep convolutional GAN, with its published settings", "Radford et al. 2016", {}),
}


def settings(name: str) -> dict[str, Any]:
    """The overrides that recipe ``name`` makes. Raises UserError for a name that is not in the list."""
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}; `python train.py --recipes` lists them: {', '.join(RECIPES)}")
    return RECIPES[name].settings


def listing() -> str:
    """One line a recipe, for ``--recipes``."""
    width = max(map(len, RECIPES))
    return "\n".join(f"{name:<{width}}  {recipe.line} ({recipe.paper})" for name, recipe in RECIPES.items())
