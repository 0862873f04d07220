"""`--version` and the first `--help`: what is answered at once, before torch is imported."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

HELP = """\
usage: run_ablation.py [--policy NAME ...] [--preset NAME ...] [--task NAME] [options]

Train policy classes on offline data under one critic and one trainer, and compare what they learned.

  python run_ablation.py --policy diffusion --bc-only            one class, behaviour cloning alone
  python run_ablation.py --policy diffusion gaussian cvae        three classes, each maximising Q too
  python run_ablation.py --policy flow cvae --improvement none q-max --network.hidden 64 128
                                                                 every combination of what is named
  python run_ablation.py --preset diffusion-ql --task local:pointmaze-umaze --seeds 0-4

what to compare (several values of any are compared)
  --policy NAME ...       policy class; default: diffusion
  --preset NAME ...       published method; --as-released adds what its code does otherwise than its paper
  --regularizer, --improvement, --backup NAME ...
                          parts of the training; defaults are the task's
  --bc-only               behaviour cloning alone, no critic
  --selection NAME ...    how the trained policy acts: one, argmax-q:candidates=10, ...
  --part.option VALUE ... an option of a part: --policy.T 5 50, --trainer.lr 1e-3, --critic exact
  --task NAME             bandit, local:..., D4RL's names, ogbench:..., minari:..., file:PATH; default: bandit
  --study NAME            a set of runs that answers a question

the run
  --seeds N ...           trained together: 0-4, or 0 3 5; default: 0-4
  --steps N               1e5 is 100000; default: the task's or the paper's. On the bandit 1600 with Q and 20000
                          for cloning alone. The runs of one command all take the longest of theirs.
  --eval-every N          steps between evaluations; default: one evaluation, at the end
  --out DIR               new directory of results; default: below runs/. The same command goes on where it stopped
  --device, --compile     auto, cpu, cuda; auto, on, off
  --dry-run               the runs, what they share and differ in, memory, time; trains nothing
  --save-config FILE      write the plan of this command, TOML, YAML or JSON; trains nothing
  --config FILE           run the plan of a file, or of what a run has left; what is said beside it wins
  --log NAME ...          tensorboard, wandb, trackio follow training; log.csv always does
  --quiet                 errors and the table alone
  --all-metrics           the printed table has all metrics

what is there already
  --figures DIR ...       drawn anew: --format png pdf svg, --style paper, --width INCHES, --runs RUN::NAME, --metrics
  --tables DIR ...        as --format csv md latex; --runs, --metrics, --all-metrics choose
  --analyse ...           which factor explains how much of a table of scores
  --reproduce DIR         made again; says whether the numbers come out
  --join, --aggregate, --verify DIR ...
                          more seeds as one; statistics over tasks; what is damaged

to know more
  --list                  all parts, presets and studies with a line each, and what combines
  --policy cvae --help    all options, those of the parts named too
  --help-all              all options of the default parts
  --describe              what the data of --task are
  --print-completion SHELL  completes flags and names in bash, zsh or tcsh
  --version               the version
"""


def answer(arguments: Sequence[str]) -> str | None:
    """What is printed for these arguments, where they ask for no more than this module knows; else None."""
    if list(arguments) in (["-h"], ["--help"]):
        return HELP.rstrip()
    if "--version" in arguments:
        return f"policy-ablation {version()}"
    return None


def version() -> str:
    """Of a checkout what its `pyproject.toml` says, else what is installed."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text())["project"]["version"]
    return metadata.version("policy-ablation")
