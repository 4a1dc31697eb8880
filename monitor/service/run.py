"""Run a process: open its parts in order, work, and close them in the reverse order, whatever happens in between.

The exit code tells the supervisor whether starting again would help.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import structlog
import torch

from monitor.connectors.base import Unavailable
from monitor.connectors.memory.client import MemoryBroker
from monitor.observe.clock import wall_ms
from monitor.recorder.recorder import Recorder
from monitor.service.backends import make_blobs
from monitor.service.reload import Reloader, content
from monitor.service.signals import AGAIN, handle_signals
from monitor.service.wiring import make_daemon, make_observer, make_recorder, make_training_worker
from monitor.settings.load import ConfigurationError
from monitor.settings.notes import notes
from monitor.settings.tree import Role, Settings
from monitor.store.base import StoreUnavailable
from monitor.web.app import make_app, page_routes, probe_routes
from monitor.web.page import Page
from monitor.web.server import WebServer
from monitor.worker.loop import Daemon
from monitor.worker.status import WorkerStatus

BAD_CONFIGURATION = 78  # EX_CONFIG: starting it again would not help
GRACE_S = 15.0  # beyond the checkpoint's own limit, for closing what may hang

log = structlog.stdlib.get_logger("monitor")


class Service:
    """A worker with everything around it; `daemon.status`, `metrics` and `health` may be read meanwhile."""

    def __init__(self, settings: Settings, broker: MemoryBroker | None = None, role: Role = Role.ALL) -> None:
        self.settings = settings
        self.role = role
        self.observer = make_observer(settings, role)
        self.metrics = self.observer.metrics
        self.health = self.observer.health
        self.daemon: Daemon | None = None
        self.port: int | None = None  # of the HTTP server, once it listens
        self.failure: BaseException | None = None  # of the recorder's thread
        self._broker = broker
        self._wanted = settings  # as reloaded last

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set or the source has ended. Raises any unrecoverable error."""
        settings, metrics = self.settings, self.metrics
        torch.set_num_threads(settings.model.threads)
        metrics.set("monitor_start_timestamp_seconds", wall_ms() / 1000)

        # The server opens first: probes must be answered while the store is read and the group is joined.
        with ExitStack() as stack:
            if settings.health.enabled:
                self._serve(stack)
            try:
                work = self._opened(stack, stop)
            except ValueError as error:  # a client refuses its options, or a URL has no file system
                raise ConfigurationError([str(error)]) from error
            work(stop)

        if self.failure is not None:
            raise self.failure

    def _opened(self, stack: ExitStack, stop: threading.Event) -> Callable[[threading.Event], None]:
        """Open the parts of this process, for `stack` to close, and return its work. Raises ValueError."""
        settings, observer, role = self.settings, self.observer, self.role

        if role is Role.RECORD:
            if not settings.recorder.enabled:
                raise ValueError("there is nothing to do for the role record: recorder.enabled is false")
            recorder = make_recorder(settings, observer, self._broker, role)
            recorder.open()
            return recorder.run

        blobs = make_blobs(settings)
        if role is Role.TRAIN:
            if not settings.training.enabled:
                raise ValueError("there is nothing to do for the role train: training.enabled is false")
            return make_training_worker(settings, blobs, observer).run

        self.daemon, sink = make_daemon(settings, blobs, observer, self._broker, role=role, wanted=lambda: self._wanted)
        # The sink closes after the loop, which flushes to it on leaving the group.
        sink.open()
        stack.callback(sink.close)
        self.daemon.open()

        if role is Role.ALL and settings.recorder.enabled:
            stack.enter_context(self._recording(make_recorder(settings, observer, self._broker), stop))
        return self.daemon.run

    def _serve(self, stack: ExitStack) -> None:
        """Serve probes, metrics and the status page."""
        address = self.settings.health
        routes = probe_routes(self.health, self.metrics)

        if address.paged:
            page = Page(self.settings.name, self._status, self.health.ready, wall_ms)
            page.open()
            stack.callback(page.close)
            routes += page_routes(page)

        server = WebServer(make_app(routes, (*address.names, address.host)), address.host, address.port)
        try:
            server.open()
        except OSError as error:
            where = f"health.host {address.host!r}, health.port {address.port}"
            raise OSError(error.errno, f"{error.strerror} ({where})") from error
        stack.callback(server.close)
        self.port = server.port
        log.info("http server started", address=f"http://{address.host}:{server.port}")

    def apply(self, settings: Settings) -> None:
        """Let each partition adopt the live ones of these settings at its next checkpoint. Any thread may call it."""
        self._wanted = settings

    def _status(self) -> WorkerStatus | None:
        return None if self.daemon is None else self.daemon.status

    @contextmanager
    def _recording(self, recorder: Recorder, stop: threading.Event) -> Iterator[None]:
        """Run the recorder in a thread. If it fails, the worker stops: its exit lets the supervisor restart both."""
        leave = threading.Event()

        def work() -> None:
            try:
                recorder.open()
                recorder.run(leave)
            except BaseException as failure:  # noqa: BLE001 - raised by run
                self.failure = failure
                stop.set()

        thread = threading.Thread(target=work, name="recorder", daemon=True)
        thread.start()
        try:
            yield
        finally:
            leave.set()
            thread.join(self.settings.recorder.timeout_s + GRACE_S)


def run_service(
    settings: Settings, load: Callable[[], Settings], role: Role = Role.ALL, file: Path | None = None
) -> int:
    """Run until a signal arrives or the source ends. Return the exit code.

    `load` returns the present settings, on SIGHUP and when `file` changes.
    """
    stop = threading.Event()
    service = Service(settings, role=role)
    read_file = None if file is None else partial(content, file)
    reloader = Reloader(settings, load, service.metrics, log, read_file)
    grace_s = settings.delivery.revoke_timeout_s + GRACE_S

    def reload() -> None:
        reloader.reload(service.apply)

    for note in notes(settings):
        log.warning("configuration note", note=note)
    with handle_signals(stop, grace_s, reload), reloader.looking(service.apply):
        try:
            service.run(stop)
        except ConfigurationError as error:
            log.error("configuration refused", problems=error.problems)  # noqa: TRY400 - the sentences say all
            return BAD_CONFIGURATION
        except (Unavailable, StoreUnavailable, OSError) as error:
            log.error("service stopped", reason=str(error))  # noqa: TRY400 - the sentence says all; a trace would not help
            return AGAIN
        except Exception:
            log.exception("service crashed")
            return AGAIN
    return 0
