"""Everything through which a worker is observed, in one record that the parts of a process share.

A part takes the whole record and uses what it needs: counters, conditions, signs of life, log, clocks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from structlog.stdlib import BoundLogger

from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.observe.watchdog import Notifier


@dataclass(frozen=True, slots=True)
class Observer:
    """Metrics, health, watchdog, log and clocks of one process."""

    metrics: Metrics
    health: Health
    watchdog: Notifier
    log: BoundLogger
    wall_ms: Callable[[], int]  # ms UTC
    monotonic: Callable[[], float]  # seconds

    def named(self, logger: str) -> "Observer":
        """Return this observer with the log of another name."""
        return replace(self, log=structlog.stdlib.get_logger(logger))

    def without_watchdog(self) -> "Observer":
        """Return this observer for a thread whose signs of life do not count, because another thread gives them."""
        return replace(self, watchdog=Notifier({}, self.monotonic, lambda: None))
