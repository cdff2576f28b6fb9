"""The built-in faces: what labels promise, and that a face is itself in every batch and at every size."""

import numpy as np
import pytest

from gan_ref.data import faces


def _draw_with(size: int = 64, count: int = 24, **values: str) -> np.ndarray:
    """Faces whose labels are fixed to these values; their continuous traits stay."""
    free = faces.factors

    def fixed(indices, seed=0):
        labels = free(indices, seed)
        for name, value in values.items():
            labels[name] = np.full_like(labels[name], faces.FACTORS[name].index(value))
        return labels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "factors", fixed)
        return faces.draw(np.arange(count), size)[0].astype(int)


def test_a_face_does_not_see_its_batch():
    indices = np.random.default_rng(0).permutation(700)[:300]
    together, labels = faces.draw(indices, 32, seed=3)
    for k in (0, 17, 299):
        alone, label = faces.draw(indices[k : k + 1], 32, seed=3)
        assert np.array_equal(alone[0], together[k])
        assert all(label[name][0] == labels[name][k] for name in faces.FACTORS)
    backwards, _ = faces.draw(indices[::-1], 32, seed=3)
    assert np.array_equal(backwards[::-1], together)


def test_seeds_and_indices_make_different_faces():
    first, _ = faces.draw(np.arange(200), 16)
    assert len(np.unique(first.reshape(200, -1), axis=0)) == 200
    other, _ = faces.draw(np.arange(200), 16, seed=1)
    assert not (first == other).all((1, 2, 3)).any()
    late, _ = faces.draw(np.array([2**40]), 16, seed=2**64 - 1)
    assert late.shape == (1, 16, 16, 3)


