"""Energy policy: pi(a | s) proportional to exp(-E(s, a)) in the box (implicit BC, arXiv 2109.00137).

Behaviour cloning tells the data's action from n others (InfoNCE, eq. 4 there):

    L = -log [exp(-E(s, a)) / (exp(-E(s, a)) + sum_j exp(-E(s, a_j)))] + anchor (mean_j E(s, a_j))^2

With a_j even over the box it is least where exp(-E) is the data's density but for a factor of each state. That the
contrast leaves free; the second term keeps it from drifting and asks nothing of the rest. With `others = langevin` the
a_j are drawn by the energy as it stands, and grow harder. A sample is one of `candidates` even over the box, chosen by
exp(-E), then moved by reflected Langevin steps of falling size, x <- x - size^2 / 2 dE/dx + size noise, at the
temperature 1 that makes it a sample (the release cools it down). Or, `derivative-free`: rounds of choosing as many
candidates by exp(-E) with noise that shrinks, and one last choice. No gradient passes through a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig, repeated

#: deviation of the noise of the first round of derivative-free sampling, and what it shrinks by (as released)
FIRST_NOISE, SHRINKING = 0.33, 0.5
#: candidates valued at once, for memory's sake
ROWS = 2**16
#: longest move by the slope of the energy in one Langevin step
LONGEST = 0.2


class EnergyPolicy(Policy):
    """Network `[a, s] -> E`."""

    reparameterised = False

    def __init__(self, config: EnergyConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.config, self.act_dim = config, spec.act_dim
        self.net = MLP((len(init),), spec.act_dim + spec.obs_dim, 1, network, init)

    @property
    def forwards_per_action(self) -> int:
        config = self.config
        chosen = config.candidates if config.candidates > 1 else 0
        if config.sampler == "derivative-free":
            return config.candidates * (config.rounds + 1)
        return chosen + config.sample_steps

    def energy(self, obs: Tensor, act: Tensor) -> Tensor:
        """E of actions: obs `[S, B, O]`, act `[S, B, A]` -> `[S, B]`."""
        return self.net(torch.cat([act, obs], dim=-1)).squeeze(-1)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        rows = repeated(obs, self.config.negatives)
        others = self._start(obs.shape[1], self.config.negatives, rng)
        if self.config.others == "langevin":
            others = self._langevin(rows, others, rng)
        mine = self.energy(obs, act)
        theirs = -self.energy(rows, others).unflatten(1, (-1, self.config.negatives))
        told = torch.cat([-mine[..., None], theirs], dim=-1).logsumexp(-1) + mine
        return told + self.config.anchor * theirs.mean(-1).square()

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        config = self.config
        with torch.no_grad():
            actions = self._start(obs.shape[1], config.candidates, rng)
            for number in range(config.rounds if config.sampler == "derivative-free" else 0):
                kept = self._chosen(obs, actions, config.candidates, rng)
                drawn = rng.normal(obs.shape[1], config.candidates * self.act_dim).reshape(kept.shape)
                actions = (kept + FIRST_NOISE * SHRINKING**number * drawn).clamp(-1, 1)
            act = self._chosen(obs, actions, 1, rng) if config.candidates > 1 else actions
        return act if config.sampler == "derivative-free" else self._langevin(obs, act, rng)

    def _start(self, size: int, each: int, rng: Rng) -> Tensor:
        """`each` even draws for each of `size` observations, `[S, size * each, A]`, which are an axis of the draw."""
        drawn = rng.uniform(size, each * self.act_dim)
        return 2 * drawn.unflatten(-1, (each, self.act_dim)).flatten(1, 2) - 1

    def _langevin(self, obs: Tensor, start: Tensor, rng: Rng) -> Tensor:
        def slope(x: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                return torch.autograd.grad(self.energy(obs, leaf).sum(), leaf)[0]

        sizes = step_sizes(self.config.sample_steps, self.config.first_size, self.config.last_size)
        noise = rng.normal(len(sizes), *start.shape[1:])
        with torch.no_grad():
            return langevin(slope, start, noise, sizes)

    def _chosen(self, obs: Tensor, actions: Tensor, count: int, rng: Rng) -> Tensor:
        """`count` of each observation's candidates `[S, B N, A]`, drawn by exp(-E), `[S, B count, A]`."""
        candidates = self.config.candidates
        few = max(1, ROWS // candidates)
        slices = zip(obs.split(few, 1), actions.split(few * candidates, 1), strict=True)
        energies = [self.energy(repeated(rows, candidates), acts) for rows, acts in slices]
        weight = (-torch.cat(energies, 1)).unflatten(1, (-1, candidates)).softmax(-1)
        # the first candidate up to which more of the weight is passed than a draw says
        place = torch.searchsorted(weight.cumsum(-1), rng.uniform(obs.shape[1], count)).clamp(max=candidates - 1)
        return actions.unflatten(1, (-1, candidates)).take_along_dim(place[..., None], dim=2).flatten(1, 2)


def langevin(slope: Callable[[Tensor], Tensor], x: Tensor, noise: Tensor, sizes: Sequence[float]) -> Tensor:
    """Langevin steps in [-1, 1] from x `[S, B, A]`, with noise `[S, n, B, A]`, reflected at the faces of the box."""
    for number, size in enumerate(sizes):
        move = (size**2 / 2 * slope(x)).clamp(-LONGEST, LONGEST)
        x = reflected(x - move + size * noise[:, number])
    return x


def step_sizes(steps: int, first: float, last: float) -> list[float]:
    """From first to last, falling as a square."""
    return [last + (first - last) * (1 - i / max(steps - 1, 1)) ** 2 for i in range(steps)]


def reflected(x: Tensor) -> Tensor:
    """x, mirrored at the faces of [-1, 1] as often as it takes."""
    return 1 - ((x + 1).remainder(4) - 2).abs()


@dataclass(frozen=True)
class EnergyConfig(PolicyConfig):
    builds = EnergyPolicy

    negatives: int = option(32, "actions that the data's is told from (n)", at_least=1)
    others: str = option(
        "uniform", "of those: even over the box, or drawn by the energy itself", choices=("uniform", "langevin")
    )
    anchor: float = option(0.01, "weight of the energy's level, which the contrast leaves free", above=0)
    sampler: str = option("langevin", "how actions are drawn", choices=("langevin", "derivative-free"), sampling=True)
    candidates: int = option(64, "even candidates that a sample is first chosen from", at_least=1, sampling=True)
    sample_steps: int = option(20, "Langevin steps", at_least=1, sampling=True)
    first_size: float = option(0.1, "deviation of the noise of the first Langevin step", above=0, sampling=True)
    last_size: float = option(0.02, "deviation of the noise of the last", above=0, sampling=True)
    rounds: int = option(3, "of derivative-free sampling, before the last choice", at_least=0, sampling=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler == "derivative-free" and self.candidates < 2:
            raise OptionError(f"candidates must be at least 2 with sampler derivative-free, got {self.candidates}")
