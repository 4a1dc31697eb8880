"""Labels: time spans of known faults, by which alerts and scores are evaluated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """A known fault of an asset. `size` and `seed` are for faults that the simulator makes."""

    asset: str
    kind: str
    channels: tuple[str, ...]
    start: int  # ms UTC: time of the first step changed
    end: int  # ms UTC: time of the first step after
    size: float = 0.0  # in the channel's unit; "frequency": factor; 0 for kinds that have none
    seed: int = 1  # of the random numbers in "noise"; the realisation that "decoupled" follows
