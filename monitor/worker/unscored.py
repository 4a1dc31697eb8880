"""Tells in the log which assets send but are not scored, and when that ends: once each, and few lines a minute.

The condition itself is a function of the stream (`Windows.not_scored`). What was told is kept in this process only, by
name, so a partition that leaves and comes back is not told again.
"""

from collections.abc import Collection, Sequence

from structlog.stdlib import BoundLogger

from monitor.worker.status import Asset

LINES = 5  # of each event a minute; a class of a thousand machines may lose a channel at once
_MINUTE_S = 60.0
_MOST = 65_536  # names kept; beyond, those that are gone are dropped


class UnscoredAssets:
    """Which assets were told, and how many lines the present minute has left."""

    def __init__(self, log: BoundLogger) -> None:
        self._log = log
        self._told: set[tuple[str, str]] = set()  # detector and asset
        self._minute_s = -_MINUTE_S  # begin of the present minute, monotonic
        self._begun = 0  # in the present minute
        self._ended = 0

    def note(self, assets: Sequence[Asset], replaying: Collection[str], now_s: float) -> None:
        """Log what has changed. Assets in `replaying` are passed over: their past was told before."""
        if now_s - self._minute_s >= _MINUTE_S:
            self._sum_up()
            self._minute_s = now_s

        for asset in assets:
            key = asset.detector, asset.name
            if bool(asset.cause) == (key in self._told) or asset.name in replaying or asset.state == "silent":
                continue
            if asset.cause:
                self._told.add(key)
                self._begun += 1
                if self._begun <= LINES:
                    self._log.warning(
                        "asset not scored", detector=asset.detector, asset=asset.name, reason=asset.reason
                    )
            else:
                self._told.remove(key)
                self._ended += 1
                if self._ended <= LINES:
                    self._log.info("asset scored again", detector=asset.detector, asset=asset.name)
        if len(self._told) > _MOST:
            self._told &= {(asset.detector, asset.name) for asset in assets}

    def _sum_up(self) -> None:
        """Count what had no line in the minute that ends."""
        begun, ended = max(0, self._begun - LINES), max(0, self._ended - LINES)
        if begun or ended:
            self._log.warning("more assets not scored", more=begun, again=ended, assets=len(self._told))
        self._begun = 0
        self._ended = 0
