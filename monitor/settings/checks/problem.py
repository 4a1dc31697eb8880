"""A combination of settings that is refused, and the error that lists all of them."""

from collections.abc import Iterator
from typing import NamedTuple

Problems = Iterator[tuple[str, ...]]  # of each problem the consequence, then the keys of the settings involved


class Problem(NamedTuple):
    """A combination that is refused."""

    keys: tuple[str, ...]  # of the settings involved
    consequence: str


class ContradictionError(ValueError):
    """Settings that cannot work together."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{', '.join(keys)}: {consequence}" for keys, consequence in problems))
