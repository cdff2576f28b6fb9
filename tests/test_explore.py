"""The page that is a generator: what is in it, and what it does in a real browser."""

import base64
import hashlib
import json
import re
import shlex
import shutil
import time
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import ORT_WEB, browser, needs_chromium, needs_runtime, opened, pixels, served, serving, wait
from PIL import Image

from gan_ref.checkpoint import LoadedGenerator, load_generator
from gan_ref.commands import explore, walk
from gan_ref.config import Config
from gan_ref.explore import page as explore_page
from gan_ref.explore.page import fill, find_file, make_page
from gan_ref.latents.classes import find_class, of_class, with_class
from gan_ref.latents.directions import layer_directions
from gan_ref.latents.numbers import numbered_z
from gan_ref.networks import build_generator
from gan_ref.pictures.pages import to_uint8

TEMPLATES = Path(explore_page.__file__).parent
HOSTILE = (
    "</script><script>document.title = 'broken'</script>"
    "<img src=x onerror=\"document.title = 'broken'\">'; $(id)"
)


# ---------------------------------------------------------------- what is in the page


@pytest.mark.parametrize("name", [path.name for path in TEMPLATES.glob("*.html")])
def test_a_template_is_one_file_that_a_person_can_read(name):
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert text.count("\n") <= 400 and max(map(len, text.splitlines())) <= 140
    assert "http" not in text.replace("http-equiv", "")  # it loads nothing by itself


class Elements(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1] == ("script", {"id": "data", "type": "application/json"}):
            self.text.append(data)


def test_no_text_of_a_run_becomes_markup_or_script():
    data = {"name": HOSTILE, "classes": ["<!--", "\u2028", "]]>"], "about": "</SCRIPT >"}
    plain, hostile = (Elements(fill("page.html", values)) for values in ({}, data))
    assert [tag for tag, _ in plain.found] == [tag for tag, _ in hostile.found]
    assert json.loads("".join(hostile.text[:1])) == data


def test_the_policy_lets_only_the_templates_own_script_run():
    text = fill("page.html", {}, connect="https://example.org/")
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv")) or ""
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and "connect-src https://example.org/" in policy
    allowed = re.search(r"script-src ([^;]*)", policy)
    assert allowed and allowed[1].split() == [f"'sha256-{digest}'", "'wasm-unsafe-eval'", "blob:"]
    assert "connect-src 'none'" in fill("page.html", {})


