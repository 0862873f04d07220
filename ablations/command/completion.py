"""`--print-completion SHELL`: a script with which a shell completes flags, names of parts and tasks, and paths."""

from __future__ import annotations

from collections.abc import Sequence

from ablations.command.arguments import READING, full_parser
from ablations.plan.config import choose
from ablations.plan.request import Request
from ablations.plan.studies import STUDIES
from core.options import OptionError, unknown_name
from tasks import task_names

FLAG, SHELLS = "--print-completion", ("bash", "zsh", "tcsh")
DIRECTORIES = ("out", "critic_from", "reproduce", *READING)
FILES = ("config", "save_config")


def answer(arguments: Sequence[str]) -> str | None:
    """The script that is asked for; None where none is. Raises `OptionError` for another shell."""
    flag, *shells = list(arguments) or [""]
    if flag.partition("=")[0] != FLAG:
        return None
    shells = [flag.partition("=")[2], *shells] if "=" in flag else shells
    if len(shells) != 1 or shells[0] not in SHELLS:
        raise OptionError(f"{FLAG}: {unknown_name(' '.join(shells), SHELLS)}")
    return script(shells[0])


def script(shell: str) -> str:
    """Of the options of the default parts."""
    import shtab

    parser = full_parser([choose(Request("bandit", {"policy": "diffusion"}))], ["one"], {}, {})
    for action in parser._actions:
        name = action.dest
        if name in (*DIRECTORIES, *FILES):
            action.complete = shtab.FILE if name in FILES else shtab.DIRECTORY  # type: ignore[attr-defined]
        elif name == "task":
            action.choices = list(task_names())
        elif name == "study":
            action.choices = list(STUDIES)
        elif isinstance(action.metavar, str) and "|" in action.metavar:
            action.choices = action.metavar.split("|")
    return shtab.complete(parser, shell)
