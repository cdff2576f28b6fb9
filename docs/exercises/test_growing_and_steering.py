import growing_and_steering
import torch
import torch.nn.functional as F


def test_a_fade_begins_with_the_old_picture_and_ends_with_the_new():
    before, new = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    old = F.interpolate(before, scale_factor=2, mode="nearest")
    for α in (0.0, 0.3, 1.0):
        assert torch.allclose(growing_and_steering.fade(before, new, α), torch.lerp(old, new, α))


def test_the_projection_is_that_of_the_formula():
    features, plain, v = torch.randn(6, 5), torch.randn(6), torch.randn(3, 5)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    y = F.one_hot(labels, 3).float()
    found = growing_and_steering.projection(features, plain, v, labels)
    assert torch.allclose(found, (y @ v @ features.T).diagonal() + plain, atol=1e-6)
