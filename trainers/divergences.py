"""Regularizers that compare the policy's actions at a state with the data's, or with a behaviour model's.

The behaviour model is a policy of any class, trained beside by its own behaviour-cloning loss; nothing but that loss
moves it. Axes: S seeds, B batch, n samples, A action.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import OptionError, nested, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from policies.base import Policy, PolicyConfig, TractablePolicy, repeated
from trainers.kernels import KERNELS, energy_distance, mmd_squared
from trainers.penalty import Penalty, Regularizer, RegularizerConfig

#: actions at the very edge of the box have no finite preimage under tanh
EDGE = 1 - 1e-6
#: the logarithm of a learned multiplier stays within these (BEAR, as released)
LOG_MULTIPLIER_MIN, LOG_MULTIPLIER_MAX = -5.0, 10.0
#: keeps the slope of the square root finite where the samples are equal (BEAR, as released)
ROOT_EPSILON = 1e-6


@dataclass(frozen=True)
class SampleDivergence(RegularizerConfig):
    """A distance between n actions of the policy and the data's action, or n actions of a behaviour model."""

    needs_reparameterised = True

    samples: int = option(10, "actions of the policy, and of the behaviour model, for each state (n)", at_least=1)
    against: str = option(
        "data",
        "compare with the data's one action for each state, or a behaviour model's n",
        choices=("data", "behaviour"),
    )
    behaviour: PolicyConfig | None = nested(
        None,
        "policy class of the behaviour model trained beside",
        part="policy",
        accepts=lambda config: config is None or not (config.builds.improvement_only or config.follows_average),
        needs="a policy class that behaviour cloning trains entirely, without an average of it",
        name="cvae",
    )

    @property
    def needs_behaviour(self) -> bool:
        return self.against == "behaviour"

    @abstractmethod
    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Between two samples for each state: `[S, B, n, A]`, `[S, B, m, A]` -> `[S, B]`."""

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        if not self.needs_behaviour:
            return self
        return AgainstBehaviour(self, build_behaviour(self.behaviour, spec, network, init))

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        ours = policy.sample_each(batch.obs, self.samples, rng)
        return Penalty(self.distance(ours, batch.act[:, :, None]))


class AgainstBehaviour(nn.Module):
    """A `SampleDivergence` from a behaviour model, which it owns."""

    def __init__(self, config: SampleDivergence, behaviour: Policy):
        super().__init__()
        self.config, self.behaviour = config, behaviour

    def forward(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        ours = policy.sample_each(batch.obs, self.config.samples, rng)
        with torch.no_grad():
            theirs = self.behaviour.sample_each(batch.obs, self.config.samples, rng)
        return Penalty(self.config.distance(ours, theirs), self.behaviour.bc_loss(batch.obs, batch.act, rng))


@dataclass(frozen=True)
class MMD(SampleDivergence):
    """Maximum mean discrepancy, in the two conventions its authors mean by one and the same "sigma".

    - bear (arXiv 1906.00949, as released): exp(-|d|_1 / (2 sigma)) or exp(-|d|_2^2 / (2 sigma)), sqrt(MMD^2 + 1e-6);
    - brac (arXiv 1911.11361, as released): exp(-|d|_1 / sigma), MMD^2 itself; BRAC has no Gaussian kernel, and here it
      reads sigma in the same way, exp(-|d|_2^2 / sigma).

    Against the data there is one action for each state; BEAR and BRAC themselves compare with a behaviour model.
    `pre_tanh` compares atanh of the actions, as BEAR does, so that the gradient does not die where tanh is flat; of a
    policy whose samples are bounded otherwise it is the same stretching of the box. Beyond |a| = 1 - 1e-6 it is flat.

    `multiplier = "learned"`: alpha * MMD, log alpha a parameter ascending alpha * (MMD - threshold) (BEAR).
    """

    kernel: str = option("laplacian", "kernel of the mean embedding", choices=tuple(KERNELS))
    convention: str = option(
        "bear", "whose meaning of bandwidth, and whether the root is taken", choices=("bear", "brac")
    )
    bandwidth: float = option(20.0, "of the kernel (sigma), as the convention reads it", above=0)
    pre_tanh: bool = option(False, "compare the actions before tanh: atanh of them")
    multiplier: str = option("fixed", "coef alone, or a learned multiplier beside it", choices=("fixed", "learned"))
    threshold: float = option(0.05, "the MMD a learned multiplier holds the policy to", above=0)

    @property
    def learns(self) -> bool:
        return self.needs_behaviour or self.multiplier == "learned"

    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.pre_tanh:
            ours, theirs = (torch.atanh(actions.clamp(-EDGE, EDGE)) for actions in (ours, theirs))
        scale = 2 * self.bandwidth if self.convention == "bear" else self.bandwidth
        squared = mmd_squared(ours, theirs, KERNELS[self.kernel], scale)
        return (squared + ROOT_EPSILON).sqrt() if self.convention == "bear" else squared

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        plain = super().build(spec, network, init)
        return LearnedMultiplier(plain, self.threshold, len(init)) if self.multiplier == "learned" else plain


class LearnedMultiplier(nn.Module):
    """alpha * penalty, each seed's alpha rising while its mean penalty exceeds the threshold: dual ascent."""

    def __init__(self, penalty: Regularizer, threshold: float, seeds: int):
        super().__init__()
        self.penalty, self.threshold = penalty, threshold
        self.log_multiplier = nn.Parameter(torch.zeros(seeds, 1))

    def forward(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        # clipped where it is stored, not where it is read: beyond a bound it must still feel the way back
        with torch.no_grad():
            self.log_multiplier.clamp_(LOG_MULTIPLIER_MIN, LOG_MULTIPLIER_MAX)
        value, own, _ = self.penalty(policy, batch, rng)
        multiplier = self.log_multiplier.exp()
        dual = -multiplier * (value.detach() - self.threshold)
        return Penalty(value, dual if own is None else own + dual, multiplier.detach())


@dataclass(frozen=True)
class EnergyDistance(SampleDivergence):
    """2 E|x - y| - E|x - x'| - E|y - y'| between the policy's actions x and y, the data's or a behaviour model's.

    By default over distinct pairs: then the data's single action for each state is enough for the best policy to be
    the behaviour itself. Over all pairs a small n favours policies narrower than the data. No scale to choose.
    """

    pairs: str = option(
        "distinct", "pairs within a sample: of different draws (unbiased), or all", choices=("distinct", "all")
    )

    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        return energy_distance(ours, theirs, distinct=self.pairs == "distinct")


@dataclass(frozen=True)
class KL(RegularizerConfig):
    """KL(pi || b) to a behaviour model b (BRAC, arXiv 1911.11361): mean of log pi - log b over n samples of pi."""

    needs_reparameterised = True
    needs_density = True
    behaviour_needs_density = True

    samples: int = option(4, "actions of the policy for each state (n)", at_least=1)
    behaviour: PolicyConfig | None = nested(
        None,
        "policy class of the behaviour model trained beside",
        part="policy",
        accepts=lambda config: config is None or (issubclass(config.builds, TractablePolicy) and config.builds.smooth),
        needs="a policy class with a density that has a slope in the action",
        name="gaussian",
    )

    @property
    def needs_behaviour(self) -> bool:
        return True

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        behaviour = build_behaviour(self.behaviour, spec, network, init)
        assert isinstance(behaviour, TractablePolicy)
        return KLToBehaviour(self.samples, behaviour)


class KLToBehaviour(nn.Module):
    """The KL divergence to a behaviour model, which it owns."""

    def __init__(self, samples: int, behaviour: TractablePolicy):
        super().__init__()
        self.samples, self.behaviour = samples, behaviour

    def forward(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        assert isinstance(policy, TractablePolicy)
        obs, actions = repeated(batch.obs, self.samples), policy.sample_each(batch.obs, self.samples, rng).flatten(1, 2)
        ratio = policy.log_prob(obs, actions) - self.behaviour.log_prob(obs, actions)
        own = self.behaviour.bc_loss(batch.obs, batch.act, rng)
        return Penalty(ratio.unflatten(1, (-1, self.samples)).mean(-1), own)


def build_behaviour(
    config: PolicyConfig | None, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
) -> Policy:
    """The behaviour model. Raises `OptionError` where none was chosen."""
    if config is None:
        raise OptionError("behaviour must be a policy class, to train a behaviour model of; got none")
    return config.build(spec, network, init)
