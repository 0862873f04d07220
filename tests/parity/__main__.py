"""python -m tests.parity FILE.json ...: the worst relative error of replaying each golden file, last on its line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# as pytest has it: what lies in tests/ is imported by its name alone
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from parity.files import Unreadable, errors_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    failed = False
    for path in parser.parse_args().files:
        try:
            errors = errors_of(path)
        except Unreadable as error:
            print(f"python -m tests.parity: error: {error}", file=sys.stderr)
            failed = True
            continue
        where = max(errors, key=errors.__getitem__)
        print(f"{path} {len(errors)} comparisons, worst at {where}: {errors[where]:.3g}", flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
