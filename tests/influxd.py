"""A real InfluxDB 1 for the tests: it takes line protocol and answers InfluxQL.

    with influxd(tmp_path) as database: ...

InfluxDB 2 and its Flux are not to be had as a package; InfluxDB 1.6, as Debian packages it, has the same line protocol
and the same InfluxQL, but neither Flux nor the write API of version 2, so the recorder itself cannot write to it. Where
it is not installed the test is skipped, but fails where the environment says CI=true: there, everything is installed.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.brokers import free_port

DATABASE = "monitor"
_READY_S = 30.0  # it takes less than one


class Influxd:
    def __init__(self, url: str) -> None:
        self.url = url

    def write(self, lines: bytes) -> None:
        """Store line protocol with times in ms; what is refused, even a part of it, raises HTTPError."""
        url = f"{self.url}/write?{urlencode({'db': DATABASE, 'precision': 'ms'})}"
        with urlopen(Request(url, data=lines, method="POST"), timeout=_READY_S) as answer:
            assert answer.status == 204

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of the answer to one statement, each with `columns`, `values`, and `tags` if it is grouped."""
        parameters = urlencode({"db": DATABASE, "epoch": "ms", "q": query})
        with urlopen(Request(f"{self.url}/query?{parameters}", method="POST"), timeout=_READY_S) as answer:
            (result,) = json.loads(answer.read())["results"]
        assert "error" not in result, f"{query}: {result['error']}"
        series: list[dict[str, Any]] = result.get("series", [])
        return series


@contextmanager
def influxd(directory: Path) -> Iterator[Influxd]:
    """The server with its data in `directory`, and an empty database in it."""
    binary = shutil.which("influxd")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("influxd is missing in CI")
        pytest.skip("influxd is not installed (Debian: influxdb)")
    address = f"127.0.0.1:{free_port()}"
    given = {
        "INFLUXDB_META_DIR": str(directory / "meta"),
        "INFLUXDB_DATA_DIR": str(directory / "data"),
        "INFLUXDB_DATA_WAL_DIR": str(directory / "wal"),
        "INFLUXDB_HTTP_BIND_ADDRESS": address,
        "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}",  # for backups
        "INFLUXDB_MONITOR_STORE_ENABLED": "false",
    }
    with (directory / "influxd.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "-config", os.devnull],
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        database = Influxd(f"http://{address}")
        _wait_until_healthy(database, process)
        database.ask(f'CREATE DATABASE "{DATABASE}"')
        yield database
    finally:
        process.kill()
        process.wait(_READY_S)


def _wait_until_healthy(database: Influxd, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"influxd ended with {process.returncode}"
        try:
            with urlopen(f"{database.url}/ping", timeout=_READY_S):
                return
        except URLError:
            time.sleep(0.02)
    raise AssertionError(f"influxd was not healthy within {_READY_S} s")
