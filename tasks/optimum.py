"""The optimum of KL-regularised improvement, pi*_beta ~ pi_b exp(beta Q): sampled exactly, or as well as can be said.

It maximises E[Q] - KL(pi || pi_b) / beta. Axes: n rows, one context each; A action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: rounds of rejection, of as many proposals as rows each, before what is left is resampled
ROUNDS = 100
#: candidates of each row that is resampled
CANDIDATES = 200


@dataclass(frozen=True)
class Tilted:
    """Draws `[n, A]`; `accepted`: share of rows that rejection gave, which are exact; `effective`: the mean effective
    sample size of the candidates of the others, of `CANDIDATES` (nan where there are no others)."""

    actions: Tensor
    accepted: float
    effective: float


def tilted(
    propose: Callable[[Tensor], Tensor],
    q: Callable[[Tensor, Tensor], Tensor],
    obs: Tensor,
    beta: float,
    upper: float,
    generator: torch.Generator,
    rounds: int = ROUNDS,
) -> Tilted:
    """A draw of pi*_beta for each context `[n, O]`.

    `propose`: contexts -> actions of pi_b; `q`: (contexts, actions) -> values `[n]`, at most `upper` on the support. A
    proposal is accepted with probability exp(beta (Q - upper)); what `rounds` rounds leave is drawn from `CANDIDATES`
    proposals by their weights (sampling importance resampling, Rubin 1987).
    """
    actions = propose(obs)
    left = torch.arange(len(obs))
    for _ in range(rounds):
        proposed = propose(obs[left])
        log_chance = beta * (q(obs[left], proposed) - upper)
        taken = torch.rand(len(left), generator=generator, dtype=torch.float64).log() <= log_chance
        actions[left[taken]] = proposed[taken]
        left = left[~taken]
        if not len(left):
            return Tilted(actions, 1.0, float("nan"))
    share = 1 - len(left) / len(obs)
    actions[left], effective = _resampled(propose, q, obs[left], beta, generator)
    return Tilted(actions, share, effective)


def _resampled(propose, q, obs: Tensor, beta: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """One of `CANDIDATES` proposals for each context, by weights exp(beta Q), and the mean effective sample size."""
    many = obs.repeat_interleave(CANDIDATES, 0)
    proposed = propose(many)
    weights = (beta * q(many, proposed).view(-1, CANDIDATES)).softmax(-1)
    index = torch.multinomial(weights, 1, generator=generator)[:, 0]
    chosen = proposed.view(len(obs), CANDIDATES, -1)[torch.arange(len(obs)), index]
    return chosen, float((1 / weights.square().sum(-1)).mean())
