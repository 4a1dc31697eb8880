"""Options of the thresholds of one partition."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """Percentile, margin and memory. The settings check the ranges; the stages trust them."""

    percentile: float  # of the asset's kept scores
    margin: float  # factor on the percentile
    memory: int  # scores kept per asset
    warm: int  # scores until the asset's own percentile is used
    clip: float  # a score enters as at most this factor of the percentile
    refresh: int  # scores between two renewals of the percentile
    kind: Literal["ring", "histogram"] = "ring"


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """The budget of alarms, and when an anomaly becomes an alert and ends, as for `MachineAlerts`."""

    alarms_per_day: float  # of an asset; 0 = no budget
    margin: float  # of the limits that the budget is given
    step_ms: int
    on_delay_ms: int
    off_delay_ms: int
    deadband: float
    gap_ms: int
