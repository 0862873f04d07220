"""The data that passes between packages. Axes: S seeds, B batch, O observation, A action, n dataset size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TaskSpec:
    """What a policy, a critic and the trainer need to know of a task. Actions lie in [-1, 1]; the task scales."""

    name: str
    obs_dim: int
    act_dim: int


@dataclass(frozen=True)
class Transitions:
    """Transitions with any leading axes: a dataset `[n, ...]`, or a batch `[S, B, ...]`.

    `discount` is data, as in rlax: gamma, and 0 where the next observation must not be bootstrapped from
    (a terminal state, or every transition of a one-step task), so that no loss needs a branch.
    """

    obs: Tensor  # [..., O]
    act: Tensor  # [..., A], in [-1, 1]
    reward: Tensor  # [...]
    next_obs: Tensor  # [..., O]
    discount: Tensor  # [...]
    #: the action the data took next, `[..., A]`, where the task knows it (in-sample SARSA asks for it)
    next_act: Tensor | None = None

    def __len__(self) -> int:
        return self.reward.shape[0]

    def __getitem__(self, index: Tensor) -> Transitions:
        """The transitions at `index` `[S, B]` of a dataset `[n, ...]`, as a batch `[S, B, ...]`."""
        # several times faster than indexing, which works out an address for each number
        flat = index.flatten()
        return self._each(lambda tensor: tensor.index_select(0, flat).view(*index.shape, *tensor.shape[1:]))

    def to(self, *args) -> Transitions:
        """The same transitions on another device or in another dtype (the arguments of `Tensor.to`)."""
        return self._each(lambda tensor: tensor.to(*args))

    def copy_(self, other: Transitions) -> None:
        """Overwrite these transitions with others of the same shapes, in place."""
        for name in ("obs", "act", "reward", "next_obs", "discount", "next_act"):
            if getattr(self, name) is not None:
                getattr(self, name).copy_(getattr(other, name))

    def _each(self, change) -> Transitions:
        return Transitions(
            change(self.obs),
            change(self.act),
            change(self.reward),
            change(self.next_obs),
            change(self.discount),
            None if self.next_act is None else change(self.next_act),
        )
