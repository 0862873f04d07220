"""`--reproduce DIR`: parsed, carried out, said."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ablations.command import words
from ablations.command.arguments import Parser
from ablations.command.complaints import refuse_repeated_flags
from core import devices
from core.options import OptionError


@dataclass(frozen=True)
class Asked:
    """What is to be made again, where to, and on what."""

    directory: Path
    out: Path
    device: torch.device


def parse(arguments: Sequence[str]) -> Asked | None:
    """What is asked for; None where it is another command. Raises `OptionError` for what cannot be."""
    flags = {word.partition("=")[0] for word in arguments}
    if "--reproduce" not in flags or flags & {"-h", "--help", "--help-all"}:
        return None
    refuse_repeated_flags(arguments)
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--reproduce", type=words.path, required=True)
    below = Path("runs") / f"reproduce-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    parser.add_argument("--out", type=words.directory, default=below)
    parser.add_argument("--device", default="auto")
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(f"{unknown[0]}: --reproduce makes a run as it was, and takes --out and --device alone")
    return Asked(known.reproduce, known.out, devices.chosen(known.device))
