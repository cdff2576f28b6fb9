"""Learning from few labels: what D is told, what its score means, and that no other labels are used."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toys import Linear, Spy, normal, play

from gan_ref.commands import evaluate
from gan_ref.commands.train import main
from gan_ref.data.dataset import Dataset
from gan_ref.data.partly import PartlyLabelled, choose_labelled, hold_out
from gan_ref.errors import UserError
from gan_ref.networks import improved
from gan_ref.networks.output import Output
from gan_ref.run import error_rate
from gan_ref.techniques.objectives import SemiSupervised, SemiSupervisedMinimax


def marked(count: int = 60, classes: int = 3) -> Dataset:
    """Images whose every pixel is their own number."""
    samples = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2)
    names = tuple("abcdefghij"[:classes])
    return Dataset("marked", samples, np.arange(count) % classes, names)


def output(logits: torch.Tensor) -> Output:
    return improved.classify(logits, logits)


def test_the_score_is_the_log_odds_of_k_classes_against_a_fake_logit_of_0():
    logits = torch.randn(5, 4, dtype=torch.float64)
    with_fake = torch.cat([logits, torch.zeros(5, 1)], dim=1).softmax(dim=1)
    assert torch.allclose(torch.sigmoid(output(logits).scores), 1 - with_fake[:, -1])


def test_the_loss_is_that_of_k_plus_1_classes():
    """Salimans et al. 2016, §5, written out with the (K+1)-class softmax, halves as in the authors' code."""
    torch.manual_seed(0)
    unlabelled, labelled, fake = (torch.randn(n, 4, dtype=torch.float64) for n in (6, 3, 6))
    labels = torch.tensor([0, 3, 1])

    def p(logits):  # (N, K+1)
        return torch.cat([logits, torch.zeros(len(logits), 1)], dim=1).softmax(dim=1)

    among_k = p(labelled)[:, :4] / (1 - p(labelled)[:, 4:])
    supervised = -among_k[torch.arange(3), labels].log().mean()
    unsupervised = -0.5 * (1 - p(unlabelled)[:, 4]).log().mean() - 0.5 * p(fake)[:, 4].log().mean()
    real = output(torch.cat([unlabelled, labelled]))
    loss = SemiSupervised().d_loss(real, output(fake), labels)
    assert torch.allclose(loss, supervised + unsupervised)
    alone = SemiSupervised(unlabelled=0.0).d_loss(real, output(fake), labels)
    assert torch.allclose(alone, F.cross_entropy(labelled, labels))


@pytest.mark.parametrize("separate", [True, False])
def test_g_matches_the_features_of_the_unlabelled_samples(separate):
    critic = Linear(1.0, -2.0)  # its features are what it sees
    critic.separate = separate
    game = play(critic, objective=SemiSupervised())
    unlabelled, labelled, fake = normal(6, 2), normal(3, 2, seed=1), normal(6, 2, seed=2)
    expected = (unlabelled.mean(0) - fake.mean(0)).square().sum()
    assert torch.allclose(game.g_loss(torch.cat([unlabelled, labelled]), fake).loss, expected)


def test_the_minimax_g_minimises_the_log_of_being_called_fake():
    """Of K + 1 classes, log p(fake | G(z)), with its gradient (Goodfellow et al. 2014, eq. 1)."""
    logits = torch.randn(5, 4, dtype=torch.float64)
    fake = torch.cat([logits, torch.zeros(5, 1)], dim=1).log_softmax(dim=1)[:, -1]
    assert torch.allclose(SemiSupervisedMinimax().g_loss(None, output(logits)), fake.mean())


def test_a_sample_is_compared_with_as_many_others_whether_it_is_labelled_or_not():
    """x_lab, x_unl and G(z) pass through D one after the other, as in the authors' code."""
    critic = Spy(1.0, -2.0)
    game = play(critic, objective=SemiSupervisedMinimax())
    unlabelled, labelled, fake = normal(3, 2), normal(3, 2, seed=1), normal(3, 2, seed=2)
    real, generated = game._discriminate_both(torch.cat([unlabelled, labelled]), fake, None, None)
    assert all(seen.equal(x) for seen, x in zip(critic.seen, (unlabelled, labelled, fake)))
    assert real.scores.equal(Linear(1.0, -2.0)(torch.cat([unlabelled, labelled])).scores)
    assert len(critic.seen) == 3 and len(generated.scores) == 3


