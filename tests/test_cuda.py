"""What only a GPU can show: ``pytest -m cuda``. The kernels against float64, and as citizens of torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_ref import ops
from gan_ref.layers import MinibatchDiscrimination, VirtualBatchNorm2d, reference_pass, set_reference
from gan_ref.ops import build, extension, norm, similarity

NO_GPU = "needs a GPU, and this machine's torch sees none"
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)]

TOLERANCE = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 3e-2}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
FEATURES = [(0, 3, 2), (1, 1, 1), (2, 1, 1), (33, 7, 3), (67, 7, 5), (128, 100, 5), (130, 3, 64)]
FEATURES += [(31, 512, 2), (257, 5, 16)]
PLANES = [(0, 3, 4, 4), (1, 1, 1, 1), (3, 5, 7, 3), (4, 64, 1, 1), (128, 512, 4, 4), (5, 33, 32, 32)]
PLANES += [(3, 3, 64, 64), (2, 2, 256, 256), (1, 3, 255, 253)]


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All of this file is about the kernels: a silent fall-back would make it pass on the PyTorch form."""
    choice = extension.choose(may_build=True)
    if choice.implementation != "cuda":
        pytest.fail(f"the kernels are not in use: {choice.reason}")


def features(*shape, dtype=torch.float32, seed=0, device="cuda"):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64) / max(1, shape[-1]) ** 0.5
    return values.to(device, dtype)


def norm_arguments(*shape, dtype=torch.float32, layout=torch.contiguous_format, device="cuda"):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64) * 2 + 1
    channels = [torch.rand(shape[1], generator=generator, dtype=torch.float64) + 0.2 for _ in range(4)]
    x = x.to(device, dtype).contiguous(memory_format=layout)
    return [x, *(c.to(device, torch.promote_types(dtype, torch.float32)) for c in channels)]


def value_and_gradients(function, tensors, grad):
    tensors = [t.detach().requires_grad_() for t in tensors]
    out = function(*tensors)
    return [out.detach(), *torch.autograd.grad(out, tensors, grad)]


def assert_close(ours, exact, tolerance):
    for one, other in zip(ours, exact, strict=True):
        if other.numel():
            assert (one.double() - other).abs().max() <= tolerance * max(1, other.abs().max())


def with_norm(size=7, slope=0.2, function=ops.virtual_batch_norm):
    return lambda *tensors: function(*tensors, size, negative_slope=slope)


# --- against float64 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", FEATURES)
def test_similarity(shape, dtype):
    f, grad = features(*shape, dtype=dtype), features(*shape[:2], dtype=dtype, seed=1)
    ours = value_and_gradients(ops.minibatch_l1_similarity, [f], grad)
    exact = value_and_gradients(similarity.plain, [f.double()], grad.double())
    assert ours[0].dtype == ours[1].dtype == dtype
    assert_close(ours, exact, TOLERANCE[dtype])


def test_similarity_of_the_largest_batch_and_of_more_channels_than_the_kernel_takes():
    for shape in ((4096, 1, 5), (9, 3, similarity.KERNEL_CHANNELS + 1)):
        f, grad = features(*shape), features(*shape[:2], seed=1)
        ours = value_and_gradients(ops.minibatch_l1_similarity, [f], grad)
        exact = value_and_gradients(similarity.plain, [f.double()], grad.double())
        assert_close(ours, exact, 5e-5)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("slope", [1.0, 0.2, 0.0])
@pytest.mark.parametrize("shape", PLANES)
def test_norm(shape, slope, dtype, layout):
    tensors = norm_arguments(*shape, dtype=dtype, layout=layout)
    grad = features(*shape, dtype=dtype, seed=1).contiguous(memory_format=layout)
    ours = value_and_gradients(with_norm(7, slope), tensors, grad)
    exact = value_and_gradients(with_norm(7, slope, norm.plain), [t.double() for t in tensors], grad.double())
    assert ours[0].dtype == ours[1].dtype == dtype
    assert all(t.is_contiguous(memory_format=layout) for t in ours[:2] if t.numel())
    # Where its input is 0 to within rounding, a leaky ReLU may have the other slope than in float64.
    ours[1] = torch.where(exact[0].abs() < 1e-5, exact[1], ours[1]) if slope != 1 else ours[1]
    assert_close(ours[:2], exact[:2], TOLERANCE[dtype])
    summed = max(1, grad[:, 0].numel()) ** 0.5  # numbers that a channel's gradients sum, of random sign
    assert_close(ours[2:], exact[2:], TOLERANCE[dtype] * summed)


