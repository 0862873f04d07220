"""The methods that golden files are replayed for, by the start of a file's name."""

from parity.methods.consistency_ac import ConsistencyAC
from parity.methods.diffusion_ql import DiffusionQL
from parity.methods.edp import EDP
from parity.methods.fql import FQL
from parity.methods.idql import IDQL
from parity.methods.iql import IQL
from parity.methods.qsm import QSM
from parity.methods.rebrac import ReBRAC
from parity.methods.srpo import SRPO
from parity.methods.td3_bc import TD3BC

METHODS = {
    "consistency_ac": ConsistencyAC,
    "dac_qam": QSM,
    "diffusion_ql": DiffusionQL,
    "edp": EDP,
    "fql": FQL,
    "idql": IDQL,
    "iql": IQL,
    "qsm": QSM,
    "rebrac": ReBRAC,
    "srpo": SRPO,
    "td3_bc": TD3BC,
}