def test_the_test_error_is_of_batches_like_those_of_training():
    sizes = []

    class Compares(torch.nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return output(F.one_hot((x[:, 0, 0, 0] > 0).long(), 2).double())

    images = torch.arange(0, 250, 10, dtype=torch.uint8).view(25, 1, 1, 1)
    labels = (images.flatten() > 127).long()
    assert error_rate(Compares(), images, labels, 10) == 0 and sizes == [10, 10, 10]
    assert error_rate(Compares(), images, 1 - labels, 10) == 1


def test_labels_are_drawn_by_class_and_seed():
    data = marked()
    chosen = choose_labelled(data, per_class=4, seed=1)
    assert np.bincount(data.labels[chosen]).tolist() == [4, 4, 4] and len(set(chosen)) == 12
    assert np.array_equal(chosen, choose_labelled(data, 4, seed=1))
    assert not np.array_equal(chosen, choose_labelled(data, 4, seed=2))
    with pytest.raises(UserError, match="only 20"):
        choose_labelled(data, 21, seed=0)
    with pytest.raises(UserError, match="no labels"):
        choose_labelled(Dataset("plain", data.samples), 1, seed=0)


def test_only_the_chosen_labels_are_ever_seen():
    data = marked()
    allowed = set(choose_labelled(data, 2, seed=3))
    batches = PartlyLabelled(data, 2, 10, seed=3, device=torch.device("cpu"), flip=False)
    seen, labelled = set(), set()
    for _ in range(30):
        x, labels = batches.next()
        number = ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert len(x) == 20 and len(labels) == 10
        seen |= set(number[:10])
        labelled |= set(number[10:])
        assert [data.labels[k] for k in number[10:]] == labels.tolist()
    assert labelled == allowed and seen == set(range(60))


def test_held_out_samples_are_a_tenth_and_disjoint():
    train, test = hold_out(marked())
    both = np.concatenate([train.samples[:, 0, 0, 0], test.samples[:, 0, 0, 0]])
    assert len(test) == 6 and sorted(both) == list(range(60))
    assert np.array_equal(test.labels, test.samples[:, 0, 0, 0] % 3)


def test_data_dependent_initialisation_gives_every_logit_unit_variance():
    from gan_ref.layers import data_dependent_init

    torch.manual_seed(0)
    d = improved.DenseDiscriminator(16, 1, num_classes=5, width=64)
    x = torch.rand(400, 1, 16, 16) * 2 - 1
    with data_dependent_init(d):
        logits = d(x).logits
    assert torch.allclose(logits.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(logits.std(0, correction=0), torch.ones(5), atol=1e-3)


@pytest.mark.parametrize(
    "network", [improved.DenseDiscriminator(32, 3, 10), improved.ConvDiscriminator(3, 10)]
)
def test_a_samples_logits_are_its_own(network):
    network.eval()
    x = torch.randn(4, 3, 32, 32)
    assert torch.allclose(network(x).logits[:1], network(x[:1]).logits, atol=1e-5)


def test_a_run_reports_its_test_error_resumes_and_draws_samples(tmp_path, capsys):
    """Three classes, a bright third each, in noise: two labels a class are enough."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    bright = np.arange(16) // 5 == labels[:, None]  # (300, 16)
    images = np.clip(40 + 150 * bright[:, None] + rng.normal(0, 20, (300, 16, 16)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "grays.npz", images=images, labels=labels)
    flags = ["--recipe", "semi-supervised", "--data", str(tmp_path / "grays.npz"), "--image-size", "16",
             "--labels-per-class", "2", "--width", "32", "--d-width", "64", "--batch-size", "30",
             "--lr-d", "3e-3", "--sample-every", "20", "--no-walk"]  # fmt: skip
    assert main([*flags, "--out", str(tmp_path / "a"), "--steps", "60"]) == 0
    assert main([*flags, "--out", str(tmp_path / "b"), "--steps", "30"]) == 0
    assert main(["--resume", str(tmp_path / "b"), "--steps", "60"]) == 0
    errors = {
        name: [row["test_error"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
               if "test_error" in (row := json.loads(line))]
        for name in "ab"
    }  # fmt: skip
    assert errors["a"][-1] == errors["b"][-1] <= 0.05
    assert (tmp_path / "a" / "samples" / "000060.png").read_bytes() == (
        tmp_path / "b" / "samples" / "000060.png"
    ).read_bytes()
    assert evaluate.main([str(tmp_path / "a"), "--samples", "20"]) == 0
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["test_error"] == errors["a"][-1] and report["labels_per_class"] == 2
    assert "test error" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    ["--recipe semi-supervised --data ring8", "--recipe semi-supervised --labels-per-class 0",
     "--labels-per-class 10", "--objective SemiSupervised"],
)  # fmt: skip
def test_what_does_not_go_together_says_so(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    assert main(flags.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())
