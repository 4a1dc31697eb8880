"""InfluxDB itself for the tests: the write and query APIs of version 2, Flux, and InfluxQL.

    with influxd(folder) as database: InfluxSink(database.url, lambda: database.token, database.org, database.bucket)

INFLUXD names the program (tests/parts.py): InfluxDB 1.8 or later with Flux built in. Version 2 itself has another start
and no InfluxQL without set-up. The database has no login, so any token and any organisation will do.
"""

import csv
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.brokers import free_port
from tests.parts import program

BUCKET = "monitor"
_READY_S = 30.0  # it takes a third of a second

_CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{backup}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  flux-enabled = true
  log-enabled = false
[monitor]
  store-enabled = false
"""


class Influxd:
    """The server, which can be killed and started again on one port with the same data."""

    token, org, bucket = "user:password", "any", BUCKET

    def __init__(self, folder: Path) -> None:
        self._binary = program("INFLUXD", "program of InfluxDB")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "influxd.conf").write_text(_CONFIG.format(folder=folder, port=port, backup=free_port()))

    def up(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "run", "-config", self._folder / "influxd.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        deadline = time.monotonic() + _READY_S
        while True:
            assert self._process.poll() is None, (self._folder / "influxd.log").read_text()[-2000:]
            assert time.monotonic() < deadline, f"influxd did not answer within {_READY_S} s"
            try:
                urlopen(f"{self.url}/ping", timeout=_READY_S).close()
            except URLError:
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would. A second call does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_READY_S)
            self._process = None

    def write(self, lines: bytes) -> None:
        """Store line protocol with times in ms. A refusal, even of a part, raises HTTPError."""
        place = urlencode({"bucket": BUCKET, "org": self.org, "precision": "ms"})
        with self._post(f"/api/v2/write?{place}", lines, {}) as answer:
            assert answer.status == 204

    def influxql(self, query: str) -> list[dict[str, Any]]:
        """Return the series that answer a statement, each with `columns`, `values`, and `tags` if it is grouped."""
        asked = urlencode({"db": BUCKET, "epoch": "ms", "q": query})
        with self._post(f"/query?{asked}", b"", {}) as answer:
            (result,) = json.loads(answer.read())["results"]
        assert "error" not in result, f"{query}: {result['error']}"
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def flux(self, query: str) -> list[dict[str, str]]:
        """Return the rows that answer a query, of all its tables; every value is text, and a missing one empty."""
        wanted = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
        try:
            with self._post(f"/api/v2/query?org={self.org}", query.encode(), wanted) as answer:
                text = answer.read().decode()
        except HTTPError as fault:
            raise AssertionError(f"{query}: {fault.read().decode()}") from fault

        rows = []
        for block in text.replace("\r\n", "\n").strip("\n").split("\n\n"):  # tables of other columns are blocks apart
            plain = [line for line in block.split("\n") if line and not line.startswith("#")]
            rows += [
                {name: value for name, value in row.items() if name}
                for row in csv.DictReader(StringIO("\n".join(plain)))
            ]
        assert all("error" not in row for row in rows), f"{query}: {rows}"
        return rows

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        login = {"Authorization": f"Token {self.token}"}
        return urlopen(Request(f"{self.url}{path}", body, {**login, **headers}, method="POST"), timeout=_READY_S)


@contextmanager
def influxd(folder: Path) -> Iterator[Influxd]:
    """The server with its data in `folder`, and an empty bucket."""
    database = Influxd(folder)
    try:
        database.up()
        database.influxql(f'CREATE DATABASE "{BUCKET}"')
        yield database
    finally:
        database.kill()
