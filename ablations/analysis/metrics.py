"""Which metrics a short table shows, and which direction of each is the better one."""

from __future__ import annotations

from collections.abc import Iterable

#: how many a short table shows
MOST = 3
#: by what they say about a policy: how good it is, whether it stays on the data, how near it is to them
HEADLINE = (
    "score",
    "score, mean of last ten",
    "score, best online",
    "success",
    "return",
    "reward",
    "on_mode",
    "off_support",
    "energy_distance",
    "fqe",
    "precision",
    "recall",
)
_HIGHER = set(
    "success return reward on_mode modes_covered mode_coverage precision recall density coverage fqe near_gap".split()
)
_LOWER = set(
    "energy_distance worst_energy_distance sliced_wasserstein c2st mode_error kl kl_forward off_support out_of_bounds "
    "optimum_distance bc_loss nll route_error".split()
)


def headline(metrics: Iterable[str]) -> list[str]:
    """The most telling of these metrics, at most three; the first three where none of them is known."""
    there = list(dict.fromkeys(metrics))
    return [name for name in HEADLINE if name in there][:MOST] or there[:MOST]


def better(metric: str) -> int:
    """1 where higher values are better, -1 where lower ones are, 0 where neither is."""
    name = metric.removesuffix("_scaled")
    if name in _HIGHER or metric.partition(",")[0] == "score":
        return 1
    return -1 if name in _LOWER else 0


def directed(metric: str) -> str:
    """The metric with an arrow towards the better values, where one direction is better: `reward ↑`."""
    return f"{metric}{('', ' ↑', ' ↓')[better(metric)]}"