def test_a_copy_of_another_version_is_refused(tmp_path):
    name = "ort-wasm-simd-threaded.wasm"
    (tmp_path / "dist").mkdir()
    for file, _ in explore_page.RUNTIME["cpu"]:
        (tmp_path / "dist" / file).write_bytes(b"another")
    assert find_file(tmp_path, name) == tmp_path / "dist" / name
    with pytest.raises(explore_page.UserError, match="is not that of onnxruntime-web 1.30.0"):
        explore_page.runtime_files("cpu", tmp_path, "")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["demo"], "--out page.html, or --serve"),
        (["demo", "--out", "page.txt"], "must end in .html"),
        (["demo", "--out", "page.html", "--offline", "nowhere"], "npm install onnxruntime-web@1.30.0"),
        (["nowhere", "--out", "page.html"], "there is no checkpoint at nowhere"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, monkeypatch, capsys, argv, says):
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    assert explore.main(argv) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_server_has_the_page_and_nothing_else():
    with serving(explore.serve("<p>δ")) as address:
        assert address.startswith("http://127.0.0.1:")
        assert urllib.request.urlopen(address).read().decode() == "<p>δ"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "../etc/passwd")


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """The demo's page, made by the command, with its runtime embedded."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert explore.main(["demo", "--out", str(out), "--offline", ORT_WEB]) == 0
    return f"file://{out}"


def expected(made: LoadedGenerator, z: torch.Tensor) -> np.ndarray:
    return to_uint8(made.module(z))[0].astype(int)


def settled(page) -> np.ndarray:
    """The picture, once the page is at rest."""
    before = None
    for _ in range(100):
        count = page.get_attribute("#view", "data-drawn")
        if count == before:
            break
        before = count
        time.sleep(0.3)
    return pixels(page, "view").astype(int)


def soon_shows(page, canvas: str, wanted: np.ndarray, part: slice = slice(None)) -> bool:
    """Whether a square part of a canvas comes to show this picture, to 2 levels."""
    for _ in range(200):
        if np.abs(pixels(page, canvas)[part, part].astype(int) - wanted).max() <= 2:
            return True
        time.sleep(0.1)
    return False


def sample(page, number: int) -> None:
    page.click(f"#page .cell:nth-child({number + 1}) button")


CLASSES = ("smile", "grin, glasses", HOSTILE)


def conditional(path: Path) -> LoadedGenerator:
    """A G of three classes that differ, untrained."""
    config, shape = Config(width=8, latent_dim=9, image_size="16", conditional="projection"), (3, 16, 16)
    module = build_generator(config, shape, len(CLASSES))
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=rng)
    module.requires_grad_(False).eval()
    return LoadedGenerator(module, config, shape, 0, path, torch.device("cpu"), CLASSES)


in_browser = [pytest.mark.full, needs_chromium, needs_runtime]


class TestPage:
    pytestmark = in_browser

    def test_it_draws_what_pytorch_draws_and_asks_no_network(self, chromium, offline):
        made = load_generator("demo")
        with opened(chromium, offline) as page:
            assert page.text_content("#what") == "number 0"
            z = numbered_z(made.config.seed, (0, 5), made.config.latent_dim)
            assert np.abs(settled(page) - expected(made, z[:1])).max() <= 2
            sample(page, 5)
            assert np.abs(settled(page) - expected(made, z[1:])).max() <= 2
            page.evaluate("[psi, picks] = [0.5, []]; changed()")
            assert np.abs(settled(page) - expected(made, 0.5 * z[1:])).max() <= 2
            assert page.complaints == []
            assert {address.split(":")[0] for address in page.addresses} <= {"file", "blob", "data"}

    def test_dragging_moves_along_two_directions(self, chromium, offline):
        made = load_generator("demo")
        d = layer_directions(made)
        with opened(chromium, offline, viewport={"width": 1280, "height": 900}) as page:
            before = settled(page)
            box = page.locator("#pad").bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 0.25 * box["width"], y - 0.125 * box["height"], steps=8)
            after = settled(page)
            page.mouse.up()
            assert np.abs(after - before).mean() > 5 and "moved" in page.text_content("#what")
            z = numbered_z(0, (0,), made.config.latent_dim) + 3 * d[:1] + 1.5 * d[1:2]
            assert np.abs(after - expected(made, z)).mean() < 2  # a pointer has whole pixels
            page.keyboard.press("c")
            assert (settled(page) == before).all()
            page.keyboard.press("ArrowRight")
            assert (settled(page) != before).any()
            assert page.complaints == []

    def test_a_touch_drags_and_the_page_fits_a_phone(self, chromium, offline):
        phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
        with opened(chromium, offline, **phone) as page:
            before = settled(page)
            page.locator("#pad").scroll_into_view_if_needed()
            box = page.locator("#pad").bounding_box()
            finger = {
                "pointerType": "touch",
                "isPrimary": True,
                "pointerId": 1,
                "buttons": 1,
                "bubbles": True,
            }
            finger |= {"clientX": box["x"] + 0.9 * box["width"], "clientY": box["y"] + 0.9 * box["height"]}
            page.evaluate("$('pad').setPointerCapture = () => 0")  # a made event has no pointer to capture
            page.dispatch_event("#pad", "pointerdown", finger)
            assert (settled(page) != before).any()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert page.complaints == []

    def test_sliders_move_directions_and_single_dimensions(self, chromium, offline):
        made = load_generator("demo")
        z = numbered_z(0, (0,), made.config.latent_dim)
        third = layer_directions(made)[2:3]
        with opened(chromium, offline) as page:
            page.fill("input[aria-label='direction 2']", "3")
            assert np.abs(settled(page) - expected(made, z + 3 * third)).max() <= 2
            page.fill("input[aria-label='direction 2']", "0")
            page.fill("input[aria-label='a dimension of z']", "42")
            page.press("input[aria-label='a dimension of z']", "Enter")
            page.fill("input[aria-label='dimension']", "-3")
            z[0, 42] -= 3
            assert np.abs(settled(page) - expected(made, z)).max() <= 2

    def test_picks_are_a_loop_a_file_and_a_command(self, chromium, offline, tmp_path):
        made = load_generator("demo")
        with opened(chromium, offline, accept_downloads=True) as page:
            for number in (3, 17, 42):
                sample(page, number)
            assert page.text_content("#line").startswith("python -m gan_ref walk demo --through 3,17,42 ")
            page.keyboard.press("r")
            page.keyboard.press("p")  # a fourth, which has no number
            assert "--z picks.npy" in page.text_content("#line")
            with page.expect_download() as download:
                page.click("#npy")
            download.value.save_as(tmp_path / "picks.npy")
            picks = np.load(tmp_path / "picks.npy")
            assert picks.shape == (4, made.config.latent_dim) and picks.dtype == np.float32
            assert (picks[:3] == numbered_z(0, (3, 17, 42), made.config.latent_dim).numpy()).all()
            assert abs(picks[3].std() - 1) < 0.4
            shown = settled(page)
            assert np.abs(shown - expected(made, torch.from_numpy(picks[3:]))).max() <= 2

            page.click("#play")
            drawn = int(page.get_attribute("#view", "data-drawn") or 0)
            wait(page, f"+$('view').dataset.drawn > {drawn} + 20")
            assert re.fullmatch(r"(\w+) to (\w+)", page.text_content("#what"))
            page.click("#play")
            with page.expect_download() as download:
                page.keyboard.press("s")
            assert Image.open(download.value.path()).size == (512, 512)
            assert page.complaints == []
        assert (
            walk.main(
                [
                    "demo",
                    "--z",
                    str(tmp_path / "picks.npy"),
                    "--frames",
                    "8",
                    "--out",
                    str(tmp_path / "a.gif"),
                ]
            )
            == 0
        )

    def test_two_picks_span_the_plane(self, chromium, offline):
        made = load_generator("demo")
        with opened(chromium, offline) as page:
            sample(page, 3)
            sample(page, 17)
            sample(page, 17)  # no longer picked, and still shown
            page.select_option("#across", label="pick 1: 3")
            page.evaluate("move(1, 0)")
            assert (
                np.abs(settled(page) - expected(made, numbered_z(0, (3,), made.config.latent_dim))).max() <= 2
            )

    def test_names_are_text(self, chromium, tmp_path):
        made = load_generator("demo")
        made.config = made.config.replace(data=HOSTILE)
        (tmp_path / "page.html").write_text(make_page(made, HOSTILE, ORT_WEB), encoding="utf-8")
        with opened(chromium, f"file://{tmp_path}/page.html") as page:
            assert page.title() != "broken" and page.locator("img").count() == 0
            assert page.text_content("#name") == page.title() and page.complaints == []

    def test_the_menu_asks_for_a_class(self, chromium, tmp_path):
        made = conditional(tmp_path)

        def drawn(z, label):
            return expected(made, with_class(z, torch.tensor([label]), 3))

        (tmp_path / "page.html").write_text(make_page(made, "my run", ORT_WEB), encoding="utf-8")
        z = numbered_z(0, range(6), 9)
        with opened(chromium, f"file://{tmp_path}/page.html") as page:
            menu = page.locator("#class option").all_text_contents()
            assert menu == ["in turn", *CLASSES] and page.locator("img").count() == 0
            for number in (4, 5):  # their own classes are 1 and 2
                sample(page, number)
                assert np.abs(settled(page) - drawn(z[number : number + 1], number % 3)).max() <= 2
            assert page.text_content("#what") == f"number 5, {HOSTILE}"
            own = settled(page)
            line = page.text_content("#line")
            assert line.startswith("python -m gan_ref walk 'my run' --through 4,5 --frames ")

            page.select_option("#across", label="pick 1: 4")  # the class goes with z to that of the pick
            page.evaluate("move(1, 0)")
            assert np.abs(settled(page) - drawn(z[4:5], 1)).max() <= 2
            page.keyboard.press("c")

            page.focus("#class")
            page.keyboard.type("smile")  # the menu is reached by keys
            chosen = settled(page)
            assert np.abs(chosen - drawn(z[5:6], 0)).max() <= 2 and np.abs(chosen - own).max() > 20
            assert page.text_content("#what") == "number 5"
            first = "document.querySelector('{} canvas').id = '{}'"
            for cell, name, number in (("#page .cell", "shown", 0), ("#strip .cell", "picked", 4)):
                page.evaluate(first.format(cell, name))
                assert soon_shows(page, name, drawn(z[number : number + 1], 0))
            page.fill("input[aria-label='direction 2']", "3")  # which the plane does not move along
            wanted = drawn(z[5:6] + 3 * layer_directions(of_class(made))[2:3], 0)
            assert np.abs(settled(page) - wanted).max() <= 2
            assert soon_shows(page, "map", wanted, slice(48, 64))  # its middle tile
            for label in (0, 1, 2):
                page.select_option("#class", str(label))
                words = shlex.split(page.text_content("#line"))
                assert words[words.index("--through") + 2] == "--classes"
                (name,) = words[words.index("--classes") + 1].split(",")
                assert find_class(name, CLASSES) == label and (name == "smile") == (label == 0)

            page.select_option("#class", label="in turn")
            page.click("#centre")
            assert (settled(page) == own).all()
            page.evaluate("choose(withClass(ofNumber(0).subarray(0, Z), 2), 'random')")
            page.keyboard.press("p")  # it has no number: its class is told
            words = shlex.split(page.text_content("#line"))
            assert words[words.index("--z") + 1 :][:3] == ["picks.npy", "--classes", f"1,{HOSTILE},{HOSTILE}"]
            assert page.complaints == []

    def test_a_page_of_one_class_has_no_menu(self, chromium, tmp_path):
        made = conditional(tmp_path)
        text = make_page(made, "run", ORT_WEB, label="smile")
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        z = numbered_z(0, range(6), 9)
        with opened(chromium, f"file://{tmp_path}/page.html") as page:
            for number in (4, 5):
                sample(page, number)
                assert (
                    np.abs(settled(page) - expected(of_class(made, "smile"), z[number : number + 1])).max()
                    <= 2
                )
            assert not page.is_visible("#class")
            line = page.text_content("#line")
            assert line.startswith("python -m gan_ref walk run --classes smile --through 4,5 --frames ")

    def test_a_runtime_from_elsewhere_is_held_against_its_hash(self, chromium, tmp_path):
        made = load_generator("demo")
        for file, _ in explore_page.RUNTIME["cpu"]:
            shutil.copy(find_file(Path(ORT_WEB), file), tmp_path)
        with served(tmp_path) as address:
            (tmp_path / "page.html").write_text(make_page(made, "demo", cdn=address), encoding="utf-8")
            with opened(chromium, f"file://{tmp_path}/page.html") as page:
                assert (
                    np.abs(settled(page) - expected(made, numbered_z(0, (0,), made.config.latent_dim))).max()
                    <= 2
                )
                assert page.complaints == []
            with (tmp_path / "ort.wasm.bundle.min.mjs").open("a") as file:
                file.write("document.title = 'broken'")
            with opened(chromium, f"file://{tmp_path}/page.html", ready=False) as page:
                wait(page, "$('status').textContent.includes('does not run here')")
                assert page.title() == "demo" and "--offline" in page.text_content("#status")

    @pytest.mark.parametrize(
        ("shape", "width", "at_least"), [((3, 32, 32), 64, 20), ((3, 64, 64), 64, 5), ((1, 96, 64), 16, 5)]
    )
    def test_it_is_fast_enough_to_follow_a_hand(self, chromium, tmp_path, shape, width, at_least):
        size = f"{shape[1]}x{shape[2]}"
        config = Config(width=width, latent_dim=100, image_size=size)
        made = LoadedGenerator(
            build_generator(config, shape).eval(), config, shape, 0, tmp_path, torch.device("cpu")
        )
        (tmp_path / "page.html").write_text(make_page(made, "new", ORT_WEB), encoding="utf-8")
        with opened(chromium, f"file://{tmp_path}/page.html") as page:
            assert pixels(page, "view").shape == (*shape[1:], 3)
            page.keyboard.press(" ")
            rate = 0.0
            for _ in range(10):  # a busy machine may be free a little later
                drawn = int(page.get_attribute("#view", "data-drawn"))
                time.sleep(2)
                rate = max(rate, (int(page.get_attribute("#view", "data-drawn")) - drawn) / 2)
                if rate >= at_least:
                    break
            print(f"{size}, width {width}: {rate:.1f} pictures a second, {page.text_content('#status')}")
            assert rate >= at_least
