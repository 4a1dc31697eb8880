"""An observer for tests: its own metrics, an unconfigured logger, and replaceable clocks."""

import time
from collections.abc import Callable

import structlog

from monitor.observe.clock import wall_ms as real_wall_ms
from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.observe.observer import Observer
from monitor.observe.watchdog import Notifier


def observer(
    metrics: Metrics | None = None,
    health: Health | None = None,
    *,
    alive: Callable[[], None] = lambda: None,
    wall_ms: Callable[[], int] = real_wall_ms,
    monotonic: Callable[[], float] = time.monotonic,
) -> Observer:
    """Return an observer. Parts not given are new, and `alive` is called at each watchdog ping."""
    return Observer(
        metrics=metrics or Metrics(),
        health=health or Health(60, ()),
        watchdog=Notifier({}, monotonic, alive),
        log=structlog.stdlib.get_logger("test"),
        wall_ms=wall_ms,
        monotonic=monotonic,
    )
