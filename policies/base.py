"""What a policy class is: parameters, a behaviour-cloning loss, and samples.

Axes: S seeds, B batch, O observation, A action. A policy owns no optimizer, no EMA and no device logic; all
its randomness comes from the `rng` it is handed. What a class can do beyond this is stated by its type.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import Options
from core.rng import Rng
from core.types import TaskSpec


def repeated(rows: Tensor, count: int) -> Tensor:
    """Each row `count` times in a row: `[S, B, ...] -> [S, B * N, ...]`."""
    return rows if count == 1 else rows.repeat_interleave(count, dim=1)


class Policy(nn.Module, ABC):
    """S independent policies of one class."""

    #: whether `sample` passes gradients from the actions to the parameters
    reparameterised: ClassVar[bool] = True
    #: whether `sample` always lies in [-1, 1]
    bounded: bool = True
    #: submodules that `bc_loss` does not train: only an improvement through samples does
    improvement_only: ClassVar[tuple[str, ...]] = ()
    #: submodules that `bc_loss` alone trains, since no gradient reaches them through samples
    cloning_only: ClassVar[tuple[str, ...]] = ()

    #: whether it is to be told the number of each step
    changes_by_step: bool = False

    def at_step(self, step: int) -> None:
        """Told the number of each training step before it, for what changes over training and lies on the device."""

    def follow(self, average: Policy) -> None:
        """Told the average of this policy, where its configuration says that `bc_loss` follows one.

        The trainer keeps it: it is neither a part of this policy nor changed by it.
        """

    @abstractmethod
    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        """The class's own behaviour-cloning loss of each example: obs `[S, B, O]`, act `[S, B, A]` -> `[S, B]`."""

    @abstractmethod
    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        """One action for each observation: `[S, B, O] -> [S, B, A]`."""

    def sample_each(self, obs: Tensor, count: int, rng: Rng) -> Tensor:
        """`count` samples (N) for each observation: `[S, B, O] -> [S, B, N, A]`.

        They are `sample`'s at the observations repeated; a class whose network sees the observation alone asks it once.
        """
        return self.sample(repeated(obs, count), rng).unflatten(1, (-1, count))

    @property
    def forwards_per_action(self) -> int:
        """Passes through a network that one sampled action costs."""
        return 1


class ModalPolicy(Policy):
    """A policy with a most likely action."""

    @abstractmethod
    def mode(self, obs: Tensor) -> Tensor:
        """The most likely action (before any squashing): `[S, B, O] -> [S, B, A]`."""


class TractablePolicy(ModalPolicy):
    """A policy with a density."""

    #: whether the density has a slope in the action
    smooth: ClassVar[bool] = True

    @abstractmethod
    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        """Log-density of each action given its observation, in nats: `[S, B]`."""


class TransportPolicy(Policy):
    """A policy that carries standard normal noise to actions by a deterministic map."""

    @abstractmethod
    def transport(self, obs: Tensor, noise: Tensor) -> Tensor:
        """The action each noise becomes: obs `[S, B, O]`, noise `[S, B, A]` -> `[S, B, A]`."""


class LatentPolicy(Policy):
    """A policy that chooses a latent, of the shape of an action, and makes an action of it that it takes as given."""

    @abstractmethod
    def latent(self, obs: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """A latent for each observation `[S, B, A]`, differentiable, and the log-density of its choice `[S, B]`."""

    @abstractmethod
    def decode(self, obs: Tensor, latent: Tensor) -> Tensor:
        """The action of each latent `[S, B, A]`, in [-1, 1]; no gradient reaches the parameters by it."""


class VelocityPolicy(TransportPolicy):
    """A policy that follows a velocity from noise at t = 0 to an action at t = 1, learned on x_t = (1 - t) z + t a."""

    #: equal steps of the sampler
    steps: int

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, obs: Tensor) -> Tensor:
        """x `[S, B, A]`, t `[S, B]`, obs `[S, B, O]` -> dx/dt `[S, B, A]`."""


class NoisePrediction(NamedTuple):
    """x = alpha a + sigma eps `[S, B, A]`, alpha and sigma `[S, B, 1]`, eps as predicted from x and as it was drawn."""

    x: Tensor
    alpha: Tensor
    sigma: Tensor
    noise: Tensor
    drawn: Tensor


#: (x `[S, B, A]`, alpha, sigma) -> a slope in x, `[S, B, A]`
NoisedSlope = Callable[[Tensor, float, float], Tensor]


class DenoisingPolicy(Policy):
    """A policy that samples by denoising, so that one step of it is an estimate, and each step can be guided."""

    @abstractmethod
    def predict_clean(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        """The one-step estimate of `act` `[S, B, A]` from that action with noise added, in [-1, 1], differentiable.

        Noise and its level are drawn as in `bc_loss` (EDP, arXiv 2305.20081, eq. 7).
        """

    def predict_noise(self, obs: Tensor, act: Tensor, rng: Rng, margin: float = 0.0) -> NoisePrediction:
        """The noise predicted in `act` `[S, B, A]` with noise added, drawn as in `bc_loss`; differentiable.

        Where time is continuous, `margin` of it is left out at either end.
        """
        raise NotImplementedError

    def levels_drawn(self, size: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """alpha and sigma of `size` (B) levels of noise, drawn as in `bc_loss`, `[S, B, 1]` each."""
        raise NotImplementedError

    def tilted_sample(self, obs: Tensor, rng: Rng, slope: NoisedSlope) -> Tensor:
        """Samples `[S, B, A]` whose noised density has `slope` added to its score at each level of the sampler."""
        raise NotImplementedError

    @abstractmethod
    def guided_sample(
        self,
        obs: Tensor,
        rng: Rng,
        gradient: Callable[[Tensor], Tensor],
        scale: float,
        through_denoiser: bool = False,
    ) -> Tensor:
        """Samples `[S, B, A]` drawn towards exp(scale Q) times the policy; `gradient` is that of Q at actions.

        Each step's estimate of the clean action is moved along gradient(estimate), the further the noisier the step,
        then clipped. With `through_denoiser` it is moved along the gradient of Q(estimate) in the noised action, which
        is exact for a Gaussian policy and a linear Q, and costs a backward pass in each step.
        """


def over_dimensions(values: Tensor, how: str) -> Tensor:
    """The mean or the sum of values `[..., A]` over the dimensions of actions, `[...]`."""
    return values.sum(-1) if how == "sum" else values.mean(-1)


#: the choices of `over_dimensions`
REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True)
class PolicyConfig(Options):
    """The options of a policy class; `builds` is the class."""

    builds: ClassVar[type[Policy]]

    @property
    def reparameterised(self) -> bool:
        """Whether samples of the policy so configured pass gradients to its parameters."""
        return self.builds.reparameterised

    @property
    def transports(self) -> bool:
        """Whether the policy so configured carries noise to actions by a deterministic map."""
        return issubclass(self.builds, TransportPolicy)

    @property
    def follows_average(self) -> bool:
        """Whether the loss of the policy so configured, or of one inside it, follows the policy's average."""
        inner = [getattr(self, field.name) for field in dataclasses.fields(self) if field.metadata.get("nested")]
        return any(one.follows_average for one in inner if one is not None)

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Policy:
        """S = len(init) policies, each initialised from its own generator."""
        return self.builds(self, spec, network, init)
