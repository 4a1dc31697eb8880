"""Options of the windows of one partition."""

from dataclasses import dataclass

from monitor.core.decode.select import ALL_MEASURED, Kinds
from monitor.core.windows.aggregates import LAST
from monitor.core.windows.pace import LEARNED, Holds


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Grid, windows and limits. The settings check the ranges; the stages trust them."""

    step_ms: int  # period of the grid
    length: int  # steps of a window, L
    lateness_ms: int  # how far behind an asset's newest reading another reading may be
    max_gap: int  # empty steps; a longer hole restarts the asset's window
    max_fill: int  # steps for which a channel's last value fills missing cells
    min_observed: float  # share of a window's cells that must be observed
    idle: int  # steps of the partition without a reading of an asset, after which the asset's open steps close
    max_assets: int
    max_channels: int
    new_assets: int  # assets a minute, after the first window
    forget_ms: int  # silence after which an asset can be evicted; at least `idle` steps, so that no step is open
    kinds: Kinds = ALL_MEASURED  # of channels; counters of kind "rate" become rates
    watched: tuple[str, ...] = ()  # channels by which `monitor.core.running` decides; windows may lack them
    aggregates: tuple[str, ...] = (LAST,)  # of the readings of a step
    mode: str = ""  # the channel of the modes, of which a step has the last reading under the channel's own name
    holds: Holds = LEARNED  # for how long channels hold their values
    hidden: tuple[str, ...] = ()  # those of them that no window ever has
