"""The page at /: assets, live alerts, learning, lag, for whoever can reach the port. One file, nothing from elsewhere.

page.html asks for /status.json every two seconds and changes what is there. Its script and style are named to the
browser by their sha256, so that nothing else runs, whatever the name of an asset is.

The loop knows nothing of the page. A thread looks at the status that the loop replaces as a whole about once a
second, and keeps the highest ratio of each EVERY_S in a ring per asset: 240 B each, at most 2.4 MB. An answer is made
at most once for each status and query, one at a time: a crowd that looks costs as much as one who does.
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
from monitor.training.trainer import Status
from monitor.web.page_status import Wanted, read_query, status
from monitor.worker.status import WorkerStatus, worker_status

POINTS = 60
EVERY_S = 5.0  # of a point: five minutes in all
KEPT = 10_000  # assets with a ring
LOOK_S = 1.0
_ANSWERS = 16  # kept until the next look; more different queries are answered, too, but made anew
_NOTHING = worker_status((), Status(), {})

HTML = Path(__file__).with_name("page.html").read_bytes()


def policy(html: bytes) -> str:
    """The Content-Security-Policy of the page: its own script and style, its own server, and nothing else."""
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
    """The last ratios of each asset, as text shows them: oldest first."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._ratios: Floats = np.empty((0, POINTS), np.float32)
        self._looks = 0

    def look(self, now: WorkerStatus, looks_per_point: int) -> None:
        """Take the ratios of a moment; every `looks_per_point` of them a new point begins."""
        names = [asset.name for asset in now.assets[:KEPT]]
        if names != list(self._rows):
            kept = [self._rows.get(name, -1) for name in dict.fromkeys(names)]
            before = np.vstack((self._ratios, np.full((1, POINTS), np.nan, np.float32)))  # -1 = the last
            self._rows, self._ratios = {name: row for row, name in enumerate(dict.fromkeys(names))}, before[kept]
        if self._looks % looks_per_point == 0:
            self._ratios = np.roll(self._ratios, -1, axis=1)
            self._ratios[:, -1] = np.nan
        self._looks += 1
        ratios = np.full(len(self._rows), np.nan, np.float32)
        for asset in now.assets[:KEPT]:
            if asset.ratio is not None:
                ratios[self._rows[asset.name]] = asset.ratio
        self._ratios[:, -1] = np.fmax(self._ratios[:, -1], ratios)

    def of(self, name: str) -> list[float]:
        """The points (POINTS,) of an asset, NaN = not scored; of one without a ring, none."""
        row = self._rows.get(name)
        if row is None:
            return []
        points: list[float] = np.round(self._ratios[row].astype(float), 2).tolist()
        return points


class Page:
    """See the module."""

    def __init__(
        self,
        name: str,
        look: Callable[[], WorkerStatus | None],
        ready: Callable[[], tuple[bool, str]],
        wall_ms: Callable[[], int],
    ) -> None:
        self._name, self._look, self._ready, self._wall_ms = name, look, ready, wall_ms
        self._lock = threading.Lock()  # of what follows; the loop never asks for it
        self._rings = Sparklines()
        self._now: WorkerStatus | None = None
        self._seen: int | None = None  # ms UTC
        self._answers: dict[str, bytes] = {}
        self._over = threading.Event()

    def open(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._watch, name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Take what the loop shows now."""
        now = self._look()
        with self._lock:
            if now is not None and now is not self._now:
                self._seen = self._wall_ms()
            self._now = now
            self._rings.look(now or _NOTHING, round(EVERY_S / LOOK_S))
            self._answers.clear()

    def answer(self, query: str) -> bytes:
        """/status.json, asked with `query`. Raises ValueError for one that does not fit."""
        wanted = read_query(query)
        with self._lock:
            made = self._answers.get(query)
            if made is None:
                made = self._made(wanted)
                if len(self._answers) < _ANSWERS:
                    self._answers[query] = made
            return made

    def _made(self, wanted: Wanted) -> bytes:
        ready, reasons = self._ready()
        head = {
            "name": self._name,
            "version": __version__,
            "time": self._wall_ms(),
            "seen": self._seen,
            "ready": ready,
            "wrong": [] if ready else reasons.splitlines(),
        }
        # NaN, not scored and not measured, becomes null.
        return msgspec.json.encode(head | status(self._now or _NOTHING, self._rings.of, wanted))
