"""A real time-series database for the tests: VictoriaMetrics, which takes the writes of InfluxDB 2 clients.

    with victoria_metrics(tmp_path) as database: ...

It keeps numbers, booleans as 1 and 0, and texts as 0; it answers 204 to anything and checks no token. Where it is not
installed the test is skipped, but fails where the environment says CI=true: there, everything is installed.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.brokers import free_port

_READY_S = 30.0  # it takes less than one
_NAMES = ("victoria-metrics", "victoria-metrics-prod")  # Debian's package and the project's own


class Series(NamedTuple):
    labels: dict[str, str]  # without the name
    samples: dict[int, float]  # by ms


class VictoriaMetrics:
    def __init__(self, url: str) -> None:
        self.url = url

    def series(self, name: str) -> list[Series]:
        """Return all series of a metric (measurement_field) with every acknowledged point."""
        self.get("/internal/force_flush")
        found = []
        for line in self.get("/api/v1/export", **{"match[]": name}).splitlines():
            row = json.loads(line)
            del row["metric"]["__name__"]
            found.append(Series(row["metric"], dict(zip(row["timestamps"], row["values"], strict=True))))
        return found

    def get(self, path: str, **query: str) -> str:
        with urlopen(f"{self.url}{path}?{urlencode(query)}", timeout=_READY_S) as response:
            return str(response.read().decode())


@contextmanager
def victoria_metrics(directory: Path) -> Iterator[VictoriaMetrics]:
    """The database with its data in `directory`, which keeps points of any age."""
    binary = next(filter(None, map(shutil.which, _NAMES)), None)
    if binary is None:
        reason = f"none of {', '.join(_NAMES)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    address = f"127.0.0.1:{free_port()}"

    options = (f"-httpListenAddr={address}", f"-storageDataPath={directory}", "-retentionPeriod=100y")
    process = subprocess.Popen(
        [binary, *options, "-search.latencyOffset=0s", "-loggerLevel=ERROR"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    try:
        database = VictoriaMetrics(f"http://{address}")
        _wait_until_healthy(database, process)
        yield database
    finally:
        process.kill()
        process.wait(_READY_S)


def _wait_until_healthy(database: VictoriaMetrics, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"VictoriaMetrics ended with {process.returncode}"
        try:
            database.get("/health")
        except URLError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"VictoriaMetrics was not healthy within {_READY_S} s")
