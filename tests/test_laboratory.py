"""The laboratory page: what a run in the plane records of itself, and the page that shows it."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chromium import browser, needs_chromium, opened, pixels, wait
from runs import config_of, run_of
from test_explore import HOSTILE
from torch import nn

from gan_ref.commands import explore, train
from gan_ref.data.mixtures import mixture
from gan_ref.errors import UserError
from gan_ref.explore import laboratory
from gan_ref.explore.laboratory import Training, make_laboratory
from gan_ref.pictures import plane
from gan_ref.techniques.objectives import NonSaturating
from gan_ref.watch import moments
from gan_ref.watch.moments import KINDS, SPAN, grid_of_z, places, read_moments, record_moment, write_moment

# ---------------------------------------------------------------- what is recorded


class Bowl(nn.Module):
    """s(x) = −‖x‖²/2, whose gradient is −x; packs are judged by their sum."""

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(scores=-x.square().sum(1) / 2)


@pytest.mark.parametrize("pack", [1, 3])
def test_gradients_lead_to_where_d_scores_higher(pack):
    x = torch.randn(50, 2)
    assert np.allclose(plane.score_gradients(Bowl(), x, pack), -pack * x.numpy(), atol=1e-6)


def test_places_are_within_a_thousandth_of_the_square():
    points = np.random.default_rng(0).uniform(-6, 6, (1000, 2))
    back = (places(points, 4.0) / 32767.5 - 1) * SPAN * 4
    assert np.abs(back - points).max() < 1e-4
    assert places(np.array([[100.0, -100.0]]), 4.0).tolist() == [[65535, 0]]  # far away is at the border
    assert places(np.full((1, 2), np.nan), 4.0).tolist() == [[32768, 32768]]


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_the_grid_of_z_spans_its_first_two_numbers(latent_dim):
    z = grid_of_z(torch.zeros(3, latent_dim))
    assert z.shape == (17 * 17, latent_dim)
    assert z[0, 0] == -2 and z[-1, 0] == 2 and (z[:, 2:] == 0).all()
    if latent_dim > 1:
        assert len({tuple(row) for row in z[:, :2].tolist()}) == 17 * 17


@pytest.mark.parametrize(
    ("recipe", "data"), [("dcgan", "ring8"), ("wgan-gp", "grid25"), ("improved", "ring8")]
)
def test_a_moment_holds_the_run_as_it_is(recipe, data):
    run = run_of(recipe, data, width=16, d_width=16)  # 4 rectifiers may all be off
    z = run.numbered_z(2500)
    before = run.rng.get_state()
    moment = record_moment(run.game, run.dataset, z)
    assert {name: (array.shape, array.dtype) for name, array in moment.items()} == KINDS
    assert torch.equal(run.rng.get_state(), before)
    reach = plane.reach(run.dataset.means)
    with torch.no_grad():
        points = run.game.g.module(z[:600]).numpy()
    shown = (moment["points"] / 32767.5 - 1) * SPAN * reach
    inside = np.abs(points) < SPAN * reach
    assert np.abs(shown - points)[inside].max() < 1e-3 * reach
    longest = np.linalg.norm(moment["arrows"].astype(float), axis=1).max()
    assert 126 <= longest <= 128.5 and moment["numbers"][3] > 0


def test_the_field_is_positive_where_d_believes():
    class Right(nn.Module):
        def forward(self, x):
            return SimpleNamespace(scores=3 * x[:, 0])

    data = mixture("ring8", 0, 3000)
    g = SimpleNamespace(module=nn.Linear(2, 2))
    game = SimpleNamespace(g=g, d=SimpleNamespace(module=Right()), objective=NonSaturating(), pack=1)
    moment = record_moment(game, data, torch.randn(2500, 2))  # type: ignore[arg-type]
    field = moment["field"]
    assert (field[:, :20] < 0).all() and (field[:, 20:] > 0).all() and (field[0] == field[-1]).all()
    assert (moment["arrows"] == [127, 0]).all() and moment["numbers"][3] == pytest.approx(3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in the plane, as the command train leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "ring"
    settings = "--data ring8 --width 8 --steps 12 --batch-size 16 --device cpu --no-walk".split()
    assert train.main(["--out", str(folder), *settings]) == 0
    return folder


def test_a_run_leaves_a_moment_for_each_frame_of_its_film(trained):
    rounds, found = read_moments(trained)
    names = sorted(os.listdir(trained / "frames"))
    assert [f"{number:06}.png" for number in rounds] == names and len(rounds) == 13
    assert {name: array.shape[1:] for name, array in found.items()} == {n: s for n, (s, _) in KINDS.items()}


def test_what_cannot_be_shown_gets_one_line(tmp_path, trained):
    with pytest.raises(UserError, match="holds no moments/"):
        read_moments(tmp_path)
    moment = {name: np.zeros(shape, dtype) for name, (shape, dtype) in KINDS.items()}
    for number in range(3):
        write_moment(tmp_path / "moments" / f"{number:06}.npz", moment)
    assert read_moments(tmp_path)[0] == [0, 1, 2]
    write_moment(tmp_path / "moments" / "000003.npz", moment | {"points": np.zeros((5, 2), np.uint16)})
    with pytest.raises(UserError, match="000003.npz is not a moment"):
        read_moments(tmp_path)
    (tmp_path / "moments" / "000003.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="000003.npz is not a moment"):
        read_moments(tmp_path)


def test_of_many_moments_the_first_and_last_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "MOST", 5)
    moment = {name: np.zeros(shape, dtype) for name, (shape, dtype) in KINDS.items()}
    for number in range(12):
        write_moment(tmp_path / "moments" / f"{number:06}.npz", moment)
    rounds, _ = read_moments(tmp_path)
    assert len(rounds) == 5 and (rounds[0], rounds[-1]) == (0, 11)


# ---------------------------------------------------------------- the page


def training(name: str = "run", seed: int = 0, count: int = 4) -> Training:
    """A training whose first point goes from the middle to the right, and whose others are far away."""
    rng = np.random.default_rng(seed)
    found = {n: np.zeros((count, *shape), dtype) for n, (shape, dtype) in KINDS.items()}
    found["points"][:, 1:] = 65535
    found["points"][:, 0, 0] = 32768 + np.linspace(0, 32767 / SPAN / 2, count)
    found["points"][:, 0, 1] = 32768
    found["lines"][:] = rng.integers(0, 65535, found["lines"].shape)
    found["field"][:, :, 20:], found["field"][:, :, :20] = 127, -127
    found["arrows"][:, 0] = 0, 127
    found["numbers"][:] = [[k, k / count, np.inf if k == 0 else 1 / k, 2.0] for k in range(count)]
    data = mixture("ring8", 0, 1000)
    return Training(name, config_of("dcgan", "ring8"), data, [100 * k for k in range(count)], found, SPAN)


def test_four_full_runs_are_below_five_megabytes():
    rng = np.random.default_rng(0)
    noise = {
        name: rng.integers(0, 255, (128, np.prod(shape) * np.dtype(dtype).itemsize), np.uint8).view(dtype)
        for name, (shape, dtype) in KINDS.items()
    }
    noise["numbers"] = np.ones((128, 4))
    whole = training()._replace(rounds=range(128), moments=noise)
    assert len(make_laboratory([whole] * 4)) < laboratory.LARGEST == 5_000_000
    with pytest.raises(UserError, match="up to 4 runs"):
        make_laboratory([training()] * 5)


def test_the_command_makes_the_page_of_runs_in_the_plane(tmp_path, trained, capsys):
    out = tmp_path / "lab.html"
    assert explore.main([str(trained), str(trained), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "connect-src 'none'" in text and text.count('"name": "ring"') == 2
    out.unlink()
    for runs, says in ((["demo", str(trained)], "one run of images"), ([str(trained)] * 5, "up to 4 runs")):
        assert explore.main([*runs, "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1 and not out.exists()


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


def is_near(found: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(found.astype(int) - colour).max() < 30)


@pytest.mark.full
@needs_chromium
class TestLaboratory:
    @pytest.fixture
    def page(self, chromium, tmp_path):
        runs = [training("one"), training(HOSTILE, seed=1)]
        (tmp_path / "lab.html").write_text(make_laboratory(runs), encoding="utf-8")
        with opened(chromium, f"file://{tmp_path}/lab.html", viewport={"width": 1280, "height": 900}) as page:
            yield page
            assert page.complaints == [] and page.title() == f"one, {HOSTILE}"
            assert all(address.startswith(("file:", "blob:")) for address in page.addresses)

    def look(self, page) -> np.ndarray:
        page.evaluate("runs[0].canvas.id = 'plane'")
        return pixels(page, "plane")

    def test_scrubbing_moves_the_points_between_the_recorded_rounds(self, page):
        for layer in "123":
            page.keyboard.press(layer)  # leaves the fakes alone
        for round_, right in ((0, 0.0), (150, 0.25), (300, 0.5)):
            page.fill("#at", str(round_ / 300))
            shown = self.look(page)
            size = len(shown)
            found = np.argwhere(shown.sum(axis=2)[:, : size - 10] > 0)  # a dot on nothing
            found = found[found[:, 1] < 0.95 * size]
            y, x = found.mean(axis=0)
            assert abs(x / size - (0.5 + right / 2)) < 0.01 and abs(y / size - 0.5) < 0.01
        assert page.text_content("#step") == "step 300"

    def test_layers_come_and_go(self, page):
        before = self.look(page)
        for k in range(6):
            page.click(f"#layers button:nth-child({k + 1})")
            now = self.look(page)
            assert (now != before).any(), k
            before = now

    def test_play_time_and_the_curves_are_one(self, page):
        page.keyboard.press(" ")  # from the end: from the start
        wait(page, "now > 10 && now < 300")
        page.keyboard.press(" ")
        box = page.locator("#curves canvas").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 20)
        page.mouse.down()
        page.mouse.up()
        assert page.text_content("#step") == "step 100"
        page.keyboard.press("ArrowRight")
        assert page.text_content("#step") == "step 200"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert page.text_content("#step") == "step 0" and "KL ∞" in page.text_content("#runs")

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_it_fits_the_screen_and_a_phone(self, chromium, tmp_path, count):
        names = [f"dcgan-grid25-{k}" for k in range(count)]
        text = make_laboratory([training(name) for name in names])
        (tmp_path / "lab.html").write_text(text, encoding="utf-8")
        with opened(chromium, f"file://{tmp_path}/lab.html", viewport={"width": 1280, "height": 900}) as page:
            assert page.evaluate("document.documentElement.scrollHeight") <= 900
            page.set_viewport_size({"width": 390, "height": 844})
            wait(page, "document.documentElement.scrollWidth <= 390 && runs[0].canvas.width < 390")
            assert page.complaints == []
