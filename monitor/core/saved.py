"""The saved state of a partition, in a module that stores can import without the stages, which need torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.core.records import State


@dataclass(frozen=True, slots=True)
class Part:
    """The state of one detector on one partition."""

    model: str  # version of the model in use; empty = none yet
    fingerprint: str  # see `Pipeline`
    state: State


@dataclass(frozen=True, slots=True)
class SavedDetectors:
    """The state of all detectors of one partition."""

    shared: State
    parts: Mapping[str, Part]  # by detector
