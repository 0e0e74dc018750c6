"""The faults that a local server can inject, so that users can test how their code handles them.

Three modules hold them by level: invalid HTTP (`broken`), valid HTTP other than the requested page
(`answers`), pages with invalid content (`pages`). `plan` decides which request gets a fault.
"""

from .fault import Fault
from .plan import FAULTS, Faults, Plan, ScheduledFault, fault_named

__all__ = ["FAULTS", "Fault", "Faults", "Plan", "ScheduledFault", "fault_named"]
