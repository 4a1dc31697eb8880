"""Settings changed while the daemon runs: the file is read again, and applied or refused as a whole.

That happens on SIGHUP and, unless `reload.on_change` is off, when the file has become another. Its content is looked at
every second: neither time nor size nor inode tell of every change, an atomic replacement and the symbolic links of a
mounted ConfigMap among them, and a configuration is small. What is the same at two looks is taken for written. Was it
half of a file nevertheless, it is refused with the reason, and read when it has changed again. Files of secrets are not
looked at: what they hold cannot change live, but for the recorder's token, which is read again when it is refused.

Live are the log's level and the dials: the numbers of threshold and alerting that a stage looks at anew with each
window. A dial changes what is scored anomalous, so it is adopted as a model is (rule 5 in docs/delivery.md): at a
checkpoint, with a snapshot that names it. A replay turns its dials to where they stood.

Everything else was used up when the process started: clients are open, state has its shape, the trainer has its
recipe. If any of it has changed, nothing is applied, and the log names each such setting and why.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from structlog.stdlib import BoundLogger

from monitor.core.pipeline import Dials
from monitor.observe.logs import set_level
from monitor.observe.metrics import Metrics
from monitor.settings.base import shown
from monitor.settings.load import ConfigurationError
from monitor.settings.tree import Settings, fields

DIALS = (
    "threshold.percentile",
    "threshold.margin",
    "threshold.clip",
    "threshold.refresh",
    "alerting.alarms_per_day",
    "alerting.on_delay_s",
    "alerting.off_delay_s",
    "alerting.deadband",
    "alerting.critical_ratio",
    "alerting.update_s",
)
LIVE = (*DIALS, "log.level", "reload.on_change")
LOOK_S = 1.0  # between two looks at the file
_CLIENTS = "the clients were opened with it"
_STATE = "the state in memory was built with it"
_REASONS = {  # by section
    "": "it is part of the ids of alerts that are open",
    "source": _CLIENTS,
    "kafka": _CLIENTS,
    "outputs": _CLIENTS,
    "recorder": _CLIENTS,
    "format": "what was read before was read with it",
    "windows": _STATE,
    "threshold": _STATE,
    "sensors": _STATE,
    "model": "the trainer was started with it",
    "training": "the trainer was started with it",
    "store": "the store was opened with it",
    "delivery": "the loop was started with it",
    "health": "the server was opened with it",
    "log": "the log was opened with it",
}


def dials(settings: Settings) -> Dials:
    """Where the dials stand."""
    return {key: settings.value(key) for key in DIALS}


def turned(settings: Settings, to: Dials) -> Settings:
    """The settings with dials elsewhere; one that `to` does not name stays. Raises ValueError if out of range."""
    new = {}
    for part in ("threshold", "alerting"):
        section = getattr(settings, part)
        given = {key.removeprefix(f"{part}."): to[key] for key in DIALS if key.startswith(f"{part}.") and key in to}
        new[part] = type(section).model_validate({**section.model_dump(), **given})
    return settings.model_copy(update=new)


def changes(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Keys of live settings that differ, and for each other one that does why it cannot be applied."""
    live, refused = [], []
    for key, field in fields().items():
        before, after = old.value(key), new.value(key)
        if before == after or (key == "recorder.token" and new.recorder.token_file == old.recorder.token_file != ""):
            continue  # the recorder reads its token file again by itself
        if key in LIVE:
            live.append(key)
        else:
            reason = _REASONS[key.rpartition(".")[0]]
            refused.append(
                f"{key}: {shown(before, field)} is in force, since {reason}; restart for {shown(after, field)}"
            )
    return live, refused


class Reloader:
    """Reads the configuration again when asked to; may be asked by any thread."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        metrics: Metrics,
        log: BoundLogger,
        content: Callable[[], bytes] | None = None,
    ) -> None:
        """See the module.

        Args:
            settings: Those in force.
            load: Gives them as they are written now. Raises ConfigurationError.
            metrics: Where reloads are counted.
            log: Where they are told.
            content: Gives what the file holds; None = there is no file to look at.
        """
        self._settings, self._load, self._metrics, self._log = settings, load, metrics, log
        self._content = content
        self._lock = threading.Lock()
        self._seen: bytes | None = None  # at the last look
        self._read: bytes | None = None  # when it was last loaded

    def reload(self, turn: Callable[[Dials], None]) -> None:
        """Apply what has changed, or nothing. `turn` is told the dials; partitions adopt them when it is safe."""
        with self._lock:
            self._reload(turn)

    def look(self, turn: Callable[[Dials], None]) -> None:
        """Reload if the file is another than the last one loaded, and the same as at the last look."""
        now = None if self._content is None else self._content()
        with self._lock:
            if now == self._seen != self._read and self._settings.reload.on_change:
                self._reload(turn, first=self._read is None)
            self._seen = now

    @contextmanager
    def looking(self, turn: Callable[[Dials], None]) -> Iterator[None]:
        """Look every LOOK_S meanwhile, in a thread: a disk that hangs must not hold up the work."""
        if self._content is None:
            yield
            return
        over = threading.Event()

        def work() -> None:
            while not over.wait(LOOK_S):
                self.look(turn)

        thread = threading.Thread(target=work, name="configuration", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(LOOK_S)

    def _reload(self, turn: Callable[[Dials], None], *, first: bool = False) -> None:
        """The first look tells nothing if nothing has changed: it is for what did since the start read the file."""
        self._read = None if self._content is None else self._content()  # before: what comes between is seen again
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
        turn(dials(new))
        self._settings = new
        self._metrics.add("monitor_config_reloads_total", result="applied")
        self._log.info("configuration reloaded", changed={key: new.value(key) for key in live})

    def _refuse(self, result: str, problems: list[str]) -> None:
        self._metrics.add("monitor_config_reloads_total", result=result)
        self._log.error("configuration not reloaded", result=result, problems=problems)


def content(path: Path) -> bytes:
    """What a file holds, or why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return str(error).encode()
