"""virtual_batch_norm on the CPU: its values, its derivatives, and how it behaves as an operator of torch."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from gan_ref import ops
from gan_ref.ops import norm

TOLERANCE = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 3e-2}


def arguments(n, c, h, w, dtype=torch.float32, layout=torch.contiguous_format, requires_grad=False):
    """x, reference_mean, reference_var, weight, bias, drawn in float64 and then rounded."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, c, h, w, generator=generator, dtype=torch.float64) * 2 + 1
    per_channel = [torch.rand(c, generator=generator, dtype=torch.float64) + 0.2 for _ in range(4)]
    tensors = [x.to(dtype).contiguous(memory_format=layout)]
    tensors += [t.to(torch.promote_types(dtype, torch.float32)) for t in per_channel]
    return [t.requires_grad_(requires_grad) for t in tensors]


def value_and_gradients(function, tensors, size, slope, grad):
    tensors = [t.detach().requires_grad_() for t in tensors]
    y = function(*tensors, size, negative_slope=slope)
    return [y.detach(), *torch.autograd.grad(y, tensors, grad)]


def assert_close(ours, exact, tolerance):
    for one, other in zip(ours, exact, strict=True):
        assert (one.double() - other).abs().max() <= tolerance * max(1, other.abs().max())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("slope", [1.0, 0.2, 0.0])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 4, 4), (2, 3, 7, 5), (4, 64, 1, 1)])
def test_values_and_gradients_are_those_of_the_definition_in_float64(shape, slope, dtype, layout):
    tensors = arguments(*shape, dtype=dtype, layout=layout)
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours = value_and_gradients(ops.virtual_batch_norm, tensors, 7, slope, grad)
    exact = value_and_gradients(norm.plain, [t.double() for t in tensors], 7, slope, grad.double())
    assert ours[0].dtype == ours[1].dtype == dtype
    assert ours[0].is_contiguous(memory_format=layout) and ours[1].is_contiguous(memory_format=layout)
    assert_close(ours, exact, TOLERANCE[dtype])


def test_an_example_and_its_reference_batch_are_one_batch():
    # The paper's code, literally: batch normalisation of R + 1 examples, of which the first is kept.
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(8, 3, 4, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64) * 3 + 1
    weight, bias = torch.rand(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    mean, var = reference.mean((0, 2, 3)), reference.var((0, 2, 3), correction=0)
    ours = ops.virtual_batch_norm(x, mean, var, weight, bias, 8)
    for n in range(5):
        joined = torch.cat([x[n : n + 1], reference])
        expected = F.batch_norm(joined, None, None, weight, bias, training=True)[0]
        assert torch.allclose(ours[n], expected)


def test_a_sample_does_not_see_its_batch():
    x, *others = arguments(6, 4, 5, 5)
    together = ops.virtual_batch_norm(x, *others, 9)
    for n in range(6):
        assert torch.equal(ops.virtual_batch_norm(x[n : n + 1], *others, 9)[0], together[n])


def test_without_a_reference_it_is_instance_normalisation():
    x, mean, var, weight, bias = arguments(3, 4, 5, 5)
    ours = ops.virtual_batch_norm(x, mean, var, weight, bias, 0)
    assert torch.allclose(ours, F.instance_norm(x, weight=weight, bias=bias), atol=1e-5)


def test_with_an_endless_reference_it_is_batch_normalisation_in_eval_mode():
    x, mean, var, weight, bias = arguments(3, 4, 5, 5)
    ours = ops.virtual_batch_norm(x, mean, var, weight, bias, 10**9, negative_slope=0.2)
    assert torch.allclose(ours, F.leaky_relu(F.batch_norm(x, mean, var, weight, bias), 0.2), atol=1e-5)


def test_a_mean_far_from_zero_costs_no_accuracy():
    x, mean, var, weight, bias = arguments(3, 4, 8, 8)
    tensors = [x + 300, mean + 300, var, weight, bias]
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    ours = value_and_gradients(ops.virtual_batch_norm, tensors, 7, 0.2, grad)
    exact = value_and_gradients(norm.plain, [t.double() for t in tensors], 7, 0.2, grad.double())
    assert_close(ours, exact, 1e-4)  # float32 holds 300 to 3e-5: E[x²] − mean² would be wrong by 1e-2


@pytest.mark.parametrize("slope", [1.0, 0.2])
@pytest.mark.parametrize("size", [0, 5])
def test_first_and_second_derivative_by_finite_differences(size, slope, monkeypatch):
    monkeypatch.setattr(norm, "CPU_BLOCK", 20)  # several blocks
    tensors = arguments(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)

    def function(*tensors):
        return ops.virtual_batch_norm(*tensors, size, negative_slope=slope)

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_second_derivative_in_float32_and_half():
    def penalty(function, tensors):
        x = tensors[0].detach().requires_grad_()
        y = function(x, *tensors[1:], 7, negative_slope=0.2)
        (slope,) = torch.autograd.grad(y.double().pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.double().square().mean(), x)[0]

    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
        tensors = arguments(3, 4, 5, 5, dtype=dtype)
        exact = penalty(norm.plain, [t.double() for t in tensors])
        assert_close([penalty(ops.virtual_batch_norm, tensors)], [exact], tolerance)


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, pytest.param(torch.channels_last, marks=pytest.mark.full)]
)
def test_the_operators_are_registered_as_torch_wants_them(layout):
    tensors = arguments(3, 4, 2, 5, layout=layout, requires_grad=True)
    torch.library.opcheck(torch.ops.gan_ref.virtual_batch_norm, (*tensors, 7, 1e-5, 0.2))
    grad = torch.ones_like(tensors[0]).requires_grad_()
    mean, var = tensors[0].detach().mean((2, 3)), tensors[0].detach().var((2, 3), correction=0)
    torch.library.opcheck(
        torch.ops.gan_ref.virtual_batch_norm_backward, (grad, *tensors, mean, var, 7, 1e-5, 0.2)
    )


