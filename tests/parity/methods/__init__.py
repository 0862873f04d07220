"""The methods that golden files are replayed for, by the start of a file's name."""

from parity.methods.diffusion_ql import DiffusionQL
from parity.methods.fql import FQL
from parity.methods.iql import IQL
from parity.methods.rebrac import ReBRAC
from parity.methods.td3_bc import TD3BC

METHODS = {
    "diffusion_ql": DiffusionQL,
    "fql": FQL,
    "iql": IQL,
    "rebrac": ReBRAC,
    "td3_bc": TD3BC,
}
