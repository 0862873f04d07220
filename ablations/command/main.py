"""What a command does, from its words to its exit code: parse, run, say where the results are."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ablations.command import brief, completion, redrawing, reproduce
from ablations.command.cli import Invocation, parse, parse_reading
from ablations.command.listing import listing
from ablations.experiment import conduct, rehearsal, reproducing
from ablations.experiment.conduct import Ended
from ablations.record import plan_files, verify
from ablations.report import analysing, joining, suite
from ablations.report.table import heading
from ablations.run import interrupts
from ablations.run.execution import Execution
from core.options import OptionError

#: what `--aggregate`, `--join` and `--analyse` do instead of training
READERS = {"aggregate": suite.carry_out, "join": joining.carry_out, "analyse": analysing.carry_out}


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 1 a seed diverged, a figure or the machine failed, 2 the command cannot be used.

    130, 143 and 129: ended by SIGINT, SIGTERM or SIGHUP.
    """
    with interrupts.listening():
        try:
            return _carry_out(arguments)
        except OptionError as error:
            print(f"run_ablation.py: error: {error}", file=sys.stderr)
            return 2
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            print(f"run_ablation.py: error: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno is None:
                raise
            print(f"run_ablation.py: error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, interrupts.AtOnce):
            print("run_ablation.py: interrupted; what was whole is kept", file=sys.stderr)
            return interrupts.exit_code()


def _carry_out(arguments: Sequence[str]) -> int:
    said_at_once = brief.answer(arguments)
    if said_at_once is not None:
        print(said_at_once)
        return 0
    if "--list" in arguments:
        print(listing())
        return 0
    script = completion.answer(arguments)
    if script is not None:
        print(script)
        return 0
    asked = redrawing.parse(arguments)
    if asked:
        places, failures = redrawing.carry_out(asked)
        print("\n".join(map(str, places)))
        return _say_failures(failures)
    reading = parse_reading(arguments)
    if reading:
        kind, directories, out, every = reading
        if kind == "verify":
            said, whole = verify.carry_out(directories)
            print(said)
            return 0 if whole else 1
        shown = READERS[kind](directories, out)
        print(f"{shown.whole if every else shown.table}\n\n{_places(out)}")
        return _say_failures(shown.failures)
    again = reproduce.parse(arguments)
    if again:
        return _reproduce(again)
    return _train(arguments)


def _reproduce(asked: reproduce.Asked) -> int:
    """0 where all numbers are equal, 1 where some are not."""
    done = reproducing.carry_out(asked.directory, asked.out, asked.device)
    if done.interrupted:
        print(f"run_ablation.py: interrupted; --out {asked.out} goes on where it stopped", file=sys.stderr)
        return interrupts.exit_code()
    print(f"{done.text}\n\nmade again: {asked.out}")
    return 0 if done.equal else 1


def _train(arguments: Sequence[str]) -> int:
    command = parse(arguments)
    if command.describe:
        print(conduct.describe(command.runs))
        return 0
    if command.save_config is not None and command.plan is not None:
        plan_files.write(command.plan, command.save_config)
        print(f"plan: {command.save_config}")
        return 0
    try:
        with unheard() if command.quiet else contextlib.nullcontext():
            ended = _begin(command)
    except (KeyboardInterrupt, interrupts.AtOnce):
        _say_how_to_go_on(arguments, command.out)
        return interrupts.exit_code()
    first = command.runs[0]
    if ended.table:
        table = ended.whole if command.all_metrics else ended.table
        print(f"\n{heading(first.task, len(first.seeds))}\n\n{table}\n\n{_places(command.out)}")
    code = _say_failures(ended.failures)
    if ended.interrupted:
        _say_how_to_go_on(arguments, command.out)
        return interrupts.exit_code()
    return code


def _begin(command: Invocation) -> Ended:
    lines = [*command.left_out, *command.longer]
    conduct.begin(
        command.runs, command.out, command.device, command.compile, command.study, lines, claiming=not command.dry_run
    )
    if command.dry_run:
        asked = [run for run in command.runs if not command.only or run.label in command.only]
        print(rehearsal.rehearse(asked, command.out, command.device))
        return Ended("")
    # said now: what is killed goes on by this name
    print(f"results go to {command.out}", file=sys.stderr)
    return conduct.carry_out(
        command.runs,
        command.out,
        Execution(command.device, command.seeds_at_once, command.checkpoint_every, command.loggers, command.log_every),
        command.study,
        command.only,
    )


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Within, nothing that is said beside the results is heard: notes, bars, warnings."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _say_failures(failures: Sequence[str]) -> int:
    """The exit code of a command after which so many lines are to be said."""
    for failure in failures:
        print(f"run_ablation.py: error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _say_how_to_go_on(arguments: Sequence[str], out: Path) -> None:
    named = any(word.partition("=")[0] == "--out" for word in arguments)
    command = shlex.join(["python", "run_ablation.py", *arguments, *([] if named else ["--out", str(out)])])
    print(f"run_ablation.py: interrupted; this goes on where it stopped: {command}", file=sys.stderr)


class Unheard(io.TextIOWrapper):
    """A standard stream whose reader may go (`| head`), or its disk fill: what is said then is lost, and no run."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def _places(out: Path) -> str:
    figure = out / "figure.png"
    return f"results: {out}" + (f"\nfigure:  {figure}" if figure.exists() else "")


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def run(arguments: Sequence[str]) -> int:
    """As `main`, for a whole process: nothing is lost where nobody reads what it says."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            buffering = stream.line_buffering
            setattr(sys, name, Unheard(stream.buffer, stream.encoding, "replace", line_buffering=buffering))
    return main(arguments)
