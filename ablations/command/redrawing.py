"""`--figures RUNS...` and `--tables RUNS...`: what is there, drawn anew or written as a table, in a directory."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.analysis import statistics
from ablations.command import words
from ablations.command.arguments import Parser
from ablations.command.complaints import refuse_repeated_flags
from ablations.figures import FIGURES
from ablations.figures.drawing import FORMATS, STYLES, Look, attempt, looking
from ablations.record import results
from ablations.report import export, gathering, showing
from core.options import OptionError, unknown_name
from tasks import make_task

KINDS = ("figures", "tables")


@dataclass(frozen=True)
class Asked:
    """What is to be made of which runs; `names`: run -> what it is to be called, empty for all as they are."""

    kind: str
    directories: list[Path]
    out: Path
    formats: list[str]
    names: dict[str, str]
    metrics: list[str]
    look: Look
    #: tables: all metrics, not the most telling alone
    every: bool


def parse(arguments: Sequence[str]) -> Asked | None:
    """What is asked for; None where it is another command. Raises `OptionError` for what cannot be."""
    flags = {word.partition("=")[0] for word in arguments}
    kind = next((kind for kind in KINDS if f"--{kind}" in flags), None)
    if kind is None or flags & {"-h", "--help", "--help-all"}:
        return None
    refuse_repeated_flags(arguments)
    known, unknown = _parser(kind).parse_known_args(arguments)
    if unknown:
        raise OptionError(f"{unknown[0]}: --{kind} takes {', '.join(_parser(kind)._option_string_actions)} alone")
    if len({old for old, _ in known.runs}) < len(known.runs):
        raise OptionError("--runs: a run is named more than once; each may appear once")
    look = Look(known.style, known.width) if kind == "figures" else Look()
    # beside the runs it would be foreign to their records
    out = known.out or Path("runs") / f"{kind}-{time.strftime('%m%d-%H%M%S')}"
    return Asked(
        kind,
        known.directories,
        out,
        known.format,
        dict(known.runs),
        known.metrics,
        look,
        bool(known.metrics) or known.all_metrics,
    )


def _parser(kind: str) -> Parser:
    formats = FORMATS if kind == "figures" else tuple(export.FORMATS)
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{kind}", nargs="+", type=words.path, dest="directories")
    parser.add_argument("--out", type=words.directory)
    parser.add_argument("--format", nargs="+", type=_one_of(formats), default=[formats[0]])
    parser.add_argument("--runs", nargs="+", type=_renamed, default=[])
    parser.add_argument("--metrics", nargs="+", default=[])
    parser.set_defaults(all_metrics=False)
    if kind == "tables":
        parser.add_argument("--all-metrics", action="store_true")
    if kind == "figures":
        parser.add_argument("--style", type=_one_of(STYLES), default=STYLES[0])
        parser.add_argument("--width", type=_inches)
    return parser


def _one_of(names: Sequence[str]):
    def known(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(unknown_name(text, names))
        return text

    return known


def _renamed(text: str) -> tuple[str, str]:
    """`run` or `run::name`, as a label may hold an equals sign and a colon."""
    label, _, name = text.partition("::")
    return label, name or label


def _inches(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 1 <= width <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a width in inches from 1 to 100")
    return width


def carry_out(asked: Asked) -> tuple[list[Path], list[str]]:
    """Make the files; returns where they are, and a line for each figure that could not be drawn."""
    with gathering.gathered(f"--{asked.kind}", asked.directories, asked.names, asked.metrics) as directory:
        try:
            asked.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"--out {asked.out}: {error.strerror}") from None
        if asked.kind == "tables":
            return export.write(directory, asked.formats, asked.out, asked.every), []
        return _draw(directory, asked)


def _draw(directory: Path, asked: Asked) -> tuple[list[Path], list[str]]:
    first = results.read_config(results.run_directories(directory)[0])
    summary = statistics.summarise(results.load_metrics(directory))
    study = results.read_comparison(directory)["study"]
    task = make_task(first["task"], first.get("backend", "gymnasium"))
    places: list[Path] = []
    failures: list[str] = []
    for name in showing.figures_of(directory, task, study, set(summary["metric"])):
        for kind in asked.formats:
            place = asked.out / f"{name}.{kind}"
            with looking(asked.look):
                failed = attempt(functools.partial(FIGURES[name], directory, summary, place), place)
            if failed:
                failures.append(failed)
            else:
                places.append(place)
    return places, failures
