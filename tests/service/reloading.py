"""A worker as a process that reads a file of readings in their rhythm, and the configuration that a test rewrites."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monitor.settings.base import literal
from tests.core.machines import rows
from tests.rig import SMALL, put_model, until, values
from tests.service.test_process import ROOT, environment


class Site:
    """The folder of a worker."""

    def __init__(self, folder: Path) -> None:
        """Readings for half an hour and a model are put there."""
        self.folder, self.file = folder, folder / "monitor.toml"
        (folder / "in.jsonl").write_bytes(b"".join(value + b"\n" for _, value, _ in values(rows(2000))))
        put_model(folder / "store")
        self.given = {
            **SMALL,
            "source.kind": "files",
            "source.paths": [str(folder / "in.jsonl")],
            "source.speed": 1.0,
            "outputs.kind": "files",
            "outputs.directory": str(folder / "out"),
            "store.url": str(folder / "store"),
        }

    def text(self, **more: object) -> str:
        """A configuration; `threshold__margin=2.0` for threshold.margin."""
        every = {**self.given, **{key.replace("__", "."): value for key, value in more.items()}}
        lines = [f"{key} = {literal(value)}" for key, value in every.items()]
        return "\n".join(sorted(lines, key=lambda line: "." in line.partition(" ")[0])) + "\n"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the log says of an event."""
        told = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        return [line for line in told if line["event"] == event]

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The process, once it is at work; it is killed if it is still there."""
        command = [sys.executable, "-m", "monitor", "run", "-c", str(self.file)]
        with (
            (self.folder / "log").open("wb") as log,
            subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=log) as worker,
        ):
            try:
                self.wait(worker, "summary", 1)
                yield worker
            finally:
                worker.kill()

    def wait(self, worker: "subprocess.Popen[bytes]", event: str, count: int) -> dict[str, Any]:
        """The newest line of an event once there are so many; the process must go on."""
        until(lambda: len(self.lines(event)) >= count or worker.poll() is not None)
        assert worker.poll() is None
        return self.lines(event)[count - 1]
