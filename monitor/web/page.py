"""The status page at /: assets, live alerts, learning and lag, for operators.

page.html is one static file. Its script requests /status.json every two seconds and changes only what differs. The
Content-Security-Policy names script and style by their sha256, so a browser runs nothing else, whatever the name of an
asset contains.

The worker does not know the page. It replaces a `WorkerStatus` about once a second. A thread of the page samples that
record and keeps, for each asset and detector, the highest ratio of every STEP_S in a ring: 240 B each, at most 2.4 MB.
A response is made once per sample and query, one at a time, so many viewers cost as much as one.
"""

import base64
import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from monitor import __version__
from monitor.core.records import Floats
from monitor.web.page_status import AssetFilter, read_query, status
from monitor.worker.status import WorkerStatus

SPARKLINE_STEPS = 60
STEP_S = 5.0  # of a sparkline, which spans five minutes
MAX_ASSETS = 10_000  # with a sparkline
SAMPLE_S = 1.0

_RESPONSES = 16  # cached until the next sample; responses to further queries are made each time
_EMPTY = WorkerStatus(training={}, assets=(), partitions=0)  # while the worker starts

HTML = Path(__file__).with_name("page.html").read_bytes()


def policy(html: bytes) -> str:
    """Return the page's Content-Security-Policy: its own script, style and server, and nothing else."""
    hashes = []
    for tag in (b"script", b"style"):
        (inside,) = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), html, re.DOTALL)
        hashes.append(base64.b64encode(hashlib.sha256(inside).digest()).decode())

    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


POLICY = policy(HTML)


class Sparklines:
    """The recent ratios of each asset and detector, oldest first."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], int] = {}  # detector and asset -> row of the ratios
        self._ratios: Floats = np.empty((0, SPARKLINE_STEPS), np.float32)
        self._samples = 0

    def add(self, now: WorkerStatus, samples_per_step: int) -> None:
        """Take the ratios of one moment. Every `samples_per_step` samples, a new step begins."""
        assets = now.assets[:MAX_ASSETS]
        names = [(asset.detector, asset.name) for asset in assets]
        if names != list(self._rows):
            self._rearrange(list(dict.fromkeys(names)))

        if self._samples % samples_per_step == 0:
            self._ratios = np.roll(self._ratios, -1, axis=1)
            self._ratios[:, -1] = np.nan
        self._samples += 1

        ratios = np.full(len(self._rows), np.nan, np.float32)
        for asset in assets:
            if asset.ratio is not None:
                ratios[self._rows[asset.detector, asset.name]] = asset.ratio
        self._ratios[:, -1] = np.fmax(self._ratios[:, -1], ratios)

    def _rearrange(self, names: list[tuple[str, str]]) -> None:
        """Give each name a row, with the ratios that it already has."""
        # Row -1 of the padded ratios is a row of NaN, for names that are new.
        padded = np.vstack((self._ratios, np.full((1, SPARKLINE_STEPS), np.nan, np.float32)))
        self._ratios = padded[[self._rows.get(name, -1) for name in names]]
        self._rows = {name: row for row, name in enumerate(names)}

    def of(self, detector: str, name: str) -> list[float]:
        """Return an asset's ratios (SPARKLINE_STEPS,), NaN = not scored. Empty for an asset without a sparkline."""
        row = self._rows.get((detector, name))
        if row is None:
            return []

        ratios: list[float] = np.round(self._ratios[row].astype(float), 2).tolist()
        return ratios


class Page:
    """The data of the status page, sampled from a worker and served as /status.json."""

    def __init__(
        self,
        name: str,
        worker_status: Callable[[], WorkerStatus | None],
        ready: Callable[[], tuple[bool, str]],
        wall_ms: Callable[[], int],
    ) -> None:
        """Take no sample yet.

        Args:
            name: Title of the page: the name of the configuration.
            worker_status: Returns the worker's newest status, None while the worker starts.
            ready: Returns readiness and reasons, as /readyz shows them.
            wall_ms: ms UTC.
        """
        self._name = name
        self._worker_status = worker_status
        self._ready = ready
        self._wall_ms = wall_ms
        self._stopped = threading.Event()

        # The lock guards the rest. The worker's loop never takes it.
        self._lock = threading.Lock()
        self._sparklines = Sparklines()
        self._now: WorkerStatus | None = None
        self._seen: int | None = None  # ms UTC at which the status last changed
        self._responses: dict[str, bytes] = {}  # by query

    def open(self) -> None:
        """Start to sample."""
        self._thread = threading.Thread(target=self._keep_sampling, name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()

    def _keep_sampling(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """Take the worker's newest status."""
        now = self._worker_status()
        with self._lock:
            if now is not None and now is not self._now:
                self._seen = self._wall_ms()
            self._now = now

            self._sparklines.add(now or _EMPTY, round(STEP_S / SAMPLE_S))
            self._responses.clear()

    def answer(self, query: str) -> bytes:
        """Return /status.json for a query string. Raises ValueError for an invalid one."""
        wanted = read_query(query)
        with self._lock:
            response = self._responses.get(query)
            if response is None:
                response = self._encode(wanted)
                if len(self._responses) < _RESPONSES:
                    self._responses[query] = response
            return response

    def _encode(self, wanted: AssetFilter) -> bytes:
        ready, reasons = self._ready()
        head = {
            "name": self._name,
            "version": __version__,
            "time": self._wall_ms(),
            "seen": self._seen,
            "ready": ready,
            "reasons": [] if ready else reasons.splitlines(),
        }
        # msgspec writes NaN, not scored and not measured, as null.
        return msgspec.json.encode(head | status(self._now or _EMPTY, self._sparklines.of, wanted))
