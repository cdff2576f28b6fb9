import many_processes
import torch

from gan_ref.techniques.objectives import feature_distance


def test_the_variance_is_that_of_all():
    x = torch.randn(4, 25, dtype=torch.float64) + torch.arange(4.0)[:, None]
    found = many_processes.whole_variance(x.mean(1), x.var(1, correction=0))
    assert torch.allclose(found, x.var(correction=0))


def test_the_bias_is_the_difference_of_the_losses_and_never_negative():
    real, fake = torch.randn(2, 4, 8, 3, dtype=torch.float64)  # 4 parts of 8 samples with 3 features
    apart = torch.stack([feature_distance(x, y) for x, y in zip(real, fake, strict=True)]).mean()
    whole = feature_distance(real.flatten(0, 1), fake.flatten(0, 1))
    bias = many_processes.matching_bias(real.mean(1), fake.mean(1))
    assert torch.allclose(bias, apart - whole) and bias >= 0
