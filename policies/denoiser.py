"""What the denoising policies share: the network `[a, time features, s] -> output`, and running its chain of steps.

The first layer is linear in its three inputs, so its parts for the state and for each time are computed once for a
whole chain. A chain linear in what the network says, with five numbers for each step, runs as one operation where
fusion is on (policies/chain.py).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig, affine
from core.options import OptionError, option
from core.rng import Rng
from core.time_features import FEATURES, TimeEmbedding
from core.types import TaskSpec
from policies import chain
from policies.base import REDUCTIONS, DenoisingPolicy, PolicyConfig, TransportPolicy


class DenoiserNetwork(DenoisingPolicy, TransportPolicy):
    """A network over a noised action, a time and an observation, and the plan by which it is sampled.

    `transport` is of samplers that draw no noise after the first (`PolicyConfig.transports`).
    """

    def __init__(self, config: DenoiserConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        lead = (len(init),)
        self.config, self.act_dim = config, spec.act_dim
        self._exact: dict[str, Tensor] = {}
        self.time = TimeEmbedding(
            lead, config.time_dim, init, config.time_features, config.time_width, config.time_depth
        )
        self.net = MLP(lead, spec.act_dim + self.time.dim + spec.obs_dim, spec.act_dim, network, init)
        self.bounded = config.clip_action

    #: times that the sampler draws noise after the first (n)
    draws: int = 0

    @abstractmethod
    def _plan(self, config: Any) -> None:
        """Work out all that `sample` needs from the options of sampling."""

    @abstractmethod
    def _from_noise(self, obs: Tensor, noise: Tensor) -> Tensor:
        """The actions of noise `[S, n + 1, B, A]`, by the sampler."""

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self._from_noise(obs, rng.normal(self.draws + 1, obs.shape[1], self.act_dim))

    def transport(self, obs: Tensor, noise: Tensor) -> Tensor:
        assert self.config.deterministic
        return self._from_noise(obs, noise[:, None])

    def predict(self, x: Tensor, time: Tensor, obs: Tensor, rng: Rng | None = None) -> Tensor:
        """x `[S, B, A]`, time `[S, B]`, obs `[S, B, O]` -> what the network says `[S, B, A]`; dropout with `rng`."""
        return self.net(torch.cat([x, self.time(time), obs], dim=-1), rng)

    def at_times(self, obs: Tensor, times: Tensor) -> Callable[[Tensor, int], Tensor]:
        """(x, i) -> what the network says of x at `times[i]`, with all that the times share computed once."""
        if self.net.input_norm is not None:
            return lambda x, index: DenoiserNetwork.predict(self, x, times[index].expand(x.shape[:2]), obs)
        of_act, at_time, at_obs = self._first_layer(obs, times)
        return lambda x, index: self.net.tail(torch.baddbmm(at_obs + at_time[:, index, None], x, of_act))

    def in_box(self, x: Tensor) -> Tensor:
        """The sampled action, in [-1, 1] unless told otherwise."""
        return x.clamp(-1, 1) if self.bounded else x

    def _keep(self, name: str, values: Tensor) -> None:
        """A buffer beside the parameters, whatever their device and dtype; not part of a checkpoint."""
        self._exact[name] = values
        like = self.net.layers[0].weight
        dtype = like.dtype if values.is_floating_point() else values.dtype
        self.register_buffer(name, values.to(like.device, dtype), persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        # from the numbers as worked out: made in float32 and then float64, they would stay rounded to the former
        for name, values in self._exact.items():
            self._keep(name, values)
        return self

    def _first_layer(self, obs: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its weight for x, and its output for each of `times` `[n]`, `[S, n, h]`, and each observation `[S, B, h]`."""
        first = self.net.layers[0]
        sizes = [self.act_dim, self.time.dim, obs.shape[-1]]
        of_act, of_time, of_obs = (part.contiguous() for part in first.weight.split(sizes, dim=-2))
        return of_act, self.time(times.expand(obs.shape[0], -1)) @ of_time, affine(obs, of_obs, first.bias)

    def _fused_chain(self, obs: Tensor, times: Tensor, noise: Tensor, coefficients: Tensor) -> Tensor:
        """The chain over `times` `[n]` as one operation; noise `[S, 1 or n + 1, B, A]`, coefficients `[n, 5]`."""
        # the first layer is not rounded (core/network_pass.py)
        with torch.autocast(obs.device.type, enabled=False):
            of_act, at_time, at_obs = self._first_layer(obs, times)
        clip = 1.0 if self.config.clip else float("inf")
        return chain.run_through(self.net, of_act, at_obs, at_time, noise, coefficients, clip)


@dataclasses.dataclass(frozen=True)
class DenoiserConfig(PolicyConfig):
    """Options of every denoising policy."""

    time_dim: int = option(16, "number of features of the time, even", at_least=2)
    time_features: str = option(
        "sinusoidal",
        "of the time: sines and cosines at fixed frequencies, in either order, or at learned or drawn frequencies",
        choices=tuple(FEATURES),
    )
    time_width: int | None = option(
        None, "outputs of each layer over the features (default: 2 time_dim, then time_dim)", at_least=1
    )
    time_depth: int = option(2, "linear layers over the features", at_least=2)
    reduction: str = option("mean", "of the loss over the dimensions of an action", choices=REDUCTIONS)
    grad_steps: int | None = option(
        None, "pass gradients through the last so many steps alone (default: all)", at_least=0, sampling=True
    )
    clip: bool = option(True, "keep each step's estimate of the action in [-1, 1], not the last alone", sampling=True)
    clip_action: bool = option(True, "keep the sampled action in [-1, 1]", sampling=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_dim % 2:
            raise OptionError(f"time_dim must be even, got {self.time_dim}")

    @property
    def reparameterised(self) -> bool:
        return self.grad_steps != 0

    @property
    def transports(self) -> bool:
        return self.deterministic

    @property
    def deterministic(self) -> bool:
        """Whether sampling draws no noise after the first."""
        return True
