"""Reload the settings while the worker runs: the file is read again, and applied or refused as a whole.

A reload follows a SIGHUP and, unless `reload.on_change` is off, a change of the file. The file's content is compared
every second: time, size and inode do not show every change (an atomic replacement, the symbolic links of a mounted
ConfigMap), and a configuration is small. Content that is the same twice in a row counts as completely written. Should
it be half a file nevertheless, it is refused with the reason and read again after its next change. Files of secrets are
not compared: secrets cannot change live, except the recorder's token, which is read again when it is refused.

Which settings are live, and how partitions adopt them, is in settings/live.py. If any other setting has changed,
nothing is applied, and the log names each such setting and the reason.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from structlog.stdlib import BoundLogger

from monitor.observe.logs import set_level
from monitor.observe.metrics import Metrics
from monitor.settings.live import changes, live_settings
from monitor.settings.load import ConfigurationError
from monitor.settings.tree import Settings

LOOK_S = 1.0  # between two reads of the file

Apply = Callable[[Settings], None]  # takes settings, which each partition adopts at its next checkpoint


class Reloader:
    """Reload the configuration on request. Any thread may call its methods."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        metrics: Metrics,
        log: BoundLogger,
        content: Callable[[], bytes] | None = None,
    ) -> None:
        """Store where settings come from.

        Args:
            settings: Settings in force.
            load: Returns the settings as they are written now. Raises ConfigurationError.
            metrics: Counts reloads.
            log: Logs reloads.
            content: Returns the content of the file. None = there is no file to compare.
        """
        self._settings = settings
        self._load = load
        self._metrics = metrics
        self._log = log
        self._content = content
        self._lock = threading.Lock()
        self._seen: bytes | None = None  # content at the last comparison
        self._read: bytes | None = None  # content when it was last loaded

    def reload(self, apply: Apply) -> None:
        """Apply every change, or none."""
        with self._lock:
            self._reload(apply)

    def look(self, apply: Apply) -> None:
        """Reload if the content differs from the last one loaded and is the same as at the last comparison."""
        now = None if self._content is None else self._content()
        with self._lock:
            if now == self._seen != self._read and self._settings.reload.on_change:
                self._reload(apply, first=self._read is None)
            self._seen = now

    @contextmanager
    def looking(self, apply: Apply) -> Iterator[None]:
        """Compare every LOOK_S meanwhile, in a thread: a disk that hangs must not block the work."""
        if self._content is None:
            yield
            return

        over = threading.Event()

        def work() -> None:
            while not over.wait(LOOK_S):
                self.look(apply)

        thread = threading.Thread(target=work, name="configuration", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(LOOK_S)

    def _reload(self, apply: Apply, *, first: bool = False) -> None:
        """Load and apply. The first comparison logs nothing without a change: it covers the time since the start."""
        # Read the content before loading: a change in between then shows at the next comparison.
        self._read = None if self._content is None else self._content()
        try:
            new = self._load()
        except ConfigurationError as error:
            self._refuse("invalid", error.problems)
            return

        live, refused = changes(self._settings, new)
        if refused:
            self._refuse("refused", refused)
            return
        if first and not live:
            return

        set_level(new.log.level)
        apply(new)
        self._settings = new
        self._metrics.add("monitor_config_reloads_total", result="applied")
        self._log.info("configuration reloaded", changed=_changed(new, live))

    def _refuse(self, result: str, problems: list[str]) -> None:
        self._metrics.add("monitor_config_reloads_total", result=result)
        self._log.error("configuration refused", result=result, problems=problems)


def _changed(settings: Settings, keys: Sequence[str]) -> dict[str, object]:
    """Return the new values of live settings: of sections the live part, of a detector true if it exists now."""
    values = live_settings(settings)
    names = {f"detectors[{each.name}]" for each in settings.detectors}
    return {
        key: key in names if key.endswith("]") else values[key] if key in values else settings.value(key)
        for key in keys
    }


def content(path: Path) -> bytes:
    """Return the content of a file, or the reason why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return str(error).encode()
