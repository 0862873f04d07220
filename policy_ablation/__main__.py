"""The command line, where the package is installed: `policy-ablation` and `python -m policy_ablation`."""

import signal
import sys


def main() -> None:
    """Run the command and end the process with its exit code."""
    # in the seconds that imports take an interrupt just ends it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from policy_ablation import _parts

    _parts.find()
    from ablations.command import brief

    said_at_once = brief.answer(sys.argv[1:])
    if said_at_once is not None:
        print(said_at_once)
        return
    from ablations.command.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
