"""The book builds without a warning, and works in a browser. Its pages' other rules are in test_docs.py."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import browser, needs_chromium, needs_runtime, opened, served, wait

ROOT = Path(__file__).parent.parent
missing = [name for name in ("sphinx", "myst_parser", "furo") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install '.[docs]'"),
]
needs_mathjax = pytest.mark.skipif(
    "GAN_REF_MATHJAX" not in os.environ, reason="needs GAN_REF_MATHJAX, a copy of mathjax 3.2.2"
)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the built book."""
    folder = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", folder / "trees", ROOT / "docs"]
    done = subprocess.run([*command, folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(book):
    """Every page's HTML, by its path below the book."""
    return {str(path.relative_to(book)): path.read_text(encoding="utf-8") for path in book.rglob("*.html")}


def test_every_page_of_docs_is_in_the_book(pages):
    for folder in (ROOT / "docs", ROOT / "docs" / "chapters"):
        for page in folder.glob("*.md"):
            assert str(page.relative_to(ROOT / "docs").with_suffix(".html")) in pages


def test_no_link_is_broken_and_no_picture_is_missing(book, pages):
    broken = []
    for page, text in pages.items():
        if page.startswith("embedded/"):  # these make their own: see test_explore.py, test_laboratory.py
            continue
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            scheme, host, path, _, fragment = urlsplit(target.replace("&amp;", "&"))
            if scheme or host:
                continue
            found = (book / page).parent / unquote(path) if path else book / page
            there = found.is_file()
            if there and fragment and found.suffix == ".html":
                there = f'id="{unquote(fragment)}"' in found.read_text(encoding="utf-8")
            broken += [] if there else [f"{page}: {target}"]
    assert broken == []


def test_every_paper_that_has_a_name_is_a_link(pages):
    text = re.sub(
        r"<a [^>]*>.*?</a>|<(pre|code|title|h\d)\b.*?</\1>", "", pages["techniques.html"], flags=re.S
    )
    assert re.findall(r"\w+ et al\. \d{4}", text) == []


def test_numbers_are_those_of_the_results(pages):
    assert ">1.42 (1.33 to 1.49)<" in re.sub(r"</?p>", "", pages["chapters/judging.html"])  # baseline.json


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@needs_chromium
class TestBrowser:
    @pytest.mark.parametrize("width", [1280, 390])
    def test_chapters_fit_the_screen_and_a_phone(self, chromium, book, pages, width):
        chapters = [page for page in pages if page.startswith("chapters/")]
        with served(book) as address:
            for page in (*chapters, "index.html", "generated/techniques-penalties-r1.html"):
                viewport = {"width": width, "height": 900}
                with opened(chromium, address + page, ready=False, viewport=viewport) as shown:
                    assert shown.evaluate("document.documentElement.scrollWidth") <= width, page
                    wait(shown, "[...document.images].every(i => i.complete && i.naturalWidth)")

    @needs_mathjax
    def test_equations_are_drawn(self, chromium, book, pages):
        with served(book) as address:
            for page in (page for page in pages if page.startswith("chapters/")):
                with opened(chromium, address + page, ready=False) as shown:
                    assert shown.evaluate("document.querySelectorAll('.math').length") > 0, page
                    wait(shown, "document.querySelectorAll('.math:not(:has(mjx-container svg))').length == 0")
                    assert shown.evaluate("document.querySelectorAll('[data-mjx-error]').length") == 0, page

    @needs_runtime
    def test_the_embedded_pages_run(self, chromium, book):
        with served(book) as address, opened(chromium, f"{address}to-touch.html", ready=False) as shown:
            for name in ("explorer", "laboratory"):
                shown.locator(f"iframe[title={name}]").scroll_into_view_if_needed()
                shown.frame_locator(f"iframe[title={name}]").locator("body[data-ready]").wait_for()
            assert all(request.startswith((address, "blob:", "data:")) for request in shown.addresses)
