import few_images
import pytest
import torch

from gan_ref.techniques import augmentation


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-3, 1), (1, 2)])
def test_the_picture_moves_as_in_the_package(down, right):
    x = torch.randn(3, 6, 5)
    theirs = augmentation.translate(x[None], torch.tensor([down]), torch.tensor([right]))[0]
    assert torch.equal(few_images.translate(x, down, right), theirs)


def test_p_follows_d():
    sure, guessing = torch.ones(100), torch.tensor([1.0, -1.0] * 50)
    assert few_images.next_p(0.0, sure, 1000) == pytest.approx(0.1)
    assert few_images.next_p(0.5, guessing, 1000) == pytest.approx(0.4)
    assert few_images.next_p(0.0, guessing, 1000) == 0 and few_images.next_p(1.0, sure, 1000) == 1
