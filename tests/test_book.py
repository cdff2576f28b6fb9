"""The book builds without a warning. Its pages' other rules are in test_docs.py."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
missing = [name for name in ("sphinx", "myst_parser", "furo") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install '.[docs]'"),
]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the built book."""
    folder = tmp_path_factory.mktemp("book")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-d",
        folder / "trees",
        ROOT / "docs",
        folder / "html",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_of_docs_is_in_the_book(book):
    for page in (ROOT / "docs").glob("*.md"):
        assert (book / page.with_suffix(".html").name).is_file()