def test_splitmix64_gives_the_published_sequence():
    # The state starts at 0 and advances by the golden gamma; outputs of the reference implementation.
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(k * gamma) % 2**64 for k in range(3)], np.uint64)
    assert [hex(z) for z in faces._splitmix64(states).tolist()] == [
        "0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [16, 17, 31, 32, 50, 64, 100, 128, 255, 256])
def test_every_size(size):
    images, labels = faces.draw(np.arange(3), size)
    assert images.shape == (3, size, size, 3) and images.dtype == np.uint8 and images.flags.c_contiguous
    assert images.std((1, 2, 3)).min() > 20
    assert set(labels) == set(faces.FACTORS)
    assert all(v.dtype == np.int64 and v.shape == (3,) for v in labels.values())


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_face_is_the_same_at_every_size(size):
    large = faces.draw(np.arange(64), 128)[0].astype(float)
    k = 128 // size
    shrunk = large.reshape(64, size, k, size, k, 3).mean((2, 4))
    native = faces.draw(np.arange(64), size)[0]
    error = np.abs(shrunk - native).mean((1, 2, 3))
    strangers = np.abs(shrunk - np.roll(native, 1, 0)).mean((1, 2, 3))
    assert error.max() < 5 and error.max() < strangers.min() / 3


def test_labels_are_those_of_factors_and_near_their_rates():
    _, drawn = faces.draw(np.arange(50), 16, seed=5)
    labels = faces.factors(np.arange(20000), seed=5)
    for name, values in faces.FACTORS.items():
        assert np.array_equal(drawn[name], labels[name][:50])
        share = np.bincount(labels[name], minlength=len(values)) / 20000
        assert len(share) == len(values) and share.min() > 0.13 and share.max() < 0.5
    pairs = labels["hat"] * 5 + labels["expression"]
    expected = np.outer(np.bincount(labels["hat"]), np.bincount(labels["expression"])).ravel() / 20000
    assert np.abs(np.bincount(pairs) / expected - 1).max() < 0.15  # factors are independent


def test_glasses_change_pixels_near_the_eyes_only():
    bare = _draw_with(glasses="none")
    for kind in faces.FACTORS["glasses"][1:]:
        changed = np.abs(_draw_with(glasses=kind) - bare).max(-1) > 0
        rows = changed.any((0, 2))
        assert changed.mean((1, 2)).min() > 0.02
        assert not rows[:22].any() and not rows[46:].any()


def test_an_expression_leaves_hair_clothes_and_background_alone():
    neutral = _draw_with(expression="neutral")
    for kind in faces.FACTORS["expression"][1:]:
        changed = np.abs(_draw_with(expression=kind) - neutral).max(-1) > 0
        assert changed[:, 44:54].any((1, 2)).all()  # the mouth of every face
        assert not changed[:, :16].any() and not changed[:, 58:].any() and not changed[:, :, :10].any()


def test_expressions_stay_visible_behind_sunglasses():
    a = _draw_with(32, expression="smile", glasses="sunglasses")
    b = _draw_with(32, expression="sad", glasses="sunglasses")
    assert (np.abs(a - b).max(-1) > 40).sum((1, 2)).min() >= 4


def test_the_picture_s_edge_has_the_colour_of_the_background_label():
    labels = faces.factors(np.arange(600))
    edge = _draw_with(count=600, size=32, hair_style="buzz", hat="none")[:, 14:18, :2].mean((1, 2))
    centres = np.array([edge[labels["background"] == k].mean(0) for k in range(6)])
    nearest = ((edge[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert (nearest == labels["background"]).mean() > 0.98


@pytest.mark.parametrize("style", faces.FACTORS["hair_style"])
@pytest.mark.parametrize("hat", faces.FACTORS["hat"])
def test_hair_colour_shows_under_every_hat(style, hat):
    black = _draw_with(32, 12, hair_style=style, hat=hat, hair_colour="black")
    blond = _draw_with(32, 12, hair_style=style, hat=hat, hair_colour="blond")
    assert (np.abs(black - blond).max(-1) > 60).sum((1, 2)).min() >= 16


def test_edges_are_anti_aliased():
    # Coverage adds up to the shape's area in closed form, which a jagged drawing misses.
    canvas = faces._Canvas(32, 32, 1)
    one = np.ones(1, np.float32)
    disc = canvas.ellipse(0 * one, 0 * one, 0.5 * one, 0.5 * one).alpha[..., 0]
    assert ((disc > 0.02) & (disc < 0.98)).sum() > 20
    assert disc.sum() * canvas.pixel**2 == pytest.approx(np.pi * 0.25, rel=0.005)
    dome = canvas.silhouette(0 * one[None], lambda y: 0.25 - y * y + 0 * one).alpha[..., 0]
    assert dome.sum() * canvas.pixel**2 == pytest.approx(np.pi * 0.25, rel=0.005)
    band = canvas.band(0 * one, 0 * one, 0.5 * one, -0.2 * one, 0.2 * one, 0.001 * one).alpha[..., 0]
    assert band.sum() * canvas.pixel**2 == pytest.approx(4 / 3 * 0.4 * 0.5, rel=0.05)


def test_classes_combine_factors():
    labels = faces.factors(np.arange(2000))
    index, names = faces.classes(labels)
    assert len(names) == 20 == len(set(names))
    assert index.dtype == np.int64 and set(index.tolist()) == set(range(20))
    assert names[index[7]] == (
        f"expression {faces.FACTORS['expression'][labels['expression'][7]]}, "
        f"glasses {faces.FACTORS['glasses'][labels['glasses'][7]]}"
    )
    index, names = faces.classes(labels, ["hat"])
    assert np.array_equal(index, labels["hat"]) and names[0] == "hat none"


def test_no_faces_is_an_empty_batch():
    images, labels = faces.draw(np.arange(0), 32)
    assert images.shape == (0, 32, 32, 3) and labels["hat"].shape == (0,)
    assert faces.classes(labels)[0].shape == (0,)


@pytest.mark.parametrize("size", [11, 513, 0, -32, 32.0, "32", True, (32, 11)])
def test_a_bad_size_is_refused(size):
    with pytest.raises(ValueError, match="size must be an integer from 12 to 512"):
        faces.draw(np.arange(2), size)


@pytest.mark.parametrize("indices", [np.array([0.5]), np.array([-1]), np.array(3), np.zeros((2, 2), int)])
def test_bad_indices_are_refused(indices):
    with pytest.raises(ValueError, match="indices"):
        faces.draw(indices, 32)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed must be"):
        faces.factors(np.arange(2), seed)


@pytest.mark.parametrize("names", [[], ["beard"], ["hat", "hat"], "hat"])
def test_bad_class_names_are_refused(names):
    with pytest.raises(ValueError, match="names must be"):
        faces.classes(faces.factors(np.arange(2)), names)
