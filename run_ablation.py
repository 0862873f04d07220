"""Run an ablation from the command line: parse, run, say where the results are. See --help."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # in the seconds that imports take an interrupt just ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# before torch starts its threads: idle ones that spin make a machine shared with other work several times slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from ablations import claims, comparison, joining, runner, suite
from ablations.cli import parse, parse_reading
from ablations.listing import listing
from ablations.table import heading
from core.options import OptionError

#: what `--aggregate` and `--join` do instead of training
READERS = {"aggregate": suite.carry_out, "join": joining.carry_out}


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 1 training failed, 2 the command cannot be used, 130 interrupted."""
    try:
        if "--list" in arguments:
            print(listing())
            return 0
        reading = parse_reading(arguments)
        if reading:
            kind, directories, out = reading
            print(f"{READERS[kind](directories, out)}\n\n{_places(out)}")
            return 0
        return _train(arguments)
    except OptionError as error:
        print(f"run_ablation.py: error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not isinstance(error, runner.Diverged) and not _out_of_memory(error):
            raise
        print(f"run_ablation.py: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        print(f"run_ablation.py: error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "what was whole is kept, and the same command with the same --out goes on"
        print(f"run_ablation.py: interrupted; {kept}", file=sys.stderr)
        return 130


def _train(arguments: Sequence[str]) -> int:
    command = parse(arguments)
    for line in command.left_out:
        print(line, file=sys.stderr)
    claims.claim(command.runs, command.out, command.study)
    note = runner.fuse_if_it_pays(command.compile, command.runs, command.device)
    if note:
        print(note, file=sys.stderr)
    # said now: what is killed goes on by this name
    print(f"results go to {command.out}", file=sys.stderr)
    ended = comparison.carry_out(
        command.runs, command.out, command.device, command.study, command.only, command.seeds_at_once
    )
    first = command.runs[0]
    if ended.table:
        print(f"\n{heading(first.task, len(first.seeds))}\n\n{ended.table}\n\n{_places(command.out)}")
    for failure in ended.failures:
        print(f"run_ablation.py: error: {failure}", file=sys.stderr)
    return 130 if ended.interrupted else 1 if ended.failures else 0


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
    return f"results: {out}\nfigure:  {out / 'figure.png'}"


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # a cluster that takes its machine back asks first, and so does a terminal that closes
    for end in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if signal.getsignal(end) != signal.SIG_IGN:
            signal.signal(end, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            buffering = stream.line_buffering
            setattr(sys, name, Unheard(stream.buffer, stream.encoding, "replace", line_buffering=buffering))
    sys.exit(main(sys.argv[1:]))
