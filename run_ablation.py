"""Run an ablation from the command line. See --help."""

import os
import signal
import sys

if __name__ == "__main__":
    # in the seconds that imports take an interrupt just ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ablations.command import brief

    said_at_once = brief.answer(sys.argv[1:])
    if said_at_once is not None:
        print(said_at_once)
        sys.exit(0)

# before torch starts its threads: idle ones that spin make a machine shared with other work several times slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ablations.command.main import main, run

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
