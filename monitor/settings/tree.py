"""The settings of a process: one frozen tree of sections, valid by themselves and together.

A process gets its settings from `load.load`, which reads file, environment and flags. Settings built directly, as in a
test, take nothing from the environment.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from monitor.core.angles import with_parts
from monitor.core.decode.format import Format
from monitor.core.decode.select import STATE
from monitor.core.fitting.recipe import Recipe
from monitor.core.routing import Route
from monitor.settings.checks.check import check
from monitor.settings.checks.problem import ContradictionError
from monitor.settings.detectors import merged
from monitor.settings.sections import Sections


class Role(StrEnum):
    """Part of the work that a process does. On several machines, each part may have processes of its own."""

    ALL = "all"
    DETECT = "detect"  # read, score, alert
    RECORD = "record"  # alerts and scores into the database
    TRAIN = "train"  # make models from the histories that the detecting processes keep in the store


class Settings(Sections):
    """Everything that an operator may decide."""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        """Raise ContradictionError, which pydantic wraps, if settings cannot work together."""
        problems = tuple(check(self))
        if problems:
            raise ContradictionError(problems)
        return self

    def per_detector(self) -> "tuple[Settings, ...]":
        """Return the settings of each detector: these, with its own name, route and sections."""
        return tuple(merged(self, each) for each in self.detectors) or (self,)

    def of_detector(self, name: str) -> "Settings":
        """Return the settings of a detector; an empty name means the first. Raises ValueError for an unknown one."""
        found = {each.name: each for each in self.per_detector()}
        if name and name not in found:
            raise ValueError(f"there is no detector {name!r}, expected {' or '.join(found)}")
        return found[name or next(iter(found))]

    def route(self) -> Route:
        """Return which assets and channels the detector of these settings gets; see `per_detector`."""
        kinds = self.channel_kinds()
        route = self.detectors[0].route() if self.detectors else Route()
        route = replace(route, channels=with_parts(route.channels, kinds))
        condition = self.running.condition(kinds)
        return route if condition is None else replace(route, watched=condition.channels)

    def message_format(self) -> Format:
        """Return the format of the source's messages. Raises ValueError if its settings contradict one another."""
        tables = self.source.kind == "files" and self.source.format != "jsonl"
        select, kinds = self.select.build(), self.channel_kinds()
        if tables:
            return self.format.build_table(self.source.format, select, kinds)
        return self.format.build(select, kinds)

    def recipe(self) -> Recipe:
        """Return how to fit a model with these settings."""
        kinds = self.channel_kinds()
        return replace(
            self.training.recipe(self.model, self.running.rest_days(self.training.recurs_days)),
            kinds=kinds.globs if STATE in {kind for _, kind in kinds.globs} else (),
            texts=kinds.texts,
            spans=tuple((glob, section.span) for glob, section in self.channels.items()),
            aggregates=self.windows.aggregate,
            mode_channel=self.modes.channel,
            learn_modes=self.modes.learned,
        )
