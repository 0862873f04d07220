"""Tasks: data to learn from, and an evaluation of what was learned."""

import difflib

from core.options import OptionError
from tasks.bandits import Bandit
from tasks.base import Task
from tasks.catalogue import offline_names, offline_task
from tasks.fork import NAME as FORK
from tasks.fork import ForkTask
from tasks.known import known_names, known_task

TASKS: dict[str, type[Task]] = {"bandit": Bandit, FORK: ForkTask}
#: what serves D4RL's names: our reader with maintained simulators, or the stack of the papers itself
BACKENDS = ("gymnasium", "d4rl")


def task_names() -> tuple[str, ...]:
    """Every name `make_task` knows."""
    return (*TASKS, *known_names(), *offline_names())


def make_task(name: str, backend: str = "gymnasium") -> Task:
    """The task of this name; cheap, its data are read when they are asked for. Raises `OptionError` for others."""
    if name in TASKS and backend == "gymnasium":
        return TASKS[name]()
    known = known_task(name) if backend == "gymnasium" else None
    if known:
        return known
    offline = offline_task(name, backend)
    if offline:
        return offline
    close = difflib.get_close_matches(name, task_names(), n=3, cutoff=0.5)
    families = (
        "bandit, bandit:ring and other known behaviours, bandit:file:PATH, local:fork, local:..., D4RL's "
        "(hopper-medium-v2, antmaze-umaze-v0, ...), ogbench:..., minari:... and file:PATH, your own data"
    )
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {families}"
    raise OptionError(f"--task: unknown {name!r}; {hint}")


__all__ = ["BACKENDS", "TASKS", "Task", "make_task", "task_names"]
