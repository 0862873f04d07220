"""What is wrong with a command line that no parser says by itself."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from ablations.command.arguments import Parser
from ablations.plan.parts import CHOICES
from ablations.plan.views import selection_name
from core.options import OptionError
from trainers import SELECTIONS


def refuse_repeated_flags(arguments: Sequence[str]) -> None:
    """The last of a flag said twice would win, without a word."""
    words = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    # `--no-x` says no to the `--x` of a part
    flags = [f"--{word.removeprefix('--no-')}" if word.startswith("--no-") and "." in word else word for word in words]
    twice = next((flag for flag in flags if flags.count(flag) > 1), None)
    if twice:
        raise OptionError(f"{twice}: said more than once; say it once, with all its values")


def explain_unknown(
    argument: str,
    arguments: Sequence[str],
    parser: Parser,
    per_policy: Sequence[Mapping[str, str]],
    selections: Sequence[str],
) -> str:
    """Why this argument was not understood: another part's option, a misspelling, one value too many, a stray word."""
    if not argument.startswith("-"):
        before = [word for word in arguments[: list(arguments).index(argument)] if word.startswith("--")]
        if before and "=" not in before[-1]:
            return f"unexpected argument {argument!r} after {before[-1]}, which takes no more values; see --help"
        return f"unexpected argument {argument!r}; options start with --, see --help"
    flag = argument.split("=")[0]
    part, _, field = flag[2:].replace("-", "_").partition(".")
    registries = {**CHOICES, "selection": SELECTIONS}
    owners = [
        name
        for name, config in registries.get(part, {}).items()
        if field in {f.name for f in dataclasses.fields(config)}
    ]
    if owners:
        chosen = selections if part == "selection" else [names[part] for names in per_policy]
        names = ", ".join(dict.fromkeys(map(selection_name, chosen)))
        accepted = [option for option in parser._option_string_actions if option.startswith(f"--{part}.")]
        has = f"{part} {names} takes {', '.join(accepted)}" if accepted else f"{part} {names} has no options"
        return f"{flag} is an option of {part} {', '.join(owners)}, not of {names}; {has}"
    close = difflib.get_close_matches(flag, parser._option_string_actions, n=1)
    return f"unknown option {flag}" + (f"; did you mean {close[0]}?" if close else "; see --help")
