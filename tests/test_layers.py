"""The layers do what their papers say."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from gan_ref.layers import (
    Dropout,
    GaussianNoise,
    Maxout,
    MinibatchDiscrimination,
    SpatialDropout,
    VirtualBatchNorm2d,
    WeightNormConv2d,
    WeightNormLinear,
    batch_norm,
    data_dependent_init,
    measure_statistics,
    reference_pass,
    seed_noise,
    set_reference,
    spectral_norm,
)


@pytest.fixture(autouse=True)
def the_same_numbers_in_every_run():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def gradients(network: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters())))


# --- minibatch discrimination -------------------------------------------------------------------------------


def test_minibatch_discrimination_appends_the_similarities_of_weight_normalised_projections():
    layer = MinibatchDiscrimination(6, num_kernels=4, kernel_dim=3).double()
    nn.init.normal_(layer.log_scale)
    x = torch.randn(5, 6, dtype=torch.float64)
    out = layer(x)
    assert out.shape == (5, 10) and layer.out_features == 10
    assert torch.equal(out[:, :6], x)
    columns = layer.theta / layer.theta.square().sum(0).sqrt() * layer.log_scale.exp()
    for b in range(4):
        m = x @ columns[:, 3 * b : 3 * b + 3]
        for i in range(5):
            o = sum(torch.exp(-(m[i] - m[j]).abs().sum()) for j in range(5) if j != i)
            assert torch.allclose(out[i, 6 + b], o)


def test_samples_that_are_alike_show_it_whatever_the_number_of_features():
    for features in (64, 8192):
        layer = MinibatchDiscrimination(features)
        varied = layer(torch.randn(16, features))[:, features:]
        collapsed = layer(torch.randn(1, features).expand(16, -1))[:, features:]
        assert collapsed.min() > 14.9  # of 15 others
        assert 0.01 < varied.mean() < 5


def test_minibatch_discrimination_carries_a_gradient_penalty():
    layer = MinibatchDiscrimination(6, 4, 3).double()
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    penalty = gradients(layer, slope.square().sum())
    assert all(g.abs().max() > 0 for g in penalty)
    assert torch.autograd.gradgradcheck(layer, x)


# --- virtual batch normalisation ----------------------------------------------------------------------------


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        VirtualBatchNorm2d(8, negative_slope=0.2),
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
        VirtualBatchNorm2d(4),
    ).double()


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, dtype=torch.float64)


def test_forgetting_the_reference_is_an_error_that_says_what_to_do():
    d, reference, x = network(), images(6), images(3)
    with pytest.raises(RuntimeError, match=r"set_reference\(network, reference_batch\)"):
        d(x)
    with pytest.raises(RuntimeError, match="eval"):
        d.eval()(x)
    d.train()
    set_reference(d, reference)
    d(x).sum().backward()
    torch.optim.SGD(d.parameters(), 0.1).step()
    with pytest.raises(RuntimeError, match="has changed since"):
        d(x)
    with torch.no_grad(), pytest.raises(RuntimeError, match="has changed since"):
        d(x)
    with pytest.raises(RuntimeError, match="eval"):
        d.eval()(x)


def test_it_normalises_by_the_example_and_the_reference_at_each_layer():
    d, reference, x = network(), images(6), images(3)
    set_reference(d, reference)
    out = d(x)
    for n in range(3):  # by hand: at each layer the reference is normalised alone, the example as one of it
        h, r = x[n : n + 1], reference
        for convolution, norm in ((d[0], d[1]), (d[2], d[3])):
            h, r = convolution(h), convolution(r)
            h = F.batch_norm(torch.cat([h, r]), None, None, norm.weight, norm.bias, training=True)[:1]
            r = F.batch_norm(r, None, None, norm.weight, norm.bias, training=True)
            h, r = F.leaky_relu(h, norm.negative_slope), F.leaky_relu(r, norm.negative_slope)
        assert torch.allclose(out[n], h[0])


@pytest.mark.parametrize("mode", [True, False])
def test_a_sample_does_not_see_its_batch(mode):
    d, x = network().train(mode), images(4)
    set_reference(d, images(6))
    together = d(x)
    x[1:] = 7.0
    assert torch.equal(d(x)[0], together[0])


def test_gradients_flow_through_the_statistics_of_the_reference():
    d, reference, x = network(), images(6), images(3)

    def loss(*parameters):
        named = dict(zip(dict(d.named_parameters()), parameters))
        with reference_pass(d):
            functional_call(d, named, (reference,))
        return functional_call(d, named, (x,)).square().mean()

    assert torch.autograd.gradcheck(loss, tuple(p.detach().clone().requires_grad_() for p in d.parameters()))


def test_a_gradient_penalty_flows_through_it_too():
    d, reference, x = network(), images(6), images(2).requires_grad_()
    parameters = [p.detach().clone().requires_grad_() for p in d.parameters()]

    def penalty(*parameters):
        named = dict(zip(dict(d.named_parameters()), parameters))
        with reference_pass(d):
            functional_call(d, named, (reference,))
        score = functional_call(d, named, (x,)).pow(2).sum()
        return torch.autograd.grad(score, x, create_graph=True)[0].square().mean()

    exact = torch.autograd.grad(penalty(*parameters), parameters)
    for k, parameter in enumerate(parameters):
        direction = torch.randn_like(parameter)

        def along(step):
            shifted = parameter.detach() + step * direction
            return penalty(*parameters[:k], shifted.requires_grad_(), *parameters[k + 1 :]).detach()

        slope = (along(1e-5) - along(-1e-5)) / 2e-5
        assert torch.allclose(slope, (exact[k] * direction).sum(), rtol=1e-4, atol=1e-7)


def test_one_pass_under_no_grad_serves_the_step_that_follows():
    d, reference, x = network(), images(6), images(3)
    with torch.no_grad():
        set_reference(d, reference)
        d(x)
    without = gradients(d, d(x).square().sum())
    set_reference(d, reference)
    assert all(torch.equal(a, b) for a, b in zip(without, gradients(d, d(x).square().sum())))


def test_statistics_recorded_while_frozen_do_not_serve_a_training_step():
    d = network().requires_grad_(False)
    set_reference(d, images(6))
    d(images(3))
    with pytest.raises(RuntimeError, match="has changed since"):
        d.requires_grad_(True)(images(3))


def test_in_eval_mode_one_pass_is_kept_saved_and_copied(tmp_path):
    d, x = network().eval(), images(3)
    set_reference(d, images(6))
    expected = d(x)
    assert all(not p.requires_grad for p in (d[1].reference_mean, d[1].reference_var))
    torch.save(d.state_dict(), tmp_path / "d.pt")
    loaded = network().eval()
    loaded.load_state_dict(torch.load(tmp_path / "d.pt", weights_only=True))
    assert torch.equal(loaded(x), expected)
    assert torch.equal(copy.deepcopy(loaded)(x), expected)
    assert torch.allclose(loaded.float()(x.float()).double(), expected, atol=1e-5)


def test_in_eval_mode_other_weights_need_another_pass():
    d, reference, x = network().eval(), images(6), images(3)
    set_reference(d, reference)
    with torch.no_grad():
        for parameter in d.parameters():
            parameter.mul_(1.01)  # as an average of weights does
    with pytest.raises(RuntimeError, match="has changed since"):
        d(x)
    set_reference(d, reference)
    d(x)
    set_reference(d.train(), reference)
    with pytest.raises(RuntimeError, match="eval"):
        d.eval()(x)


def test_a_network_in_the_middle_of_training_can_be_copied():
    d, reference, x = network(), images(6), images(3)
    set_reference(d, reference)
    average = copy.deepcopy(d).eval()
    set_reference(average, reference)
    average(x)
    d(x).sum().backward()


def test_a_layer_that_the_reference_does_not_reach_is_an_error():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = VirtualBatchNorm2d(3), VirtualBatchNorm2d(3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(RuntimeError, match="saw no reference"):
        set_reference(Forgetful(), torch.randn(4, 3, 2, 2))


def test_set_reference_passes_a_network_by_that_has_no_such_layer():
    set_reference(nn.Linear(3, 2), torch.ones(4, 5))  # of the wrong size: a pass would fail


def test_virtual_batch_norm_compiles_without_a_graph_break_and_again_after_an_update():
    d, reference, x = network(), images(6), images(3)
    compiled = torch.compile(d, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="set_reference"):
        compiled(x)
    for _ in range(3):
        set_reference(d, reference)
        expected = gradients(d, d(x).square().sum())
        with reference_pass(d):
            compiled(reference)
        ours = gradients(d, compiled(x).square().sum())
        assert all(torch.allclose(a, b) for a, b in zip(ours, expected))
        with torch.no_grad():
            for parameter, gradient in zip(d.parameters(), ours):
                parameter -= 0.01 * gradient


@pytest.mark.parametrize("mode", [True, False])
def test_channels_last_networks_stay_so(mode):
    d = network().float().train(mode).to(memory_format=torch.channels_last)
    x = images(3).float().contiguous(memory_format=torch.channels_last)
    set_reference(d, images(6).float().contiguous(memory_format=torch.channels_last))
    assert d[:2](x).is_contiguous(memory_format=torch.channels_last)


def test_under_autocast():
    d, reference, x = network().float(), images(6).float(), images(3).float()
    set_reference(d, reference)
    expected = d(x)
    with torch.autocast("cpu", torch.bfloat16):
        set_reference(d, reference)
        out = d(x)
    assert out.dtype == torch.bfloat16 and (out - expected).abs().max() < 0.1


def test_both_layers_in_somebodys_own_discriminator():
    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 32, 4, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(32, 64, 4, 2, 1, bias=False),
                VirtualBatchNorm2d(64, negative_slope=0.2),
                nn.Flatten(),
                MinibatchDiscrimination(64 * 7 * 7, num_kernels=50),
            )
            self.score = nn.Linear(64 * 7 * 7 + 50, 1)

        def forward(self, x):
            return self.score(self.features(x))

    real = torch.randn(16, 1, 28, 28)
    discriminator, reference_batch = Discriminator(), real[:8]
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        set_reference(discriminator, reference_batch)
        fake = torch.randn(1, 1, 28, 28).expand(16, -1, -1, -1) * 0.5  # a generator that has collapsed
        loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


# --- batch normalisation and noise --------------------------------------------------------------------------


def test_decay_is_the_share_of_the_old_running_value():
    layer = batch_norm(2, decay=0.9)
    layer(torch.full((4, 2, 3, 3), 5.0))
    assert torch.allclose(layer.running_mean, torch.full((2,), 0.1 * 5))
    assert torch.allclose(layer.running_var, torch.full((2,), 0.9 * 1))


def test_measured_statistics_are_the_means_over_the_batches_and_nothing_else_changes():
    net = nn.Sequential(batch_norm(3), nn.Conv2d(3, 2, 1), batch_norm(2)).eval()
    batches = [torch.randn(8, 3, 4, 4) * k + k for k in (1, 2, 3)]
    before = [p.clone() for p in net.parameters()]
    measure_statistics(net, batches)
    assert torch.allclose(net[0].running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
    assert torch.allclose(net[0].running_var, torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0))
    hidden = [net[1](F.batch_norm(b, None, None, net[0].weight, net[0].bias, training=True)) for b in batches]
    assert torch.allclose(
        net[2].running_mean, torch.stack([h.mean((0, 2, 3)) for h in hidden]).mean(0), atol=1e-6
    )
    assert not any(module.training for module in net.modules()) and net[0].momentum == pytest.approx(0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    measure_statistics(nn.Linear(2, 2), [torch.ones(1, 5)])  # of a wrong size: a pass would fail


@pytest.mark.parametrize("layer", [GaussianNoise(0.5), Dropout(0.3), SpatialDropout(0.3)])
def test_noise_comes_from_the_generator_that_was_handed_out_and_from_no_other(layer):
    x, noisy = torch.ones(4, 3, 5, 5), nn.Sequential(layer, nn.Identity())
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        seed_noise(noisy, generator)
        draws.append(torch.stack([noisy(x), noisy(x)]))
    assert torch.equal(*draws) and not torch.equal(*draws[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(noisy.eval()(x), x)
    seed_noise(noisy.train(), None)
    assert not torch.equal(noisy(x), draws[0][0])


def test_the_noise_has_its_standard_deviation_and_dropout_keeps_the_mean():
    x = torch.ones(64, 64, 8, 8)
    noise = GaussianNoise(0.5)(x) - x
    assert noise.mean().abs() < 5e-3 and (noise.std() - 0.5).abs() < 5e-3
    for layer in (Dropout(0.3), SpatialDropout(0.3)):
        y = layer(x)
        assert torch.equal(y.unique(), torch.tensor([0, 1 / 0.7])) and (y.mean() - 1).abs() < 0.05
        channels = y.flatten(2)
        whole = (channels == channels[..., :1]).all()
        assert whole == isinstance(layer, SpatialDropout)


def test_noise_of_a_wrong_size_is_named():
    for wrong, name in ((lambda: GaussianNoise(-1), "sigma"), (lambda: Dropout(1.0), "p must")):
        with pytest.raises(ValueError, match=name):
            wrong()


# --- weight normalisation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("train_scale", [True, False])
def test_data_dependent_initialisation_gives_mean_zero_and_variance_one_at_every_layer(train_scale):
    net = nn.Sequential(
        WeightNormConv2d(3, 5, 3, padding=1, train_scale=train_scale),
        nn.LeakyReLU(0.2),
        WeightNormConv2d(5, 7, 3, stride=2, train_scale=train_scale),
        nn.Flatten(),
        WeightNormLinear(63, 4, train_scale=train_scale),
    )
    x = images(32).float() * 3 + 1
    with data_dependent_init(net):
        net(x)
    assert len(list(net.parameters())) == (9 if train_scale else 6) and len(net.state_dict()) == 9
    for module in net:
        x = module(x)
        if isinstance(module, (WeightNormConv2d, WeightNormLinear)):
            outputs = x.transpose(0, 1).flatten(1)
            assert torch.allclose(outputs.mean(1), torch.zeros(len(outputs)), atol=1e-5)
            assert torch.allclose(outputs.std(1, correction=0), torch.ones(len(outputs)), atol=1e-4)


def test_weight_norm_separates_length_from_direction():
    layer = WeightNormLinear(6, 4).double()
    nn.init.uniform_(layer.scale, 0.5, 2.0)
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    weight = layer(torch.eye(6, dtype=torch.float64)).T - layer.bias[:, None]
    assert torch.allclose(weight.norm(dim=1), layer.scale)
    (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), layer.v)
    assert torch.allclose((slope * layer.v).sum(1), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).pow(3), x)


# --- spectral normalisation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, matrix",
    [
        (nn.Linear(9, 6), lambda w: w),
        (nn.Conv2d(3, 8, 3), lambda w: w.flatten(1)),
        (nn.ConvTranspose2d(3, 8, 3), lambda w: w.transpose(0, 1).flatten(1)),
    ],
)
def test_spectral_norm_is_one_once_the_power_iteration_has_converged(module, matrix):
    module = copy.deepcopy(module)
    expected = matrix(module.weight.detach())
    expected = expected / torch.linalg.matrix_norm(expected, 2)
    spectral_norm(module)
    for _ in range(300):
        _ = module.weight  # in training each look at the weight is one iteration
    weight = matrix(module.eval().weight.detach())
    assert abs(torch.linalg.matrix_norm(weight, 2) - 1) < 1e-3
    assert torch.allclose(weight, expected, atol=1e-3)


def test_spectral_norm_iterates_in_training_only_starts_from_its_generator_and_resumes():
    def begun():
        layer = nn.Linear(5, 4, bias=False)
        nn.init.constant_(layer.weight, 0.1)
        nn.init.eye_(layer.weight.data[:, :4])
        return spectral_norm(layer, torch.Generator().manual_seed(1))

    first, second = begun(), begun()
    x = torch.randn(3, 5)
    assert torch.equal(first(x), second(x))
    resumed = begun()
    resumed.load_state_dict(first.state_dict())
    for _ in range(2):
        assert torch.equal(first(x), resumed(x))
    state = copy.deepcopy(first.state_dict())
    first.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), first.state_dict().values()))


def test_the_derivative_of_spectral_norm_is_that_of_miyato_and_others_equation_11():
    layer = nn.Linear(6, 4, bias=False).double()
    original = layer.weight.detach().clone()
    spectral_norm(layer)
    layer.eval()
    u, v = layer.parametrizations.weight[0].u, layer.parametrizations.weight[0].v
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    g = torch.randn(3, 4, dtype=torch.float64)
    (slope,) = torch.autograd.grad((layer(x) * g).sum(), layer.parametrizations.weight.original)
    sigma = u @ original @ v
    by_weight = g.T @ x  # ∂L/∂W̄
    expected = (by_weight - (by_weight * original / sigma).sum() * torch.outer(u, v)) / sigma
    assert torch.allclose(slope, expected)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).pow(3), x)


def test_two_forwards_before_a_backward():
    layer = spectral_norm(nn.Linear(6, 4))
    x = torch.randn(3, 6)
    (layer(x).sum() + layer(2 * x).sum()).backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def test_maxout_takes_the_largest_of_each_outputs_pieces_and_its_gradient_goes_to_that_one():
    a = torch.tensor([[1.0, 5.0, 3.0, 2.0, -1.0, 4.0]], requires_grad=True)  # three pieces of two outputs
    h = Maxout(pieces=3)(a)
    assert h.tolist() == [[3.0, 5.0]]
    h.sum().backward()
    assert a.grad is not None and a.grad.tolist() == [[0, 1, 1, 0, 0, 0]]
