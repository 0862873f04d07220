"""Plan, run, load and ask: the testbed from Python. See docs/python.md.

from policy_ablation import Plan, load, run

results = run(Plan(policy=["diffusion", "gaussian"], bc_only=True, seeds=range(3)), out="runs/first")
policy = load("runs/first").policy("diffusion-bc", seed=0)
"""

from policy_ablation import _parts

_parts.find()

from ablations.experiment.door import Results, load, run  # noqa: E402
from ablations.plan.plan import Plan  # noqa: E402
from ablations.run.trained import TrainedPolicy  # noqa: E402
from core.options import OptionError  # noqa: E402

__all__ = ["OptionError", "Plan", "Results", "TrainedPolicy", "load", "run"]