def test_compiles_without_a_graph_break():
    tensors = arguments(3, 4, 5, 5)
    grad = torch.ones(3, 4, 5, 5)
    compiled = torch.compile(ops.virtual_batch_norm, fullgraph=True, backend="aot_eager")
    ours = value_and_gradients(compiled, tensors, 7, 0.2, grad)
    assert_close(ours, value_and_gradients(norm.plain, tensors, 7, 0.2, grad), 1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("device", ["cpu", "cuda"], ids=["cpu", "gpu"])
def test_fake_tensors_have_the_shapes_of_real_ones(device, layout):
    with FakeTensorMode():
        x = torch.empty(3, 4, 5, 5, dtype=torch.bfloat16, device=device, memory_format=layout)
        channels = torch.empty(4, device=device)
        y, mean, var = torch.ops.gan_ref.virtual_batch_norm(x, *[channels] * 4, 7, 1e-5, 0.2)
        gradients = torch.ops.gan_ref.virtual_batch_norm_backward(
            y, x, *[channels] * 4, mean, var, 7, 1e-5, 0.2
        )
    assert (y.shape, y.dtype, y.stride()) == (x.shape, x.dtype, x.stride())
    assert (mean.shape, var.shape, mean.dtype, var.dtype) == ((3, 4), (3, 4), torch.float32, torch.float32)
    assert gradients[0].stride() == x.stride() and gradients[0].dtype == x.dtype
    assert all(g.shape == (4,) and g.dtype == torch.float32 for g in gradients[1:])


def test_an_empty_batch_has_an_empty_result_and_no_gradient():
    tensors = arguments(0, 4, 5, 5)
    grad = torch.ones(0, 4, 5, 5)
    y, grad_x, *gradients = value_and_gradients(ops.virtual_batch_norm, tensors, 7, 0.2, grad)
    assert y.shape == grad_x.shape == (0, 4, 5, 5)
    assert all(torch.equal(g, torch.zeros(4)) for g in gradients)


def test_strided_input_is_right_and_comes_back_dense():
    tensors = arguments(3, 8, 6, 6)
    x = tensors[0][:, ::2, 1:, ::3]
    others = [t[::2] for t in tensors[1:]]
    grad = torch.ones(1).expand(x.shape)
    ours = value_and_gradients(ops.virtual_batch_norm, [x, *others], 7, 0.2, grad)
    assert ours[0].is_contiguous()
    assert_close(ours, value_and_gradients(norm.plain, [x, *others], 7, 0.2, grad), 1e-5)


def test_half_precision_features_meet_float32_parameters_under_autocast():
    x, *others = arguments(3, 4, 5, 5)
    kernel = torch.ones(4, 4, 1, 1) / 4
    with torch.autocast("cpu", torch.bfloat16):
        convolved = F.conv2d(x, kernel)
        y = ops.virtual_batch_norm(convolved, *others, 7)
    assert convolved.dtype == y.dtype == torch.bfloat16
    assert_close([y], [norm.plain(convolved.double(), *[t.double() for t in others], 7)], 3e-2)


def test_half_precision_parameters_get_half_precision_gradients():
    tensors = [t.half() for t in arguments(3, 4, 5, 5)]
    gradients = value_and_gradients(ops.virtual_batch_norm, tensors, 7, 0.2, torch.ones(3, 4, 5, 5).half())
    assert all(g.dtype == torch.float16 for g in gradients)


def test_wrong_arguments_are_named():
    x, mean, var, weight, bias = arguments(2, 3, 4, 4)
    right = dict(x=x, reference_mean=mean, reference_var=var, weight=weight, bias=bias, reference_size=5)
    ops.virtual_batch_norm(**right)
    for name, wrong, error in [
        ("x", [1.0], TypeError),
        ("x", x.long(), TypeError),
        ("x", x[0], ValueError),
        ("x", x[:, :, :0], ValueError),
        ("reference_mean", 0.0, TypeError),
        ("reference_mean", mean.to("meta"), ValueError),
        ("reference_var", var[:2], ValueError),
        ("weight", weight[:, None], ValueError),
        ("bias", bias.long(), TypeError),
        ("reference_size", 5.0, TypeError),
        ("reference_size", -1, ValueError),
        ("eps", 0.0, ValueError),
        ("negative_slope", -0.1, ValueError),
        ("negative_slope", 2, ValueError),
    ]:
        with pytest.raises(error, match=name):
            ops.virtual_batch_norm(**(right | {name: wrong}))