def test_the_same_input_gives_the_same_bits():
    f, grad = features(257, 33, 5), features(257, 33, seed=1)
    tensors, norm_grad = norm_arguments(64, 33, 16, 16), features(64, 33, 16, 16, seed=1)
    for function, inputs, g in ((ops.minibatch_l1_similarity, [f], grad), (with_norm(), tensors, norm_grad)):
        first = value_and_gradients(function, inputs, g)
        for _ in range(5):
            again = value_and_gradients(function, inputs, g)
            assert all(torch.equal(a, b) for a, b in zip(first, again))


def test_a_sample_does_not_see_its_batch():
    x, *others = norm_arguments(6, 4, 9, 9)
    together = with_norm()(x, *others)
    for n in range(6):
        assert torch.equal(with_norm()(x[n : n + 1], *others)[0], together[n])


def test_strided_inputs():
    f, grad = features(40, 6, 10)[:, ::2, ::2], torch.ones(1, device="cuda").expand(40, 3)
    assert_close(
        value_and_gradients(ops.minibatch_l1_similarity, [f], grad),
        value_and_gradients(similarity.plain, [f.double()], grad.double()),
        2e-5,
    )
    tensors = norm_arguments(3, 8, 6, 6)
    tensors = [tensors[0][:, ::2, 1:], *(t[::2] for t in tensors[1:])]
    grad = torch.ones(1, device="cuda").expand(3, 4, 5, 6)
    exact = value_and_gradients(with_norm(function=norm.plain), [t.double() for t in tensors], grad.double())
    assert_close(value_and_gradients(with_norm(), tensors, grad), exact, 1e-4)


# --- derivatives --------------------------------------------------------------------------------------------


def test_derivatives_by_finite_differences():
    # In float32, so that it is the kernel that is differentiated: a wide step and a tolerance to match it,
    # and features on a lattice, so that no step crosses the kink of a distance.
    f = torch.randperm(24, generator=torch.Generator().manual_seed(0)).view(4, 3, 2).float().cuda() / 8
    options = dict(eps=1e-2, atol=1e-2, rtol=1e-2, nondet_tol=0.0)
    assert torch.autograd.gradcheck(ops.minibatch_l1_similarity, f.requires_grad_(), **options)
    assert torch.autograd.gradgradcheck(ops.minibatch_l1_similarity, f, **options)
    tensors = [t.requires_grad_() for t in norm_arguments(2, 3, 3, 3)]
    assert torch.autograd.gradcheck(with_norm(slope=1.0), tensors, **options)
    assert torch.autograd.gradgradcheck(with_norm(slope=1.0), tensors, **options)


def test_derivatives_by_finite_differences_in_float64_by_the_pytorch_form():
    f = features(5, 3, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(ops.minibatch_l1_similarity, f)
    assert torch.autograd.gradgradcheck(ops.minibatch_l1_similarity, f)
    tensors = [t.requires_grad_() for t in norm_arguments(2, 3, 2, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(with_norm(), tensors)
    assert torch.autograd.gradgradcheck(with_norm(), tensors)


def test_a_gradient_penalty_is_that_of_float64():
    def penalty(function, first, *rest):
        first = first.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(first, *rest).square().sum(), first, create_graph=True)
        return torch.autograd.grad(slope.square().mean(), first)[0]

    f = features(33, 7, 5)
    ours, exact = penalty(ops.minibatch_l1_similarity, f), penalty(similarity.plain, f.double())
    assert_close([ours], [exact], 1e-4)
    tensors = norm_arguments(3, 4, 5, 5)
    exact = penalty(with_norm(slope=1.0, function=norm.plain), *[t.double() for t in tensors])
    assert_close([penalty(with_norm(slope=1.0), *tensors)], [exact], 1e-3)


# --- as citizens of torch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_opcheck(dtype):
    f, grad = features(9, 3, 2, dtype=dtype).requires_grad_(), features(9, 3, dtype=dtype).requires_grad_()
    torch.library.opcheck(torch.ops.gan_ref.minibatch_l1_similarity, (f,))
    torch.library.opcheck(torch.ops.gan_ref.minibatch_l1_similarity_backward, (grad, f))
    for layout in LAYOUTS.values():
        tensors = [t.requires_grad_() for t in norm_arguments(3, 4, 5, 5, dtype=dtype, layout=layout)]
        torch.library.opcheck(torch.ops.gan_ref.virtual_batch_norm, (*tensors, 7, 1e-5, 0.2))
        saved = [torch.rand(3, 4, device="cuda") for _ in range(2)]
        grad = torch.ones_like(tensors[0]).requires_grad_()
        torch.library.opcheck(
            torch.ops.gan_ref.virtual_batch_norm_backward, (grad, *tensors, *saved, 7, 1e-5, 0.2)
        )


def test_compiles_without_a_graph_break():
    for function, tensors, grad in (
        (ops.minibatch_l1_similarity, [features(33, 7, 5)], features(33, 7, seed=1)),
        (with_norm(), norm_arguments(3, 4, 5, 5), features(3, 4, 5, 5, seed=1)),
    ):
        compiled = torch.compile(lambda *t, function=function: function(*t) * 2, fullgraph=True)
        expected = value_and_gradients(lambda *t, function=function: function(*t) * 2, tensors, grad)
        assert_close(value_and_gradients(compiled, tensors, grad), [e.double() for e in expected], 1e-5)


def test_captured_into_a_cuda_graph_and_replayed_on_other_numbers():
    for function, tensors, grad in (
        (ops.minibatch_l1_similarity, [features(33, 7, 5)], features(33, 7, seed=1)),
        (with_norm(), norm_arguments(3, 4, 5, 5), features(3, 4, 5, 5, seed=1)),
    ):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            value_and_gradients(function, tensors, grad)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = value_and_gradients(function, tensors, grad)
        tensors[0].mul_(0.5).add_(0.1)
        graph.replay()
        expected = value_and_gradients(function, tensors, grad)
        assert all(torch.equal(a, b) for a, b in zip(captured, expected))


def test_runs_on_the_current_stream():
    f, x = features(512, 50, 5), norm_arguments(64, 64, 32, 32)
    expected = ops.minibatch_l1_similarity(f * 2), with_norm()(x[0] * 2, *x[1:])
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)  # a kernel on another stream would run before these inputs are there
        ours = ops.minibatch_l1_similarity(f * 2), with_norm()(x[0] * 2, *x[1:])
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(ours, expected))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_runs_on_the_device_of_its_input_and_not_on_the_current_one():
    with torch.cuda.device(0):
        f, tensors = features(33, 7, 5, device="cuda:1"), norm_arguments(3, 4, 5, 5, device="cuda:1")
        out, y = ops.minibatch_l1_similarity(f), with_norm()(*tensors)
        assert torch.cuda.current_device() == 0
    assert out.device == y.device == torch.device("cuda:1")
    assert_close([out], [similarity.plain(f.double())], 2e-5)
    assert_close([y], [with_norm(function=norm.plain)(*[t.double() for t in tensors])], 2e-5)


