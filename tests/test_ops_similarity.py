"""minibatch_l1_similarity on the CPU: its values, its derivatives, and how it behaves as an operator."""

import math
import subprocess
import sys
import time

import pytest
import torch
from torch._subclasses import FakeTensorMode

from gan_ref import ops
from gan_ref.ops import similarity

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def features(*shape, dtype=torch.float32, scale=0.5, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
    return values.to(dtype).requires_grad_(options.pop("requires_grad", False))


def value_and_gradient(function, inputs, grad):
    inputs = inputs.detach().requires_grad_()
    out = function(inputs)
    return out.detach(), torch.autograd.grad(out, inputs, grad)[0]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (7, 3, 5), (33, 2, 64), (130, 5, 7), (3, 512, 2)])
def test_values_and_gradients_are_those_of_the_definition_in_float64(shape, dtype):
    f = features(*shape, dtype=dtype, scale=1 / shape[2])
    grad = features(*shape[:2], dtype=dtype, seed=1)
    out, slope = value_and_gradient(ops.minibatch_l1_similarity, f, grad)
    expected, expected_slope = value_and_gradient(similarity.plain, f.double(), grad.double())
    assert out.dtype == slope.dtype == dtype and out.is_contiguous()
    for ours, theirs in ((out, expected), (slope, expected_slope)):
        limit = TOLERANCE[dtype] * max(1, theirs.abs().max())
        assert (ours.double() - theirs).abs().max() <= limit


def test_two_samples_have_the_similarity_that_one_computes_by_hand():
    f = torch.tensor([[[0.0, 1.0]], [[0.5, 3.0]]])
    assert torch.allclose(ops.minibatch_l1_similarity(f), torch.full((2, 1), math.exp(-2.5)))


def test_equal_samples_are_wholly_alike_and_feel_no_force():
    out, slope = value_and_gradient(ops.minibatch_l1_similarity, torch.ones(6, 2, 3), torch.ones(6, 2))
    assert torch.equal(out, torch.full((6, 2), 5.0))
    assert torch.equal(slope, torch.zeros(6, 2, 3))


def test_a_sample_far_from_all_others_keeps_its_tiny_similarity():
    f = torch.tensor([0.0, 30.0])[:, None, None]
    expected = torch.full((2, 1), math.exp(-30))
    assert torch.allclose(ops.minibatch_l1_similarity(f), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 0, 3), (1, 4, 3)])
def test_nobody_else_to_resemble(shape):
    out, slope = value_and_gradient(ops.minibatch_l1_similarity, torch.ones(shape), torch.ones(shape[:2]))
    assert torch.equal(out, torch.zeros(shape[:2])) and torch.equal(slope, torch.zeros(shape))


def test_a_large_batch_is_done_in_rows():
    f = features(4096, 1, 3)
    out = ops.minibatch_l1_similarity(f)
    rows = torch.tensor([0, 31, 32, 4095])
    exact = torch.exp(-(f.double()[rows, None] - f.double()[None]).abs().sum(3)).sum(1) - 1
    assert torch.allclose(out[rows].double(), exact, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 50, 2**20])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    f, grad = features(9, 4, 3), features(9, 4, seed=1)
    expected = value_and_gradient(similarity.plain, f, grad)
    monkeypatch.setattr(similarity, "CPU_BLOCK", block)
    for ours, theirs in zip(value_and_gradient(ops.minibatch_l1_similarity, f, grad), expected):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_strided_features_and_gradients():
    f, grad = features(6, 8, 10)[:, ::2, 1::3], torch.ones(1).expand(6, 4)
    expected = value_and_gradient(similarity.plain, f, grad)
    for ours, theirs in zip(value_and_gradient(ops.minibatch_l1_similarity, f, grad), expected):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_first_and_second_derivative_by_finite_differences(monkeypatch):
    monkeypatch.setattr(similarity, "CPU_BLOCK", 40)  # several blocks
    f = features(6, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.minibatch_l1_similarity, f)
    assert torch.autograd.gradgradcheck(ops.minibatch_l1_similarity, f)


