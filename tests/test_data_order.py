"""The order of the samples: every one once an epoch, a function of (seed, position) and of nothing else."""

import os
import time

import numpy as np
import pytest
import torch

import gan_ref.data.batches as batches_module
from gan_ref.data import Batches, Dataset, open_dataset
from gan_ref.data.partly import PartlyLabelled, hold_out
from gan_ref.errors import UserError


def images(count: int = 100, channels: int = 3) -> Dataset:
    """Samples that tell their own number, and their left from their right."""
    samples = np.zeros((count, 16, 16, channels), np.uint8)
    samples[:, :, 0] = np.arange(count)[:, None, None]
    samples[:, :, -1] = 255
    return Dataset("numbered", samples, np.arange(count), tuple(map(str, range(count))), flip=True)


def order(size: int, epochs: int, seed: int, batch_size: int = 7) -> torch.Tensor:
    """The order of the samples in each of the first epochs: (epochs, size)."""
    stream = Batches(images(size), batch_size, seed)
    drawn = torch.cat([labels_of(stream.next()) for _ in range(-(-size * epochs // batch_size))])
    return drawn[: size * epochs].view(epochs, size)


def labels_of(batch: tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
    assert batch[1] is not None
    return batch[1]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 200])
def test_each_epoch_holds_each_sample_once(size):
    for epoch in order(size, 4, seed=7):
        assert torch.equal(epoch.sort().values, torch.arange(size))


def test_orders_differ_between_epochs_and_seeds():
    orders = [epoch for seed in (0, 1, -5) for epoch in order(200, 2, seed)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).float().mean() < 0.06  # 1 in 200 expected by chance


def test_all_orders_of_a_few_samples_are_equally_likely():
    _, counts = torch.unique(order(4, 2400, seed=0), dim=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 100) ** 2 / 100).sum() < 58  # chi-square, 23 degrees of freedom: 1 in 10,000


def test_a_batch_is_found_alone_as_after_all_before_it():
    together, alone = Batches(images(), 7, seed=2, flip=True), Batches(images(), 7, seed=2, flip=True)
    batches = [together.next() for _ in range(60)]
    for number in (59, 0, 14, 15, 40):  # 14 lies across two epochs
        alone.load_state_dict({"drawn": number})
        x, labels = alone.next()
        assert torch.equal(x, batches[number][0]) and torch.equal(labels, batches[number][1])


@pytest.mark.parametrize("drawn", [-1, 10**15 + 1, 1.0, True, "3", None])
def test_a_state_that_no_stream_can_have_is_refused(drawn):
    stream = Batches(images(), 7, seed=2)
    with pytest.raises(ValueError, match="batches drawn"):
        stream.load_state_dict({"drawn": drawn})
    with pytest.raises(ValueError, match="batches drawn"):
        stream.load_state_dict({})
    stream.load_state_dict({"drawn": 10**15})
    assert len(labels_of(stream.next())) == 7


def test_images_become_channels_last_floats_from_minus_one_to_one():
    x, labels = Batches(images(), 8, seed=0).next()
    assert x.shape == (8, 3, 16, 16) and x.dtype == torch.float32 and labels.dtype == torch.int64
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x[:, :, :, -1], torch.ones(8, 3, 16))
    assert torch.equal(x[:, 0, 0, 1], -torch.ones(8))
    assert torch.allclose((x[:, 0, 0, 0] + 1) * 127.5, labels.float(), atol=1e-4)


def test_points_pass_unscaled():
    data = open_dataset("ring8")
    x, labels = Batches(data, 64, seed=0, flip=True).next()
    assert x.shape == (64, 2) and x.dtype == torch.float32
    distance = (x.double() - torch.from_numpy(data.means)[labels]).norm(dim=1)
    assert distance.max() < 6 * data.sigma


def test_batches_run_on_across_epochs_even_when_the_data_is_smaller_than_one():
    stream = Batches(images(3), 8, seed=0)
    labels = torch.cat([stream.next()[1] for _ in range(6)])
    assert torch.bincount(labels).tolist() == [16, 16, 16]
    assert all(sorted(epoch.tolist()) == [0, 1, 2] for epoch in labels.view(-1, 3))


def test_half_of_the_samples_are_flipped_and_the_others_are_not():
    stream = Batches(images(), 100, seed=0, flip=True)
    x = torch.cat([stream.next()[0] for _ in range(20)])
    mirrored = x[:, 0, 0, 0] == 1
    assert 0.45 < mirrored.float().mean() < 0.55
    assert torch.equal(x[~mirrored][:, 0, 0, -1], torch.ones(int((~mirrored).sum())))


def test_a_stream_resumes_at_the_number_it_had_drawn():
    stream = Batches(images(), 7, seed=4, flip=True)
    for _ in range(5):
        stream.next()
    state = stream.state_dict()
    expected = [stream.next() for _ in range(3)]
    assert state == {"drawn": 5}
    resumed = Batches(images(), 7, seed=4, flip=True)
    resumed.next()
    resumed.load_state_dict(state)
    for x, labels in expected:
        again, again_labels = resumed.next()
        assert torch.equal(x, again) and torch.equal(labels, again_labels)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_see_what_one_process_sees(world):
    one = Batches(images(), 12, seed=1, flip=True)
    ranks = [Batches(images(), 12, seed=1, flip=True, rank=rank, world=world) for rank in range(world)]
    for _ in range(20):
        x, labels = one.next()
        parts = [rank.next() for rank in ranks]
        assert torch.equal(x, torch.cat([part[0] for part in parts]))
        assert torch.equal(labels, torch.cat([part[1] for part in parts]))


def test_a_reference_batch_is_fixed_and_leaves_the_order_alone():
    stream, other = Batches(images(), 10, seed=3), Batches(images(), 10, seed=3, rank=1, world=2)
    first, labels = stream.take(150)
    assert len(first) == 150 and len(torch.unique(labels)) == 100
    stream.next()
    assert torch.equal(first, stream.take(150)[0]) and torch.equal(first, other.take(150)[0])
    assert stream.state_dict() == {"drawn": 1}
    assert not torch.equal(stream.take(10)[1], Batches(images(), 10, seed=4).take(10)[1])


def test_a_stream_with_few_labels_resumes_where_it_was():
    first, second = (PartlyLabelled(images(), 1, 10, 0, torch.device("cpu"), flip=True) for _ in range(2))
    expected = [first.next() for _ in range(5)][-1]
    second.load_state_dict({"drawn": 4})
    x, labels = second.next()
    assert torch.equal(x, expected[0]) and torch.equal(labels, expected[1]) and len(x) == 20


def test_data_without_labels_cannot_show_some_of_them():
    plain = Dataset("plain", images().samples)
    with pytest.raises(UserError, match="plain has no labels"):
        hold_out(plain)
    with pytest.raises(UserError, match="plain has no labels"):
        PartlyLabelled(plain, 1, 10, 0, torch.device("cpu"), flip=False)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        Batches(images(), 10, seed=0, world=3)
    with pytest.raises(ValueError, match="batch_size"):
        Batches(images(), 0, seed=0)


def own_bytes() -> int:
    """Memory of this process alone: without the pages of mapped files, which the system can take back."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


@pytest.mark.full
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_five_million_images_open_at_once_and_do_not_fill_the_memory(tmp_path):
    path = tmp_path / "many.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (5_000_000, 64, 64, 3)}
        )
        file.truncate(file.tell() + 5_000_000 * 64 * 64 * 3)  # 61 GB of holes
    start = time.process_time()
    data = open_dataset(str(path), image_size=64)
    stream = Batches(data, 128, seed=0)
    stream.next()
    assert time.process_time() - start < 2
    before = own_bytes()
    for _ in range(150):  # touches 300 MB of pages
        x, _ = stream.next()
    assert x.shape == (128, 3, 64, 64) and (x == -1).all()
    assert own_bytes() - before < 200e6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("source", ["images", "ring8"])
def test_the_gpu_sees_what_the_cpu_sees(resident, source, monkeypatch):
    monkeypatch.setattr(batches_module, "fits_on", lambda device, size: resident)
    data = images() if source == "images" else open_dataset("ring8")
    cpu, gpu = Batches(data, 24, seed=1, flip=True), Batches(data, 24, seed=1, flip=True, device="cuda")
    for step in range(600):
        if step == 300:
            gpu.load_state_dict({"drawn": 1000})
            cpu.load_state_dict({"drawn": 1000})
        (x, labels), (y, gpu_labels) = cpu.next(), gpu.next()
        assert y.is_cuda and torch.equal(labels, gpu_labels.cpu())
        torch.testing.assert_close(x, y.cpu(), rtol=0, atol=1e-6)
    torch.testing.assert_close(cpu.take(50)[0], gpu.take(50)[0].cpu(), rtol=0, atol=1e-6)
