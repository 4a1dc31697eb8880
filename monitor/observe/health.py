"""Health of the process: the loop's heartbeat, and the conditions that must hold for the process to be ready.

A condition does not hold until it is set: unknown is not ready. The heartbeat begins with the process, so a start that
hangs is noticed, too.
"""

import time
from collections.abc import Callable, Iterable

REASON_CHARS = 500  # of a condition's reason; librdkafka's longest messages have 300


class Health:
    """State that the loop sets and probes read. Both may happen on any thread."""

    def __init__(
        self, stalled_s: float, conditions: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin alive and not ready.

        Args:
            stalled_s: Seconds without a heartbeat after which the loop counts as stalled.
            conditions: Names of the conditions, in the order in which reasons are listed.
            clock: Monotonic seconds.
        """
        self._stalled_s = stalled_s
        self._clock = clock
        self._beat = clock()
        self._reasons: dict[str, str | None] = dict.fromkeys(conditions, "not known yet")  # None = holds

    def beat(self) -> None:
        """Record a heartbeat of the loop."""
        self._beat = self._clock()

    def set(self, name: str, ok: bool, reason: str = "") -> None:
        """Set whether a condition holds, and the reason if it does not. Raise KeyError for an unknown condition."""
        if name not in self._reasons:
            raise KeyError(f"no condition {name!r}")
        self._reasons[name] = None if ok else _clean(reason) or "does not hold"

    def live(self) -> tuple[bool, str]:
        """Return whether the loop is alive, and a line with the age of its last heartbeat."""
        age = self._clock() - self._beat
        return age < self._stalled_s, f"last beat {age:.1f} s ago, stalled from {self._stalled_s:g} s\n"

    def ready(self) -> tuple[bool, str]:
        """Return whether every condition holds, and a line for each that does not."""
        reasons = self._reasons.copy()  # at once: another thread may set one meanwhile
        lines = [f"{name}: {reason}\n" for name, reason in reasons.items() if reason is not None]
        return not lines, "".join(lines) or "ready\n"


def _clean(reason: str) -> str:
    """Return one line of printable characters, so that a text from outside cannot pose as another condition."""
    printable = "".join(char if char.isprintable() else " " for char in reason[:REASON_CHARS])
    return " ".join(printable.split())