def test_a_third_derivative_is_right_too():
    def slope_energy(function, f):  # a gradient penalty, whose own gradient is differentiated again
        (first,) = torch.autograd.grad(function(f).square().sum(), f, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), f, create_graph=True)
        return torch.autograd.grad(second.square().sum(), f)[0]

    f = features(4, 2, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = slope_energy(ops.minibatch_l1_similarity, f), slope_energy(similarity.plain, f)
    assert torch.allclose(ours, theirs)


def test_the_operators_are_registered_as_torch_wants_them():
    f, grad = features(5, 3, 2, requires_grad=True), features(5, 3, seed=1, requires_grad=True)
    torch.library.opcheck(torch.ops.gan_ref.minibatch_l1_similarity, (f,))
    torch.library.opcheck(torch.ops.gan_ref.minibatch_l1_similarity_backward, (grad, f))


def test_compiles_without_a_graph_break():
    def ours(f):
        return ops.minibatch_l1_similarity(f * 2) + 1

    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    f, grad = features(6, 3, 2), features(6, 3, seed=1)
    expected = value_and_gradient(lambda f: similarity.plain(f * 2) + 1, f, grad)
    for ours, theirs in zip(value_and_gradient(compiled, f, grad), expected):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"], ids=["cpu", "gpu"])
def test_fake_tensors_have_the_shapes_of_real_ones(device):
    with FakeTensorMode():
        f = torch.empty(6, 3, 2, dtype=torch.float16, device=device)
        out = ops.minibatch_l1_similarity(f)
        slope = torch.ops.gan_ref.minibatch_l1_similarity_backward(out, f)
    assert (out.shape, out.dtype, out.device.type) == ((6, 3), torch.float16, device)
    assert (slope.shape, slope.dtype) == ((6, 3, 2), torch.float16)


def test_autocast_leaves_the_type_of_the_features():
    weight = features(4, 6, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        projected = (features(5, 4) @ weight).view(5, 3, 2)
        out = ops.minibatch_l1_similarity(projected)
    assert projected.dtype == out.dtype == torch.bfloat16
    assert (out.double() - similarity.plain(projected.double())).abs().max() < 2e-2


@pytest.mark.parametrize(
    "wrong, error",
    [
        ([[1.0]], TypeError),
        (torch.ones(3, 2, 2, dtype=torch.int64), TypeError),
        (torch.ones(3, 2, 2, dtype=torch.complex64), TypeError),
        (torch.ones(3, 2), ValueError),
        (torch.ones(3, 2, 0), ValueError),
    ],
)
def test_wrong_features_are_named(wrong, error):
    with pytest.raises(error, match="features"):
        ops.minibatch_l1_similarity(wrong)


@pytest.mark.full
def test_memory_does_not_grow_with_the_number_of_kernels():
    # 1024² distances of 96 kernels are 400 MB. The operator holds a few blocks of 0.5 MB, and features.
    program = """
import resource, torch
from gan_ref import ops
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.autograd.grad(ops.minibatch_l1_similarity(f := torch.zeros(64, 2, 1, requires_grad=True)).sum(), f)
before = peak()
f = torch.randn(1024, 96, 1, requires_grad=True)
ops.minibatch_l1_similarity(f).sum().backward()
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 32  # MB


@pytest.mark.full
def test_at_least_as_fast_as_cdist():
    def with_cdist(f):
        by_kernel = f.transpose(0, 1).contiguous()
        return (torch.cdist(by_kernel, by_kernel, p=1).neg().exp().sum(2) - 1).t()

    f, grad = features(256, 50, 5), torch.ones(256, 50)
    best = {}
    for _ in range(5):
        for function in (ops.minibatch_l1_similarity, with_cdist):
            start = time.process_time()  # not the clock on the wall: other programs may be running
            value_and_gradient(function, f, grad)
            best[function] = min(best.get(function, math.inf), time.process_time() - start)
    assert best[ops.minibatch_l1_similarity] < best[with_cdist]
