"""Tasks: data to learn from, and a way to judge what was learned."""

from tasks.bandits import Bandit
from tasks.base import Task

TASKS: dict[str, type[Task]] = {"bandit": Bandit}

__all__ = ["TASKS", "Task"]