def test_an_argument_on_another_device_is_named():
    x, mean, *others = norm_arguments(3, 4, 5, 5)
    with pytest.raises(ValueError, match="reference_mean must be on the device of x"):
        with_norm()(x, mean.cpu(), *others)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast(dtype):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1, bias=False),
        VirtualBatchNorm2d(16, negative_slope=0.2),
        torch.nn.Flatten(),
        MinibatchDiscrimination(16 * 64, 10, 5),
    ).cuda()
    reference, x = features(8, 3, 8, 8), features(5, 3, 8, 8, seed=1)
    set_reference(network, reference)
    expected = network(x)
    with torch.autocast("cuda", dtype):
        set_reference(network, reference)
        out = network(x)
    assert (out - expected).abs().max() < 0.1
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in network.parameters())


def test_layers_compiled_with_a_reference_pass():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), VirtualBatchNorm2d(8, negative_slope=0.2)).cuda()
    reference, x = features(8, 3, 8, 8), features(5, 3, 8, 8, seed=1)
    set_reference(network, reference)
    expected = network(x)
    compiled = torch.compile(network, fullgraph=True)
    with reference_pass(network):
        compiled(reference)
    assert_close([compiled(x)], [expected.double()], 1e-3)


def test_memory_of_the_similarity_does_not_grow_with_pairs():
    f = features(2048, 64, 5).requires_grad_()  # the distances would be 1 GB
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ops.minibatch_l1_similarity(f).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 32 * f.numel() * 4


# --- under compute-sanitizer --------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer_finds_nothing(tool):
    nvcc = Path(build.find_nvcc() or "").resolve()
    sanitizer = shutil.which(
        "compute-sanitizer", path=f"{nvcc.parent}:/usr/local/cuda/bin:{os.environ['PATH']}"
    )
    if not sanitizer:
        pytest.skip("compute-sanitizer is not installed")
    program = """
import torch
from gan_ref import ops
for dtype in (torch.float32, torch.bfloat16):
    f = torch.randn(67, 7, 5, device="cuda", dtype=dtype, requires_grad=True)
    ops.minibatch_l1_similarity(f).sum().backward()
    for shape in ((3, 5, 7, 3), (2, 33, 16, 16), (1, 3, 65, 67)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device="cuda", dtype=dtype).contiguous(memory_format=layout)
            channels = [torch.rand(shape[1], device="cuda", requires_grad=True) for _ in range(4)]
            ops.virtual_batch_norm(x.requires_grad_(), *channels, 7, negative_slope=0.2).sum().backward()
torch.cuda.synchronize()
"""
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--kernel-regex", "kns=gan_ref"]
    environment = {**os.environ, "GAN_REF_KERNELS": "cuda", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command += [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=540)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
