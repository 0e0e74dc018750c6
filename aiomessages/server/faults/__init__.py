"""The faults that a local server can play, so that users rehearse them against their own code.

Three tables by where a fault stands: below the API (`broken`), in the answer (`answers`), in the
page (`pages`); and the plan of when each strikes.
"""

from .fault import Fault
from .plan import FAULTS, ArmedFault, Faults, Plan, named

__all__ = ["FAULTS", "ArmedFault", "Fault", "Faults", "Plan", "named"]
