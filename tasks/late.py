"""A task whose shapes are known only from its data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from core.types import TaskSpec
from tasks.kinds import Kind
from tasks.offline import DISCOUNT, EPISODES, OfflineTask, Recipe


class LateTask(OfflineTask):
    """One whose shapes are known only from its data: they are looked for when first needed, not when it is named."""

    def __init__(self, prepare: Callable[[], Recipe], episodes: int = EPISODES, kind: Kind | None = None):
        """`episodes` and `kind`: what its recipe will have, the latter where that is known without it.

        What is published as a file of its own is no such task.
        """
        self._prepare, self._kind = prepare, kind
        self._begin(episodes, {"task.discount": DISCOUNT})

    @property
    def kind(self) -> Kind | None:
        return self._kind or self.recipe.kind

    @property
    def published(self) -> str | None:
        return None

    @property
    def made_after(self) -> str | None:
        return None

    @cached_property
    def recipe(self) -> Recipe:  # type: ignore[override]
        return self._prepare()

    @cached_property
    def spec(self) -> TaskSpec:  # type: ignore[override]
        return TaskSpec(self.recipe.name, self.recipe.obs_dim, self.recipe.act_dim)
