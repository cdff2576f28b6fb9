"""What each player minimises, given D's scores s(x) = D(x) before any sigmoid (larger is more real).

An objective is an nn.Module, so that its state (Fisher's multiplier) is part of a checkpoint. The score above
which D "calls" a sample real, ``threshold``, is used for the monitoring curves only. It is None for critics
whose scores have no absolute meaning; then the midpoint of the two means is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.networks.output import Output
from gan_ref.techniques.game import Objective, Player, Turn

# ---------------------------------------------------------------- cross entropies


class NonSaturating(nn.Module, Objective):
    """The original game with the generator's practical loss (Goodfellow et al. 2014, §3).

    L_D = −E log σ(s(x)) − E log(1 − σ(s(G(z)))),   L_G = −E log σ(s(G(z))).

    ``real_label`` below 1 is one-sided label smoothing (Salimans et al. 2016, §3.4: 0.9): D's target for
    reals alone becomes α, so that its optimum is α·p_data / (p_data + p_model). Targets for fakes stay 0 (a
    positive one would add p_model to the numerator and reward G's mistakes).

    The other three are tips from practice (ganhacks, Chintala et al. 2016, no. 6), and off by default. For
    each sample anew, D's targets move towards the other label by U(0, ``spread``), and are exchanged,
    t → 1 − t, with probability ``flip``. ``g_label`` below 1 is G's target, at which it stops to push a score
    up (0.375 in the code of Salimans et al. 2016 for ImageNet).
    """

    log_odds = True

    def __init__(self, real_label: float = 1.0, g_label: float = 1.0, spread: float = 0.0, flip: float = 0.0):
        super().__init__()
        for name, value in (("real_label", real_label), ("g_label", g_label)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is a probability above 0, not {value}")
        for name, value in (("spread", spread), ("flip", flip)):
            if not 0 <= value <= 0.5:
                raise ValueError(f"{name} is from 0 to 0.5, not {value}")
        self.real_label, self.g_label, self.spread, self.flip = real_label, g_label, spread, flip

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        on_reals = _to_one(real.scores, self.target(real.scores, self.real_label))
        on_fakes = _to_one(-fake.scores, 1 - self.target(fake.scores, 0.0))
        return on_reals.mean() + on_fakes.mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return _to_one(fake.scores, self.g_label).mean()

    def target(self, scores: Tensor, label: float) -> Tensor | float:
        """D's target for each of the scores (N,), all of whose samples have this label."""
        if not (self.spread or self.flip):
            return label
        u, coin = torch.rand((2, len(scores)), generator=self.rng, device=scores.device)
        moved = label + self.spread * (u if label < 0.5 else -u)
        return torch.where(coin < self.flip, 1 - moved, moved)


def _to_one(scores: Tensor, target: Tensor | float) -> Tensor:
    """The cross entropy of σ(s) with a target t, exact where t is near 1: softplus(−s) + (1 − t)·s."""
    return F.softplus(-scores) + (1 - target) * scores


class Minimax(NonSaturating):
    """The zero-sum game (Goodfellow et al. 2014, eq. 1): L_G = −L_D, which saturates where D is sure of a
    fake.

    The part on the reals moves G only where D depends on G, as it does when D is unrolled.
    """

    g_sees_reals = True

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        assert real is not None
        return -self.d_loss(real, fake)


def feature_distance(real: Tensor, fake: Tensor) -> Tensor:
    """‖E f(x) − E f(G(z))‖²₂ of features (N, F): the distance of the batches' mean features, squared."""
    return (real.mean(dim=0) - fake.mean(dim=0)).square().sum()


class FeatureMatching(NonSaturating):
    """G matches the mean of D's features instead of fooling D (Salimans et al. 2016, §3.1).

    L_G = ‖E f(x) − E f(G(z))‖²₂, where f is the layer before D's last. D's loss is the original one. The
    penalty FeatureMatchingTerm adds the same term to an adversarial loss of G. (This is the paper's equation.
    The authors' code takes means over F, of squares for MNIST and of absolute differences for CIFAR-10.)
    """

    g_sees_reals = True

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        assert real is not None
        return feature_distance(real.features, fake.features)


class SemiSupervised(FeatureMatching):
    """Classification with K labels, few of them seen, and "fake" one more class (Salimans et al. 2016, §5).

    With the fake logit fixed at 0 and D's score log Z = log Σ exp lₖ, D(x) = Z/(Z + 1) is σ of the score, and

        L_D = −E log p(y|x, y ≤ K) on labelled reals + w·½(−E log D(x) − E log(1 − D(G(z)))) on the others,

    and L_G is feature matching. A batch of reals holds N samples without labels, as many as there are fakes,
    and then the labelled ones, which G does not see: see PartlyLabelled. ½ and w = 1 are those of the
    authors' code.
    """

    def __init__(self, unlabelled: float = 1.0):
        super().__init__()
        self.unlabelled = unlabelled

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        assert real.logits is not None and labels is not None
        n = len(fake.scores)
        supervised = F.cross_entropy(real.logits[n:], labels)
        adversarial = F.softplus(-real.scores[:n]).mean() + F.softplus(fake.scores).mean()
        return supervised + self.unlabelled * 0.5 * adversarial


class SemiSupervisedMinimax(SemiSupervised):
    """SemiSupervised with L_G = E log(1 − D(G(z))) in place of feature matching (Salimans et al. 2016, §6).

    The authors' code plays it with minibatch discrimination. D(x) = σ(s) is the probability that x is real,
    and so L_G = −E softplus(s(G(z))).
    """

    g_sees_reals = False

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -F.softplus(fake.scores).mean()


# ---------------------------------------------------------------- other distances between the scores


class LeastSquares(nn.Module, Objective):
    """Regression of the score on a label (Mao et al. 2017, LSGAN, eqs. 2 and 9: a = 0, b = c = 1).

    L_D = ½E(s(x) − b)² + ½E(s(G(z)) − a)²,   L_G = ½E(s(G(z)) − c)².

    (a, b, c) = (−1, 1, 0), their eq. 8, minimises a Pearson χ² divergence.
    """

    def __init__(self, a: float = 0.0, b: float = 1.0, c: float = 1.0):
        super().__init__()
        self.a, self.b, self.c = a, b, c
        self.threshold = (a + b) / 2

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return 0.5 * (real.scores - self.b).square().mean() + 0.5 * (fake.scores - self.a).square().mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return 0.5 * (fake.scores - self.c).square().mean()


class Relativistic(nn.Module, Objective):
    """D compares reals with fakes, pair by pair (Jolicoeur-Martineau 2019, RGAN; Huang et al. 2024, R3GAN).

    L_D = E softplus(−(s(x) − s(G(z)))),   L_G = E softplus(−(s(G(z)) − s(x))).

    D cannot lower its loss by moving all scores, and a G that fakes only a part of the data still loses to
    the reals that it leaves out (Huang et al., §2.2). Pair i is real i and fake i of the batch.
    """

    g_sees_reals = True
    threshold = None  # only differences of scores have a meaning

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return F.softplus(fake.scores - real.scores).mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        assert real is not None
        return F.softplus(real.scores - fake.scores).mean()


class Hinge(nn.Module, Objective):
    """L_D = E max(0, 1 − s(x)) + E max(0, 1 + s(G(z))), L_G = −E s(G(z)) (Miyato et al. 2018, eqs. 16–17)."""

    threshold = None  # inside the margin the loss fixes no zero: all scores may lie on one side of 0

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return F.relu(1 - real.scores).mean() + F.relu(1 + fake.scores).mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -fake.scores.mean()


class Wasserstein(nn.Module, Objective):
    """L_D = E s(G(z)) − E s(x),   L_G = −E s(G(z))  (Arjovsky et al. 2017, Algorithm 1).

    −L_D estimates the earth mover's distance, up to a constant factor, while s is Lipschitz. The penalty
    WeightClip or GradientPenalty keeps it so.
    """

    threshold = None

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return fake.scores.mean() - real.scores.mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -fake.scores.mean()


class Fisher(Wasserstein):
    """The mean difference under a constraint on second moments (Mroueh & Sercu 2017, Fisher GAN, eq. 9).

    L_D = −(Ê + λ(1 − Ω) − (ρ/2)(1 − Ω)²),   Ê = E s(x) − E s(G(z)),   Ω = ½E s(x)² + ½E s(G(z))².

    This is the augmented Lagrangian of Ω = 1. D ascends it, and after each of D's steps the multiplier
    descends, λ ← λ − ρ(1 − Ω) (Algorithm 1, with ρ = 1e-6 and λ = 0 at first). λ is a buffer and not a
    parameter, because it has neither the optimizer nor the rate of D.
    """

    multiplier: Tensor

    def __init__(self, rho: float = 1e-6):
        super().__init__()
        self.rho = rho
        self.register_buffer("multiplier", torch.zeros(()))

    def slack(self, real: Output, fake: Output) -> Tensor:
        """1 − Ω, which training drives to 0."""
        return 1 - 0.5 * (real.scores.square().mean() + fake.scores.square().mean())

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        slack = self.slack(real, fake)
        # A copy, because λ moves in place, perhaps before another player's backward has used it.
        lagrangian = self.multiplier.clone() * slack - self.rho / 2 * slack.square()
        return super().d_loss(real, fake) - lagrangian

    @torch.no_grad()
    def after_step(self, player: Player, turn: Turn) -> None:
        assert turn.real_output is not None
        self.multiplier -= self.rho * self.slack(turn.real_output, turn.fake_output)


# ---------------------------------------------------------------- energies


def pulling_away(codes: Tensor) -> Tensor:
    """Codes S (N, F) → 1/(N(N−1)) Σᵢ Σ_{j≠i} cos²(Sᵢ, Sⱼ)  (Zhao et al. 2017, §2.4)."""
    count = len(codes)
    unit = F.normalize(codes, dim=1)
    # each ‖Sᵢ‖ is 1, and so the diagonal of the (N, N) matrix of squared cosines sums to N
    return ((unit @ unit.T).square().sum() - count) / (count * (count - 1))


class EnergyBased(nn.Module, Objective):
    """D is an autoencoder, its score minus the reconstruction error E(x) (Zhao et al. 2017, EBGAN, §2).

    L_D = E[E(x)] + E[max(0, m − E(G(z)))],   L_G = E[E(G(z))] + w·f_PT,   E(x) = ‖Dec(Enc(x)) − x‖₂.

    f_PT is the pulling-away term on the codes Enc(G(z)), with w = 0.1. The margin m is a Euclidean distance
    between images, and grows with the square root of their number of pixels. The paper takes 10 for MNIST
    (§4.1; the default here), 20 for CelebA and 80 for LSUN at 64×64.
    """

    threshold = None

    def __init__(self, margin: float = 10.0, pulling_away: float = 0.1):
        super().__init__()
        self.margin, self.pulling_away = margin, pulling_away

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return -real.scores.mean() + F.relu(self.margin + fake.scores).mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -fake.scores.mean() + self.pulling_away * pulling_away(fake.features)
