"""Try everything that the settings name: `monitor check --connect`.

Nothing is produced, no group is joined and no topic is created. The store gets one file, which is read and deleted
again. Each part is tried in a thread of its own, so that one that hangs takes no time from the others, and all of them
end within one limit.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread

from monitor.connectors.base import Finding, Unavailable
from monitor.service.backends import make_blobs, probe_kafka, probe_points, probe_registry
from monitor.settings.tree import Settings
from monitor.store.base import StoreUnavailable

CONNECT_S = 30.0  # for all together
_SPARE_S = 1.0  # of it, for a part to report that its time is up

Probe = Callable[[Settings, float], list[Finding]]


def try_all(settings: Settings, seconds: float) -> list[Finding]:
    """Return what was found of each part, in a fixed order, within `seconds`."""
    parts: dict[str, Probe] = {}
    source, outputs = settings.source.kind, settings.outputs.kind
    if "kafka" in {source, outputs}:
        parts[f"brokers {settings.kafka.bootstrap_servers}"] = probe_kafka
    if source == "files":
        parts["files"] = _try_files
    if outputs == "files":
        parts[f"folder {settings.outputs.directory}"] = _try_folder
    if settings.schemas.registry_url and source != "files":
        parts[f"schema registry {settings.schemas.registry_url}"] = probe_registry
    if settings.recorder.enabled:
        parts[f"database {settings.recorder.url}"] = probe_points
    parts[f"store {settings.store.url}"] = _try_store

    # All at once.
    limit = max(0.1, seconds - _SPARE_S)
    found: dict[str, list[Finding]] = {}
    threads = [
        Thread(target=_run, args=(name, probe, settings, limit, found), name=name, daemon=True)
        for name, probe in parts.items()
    ]
    for thread in threads:
        thread.start()

    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {seconds:g} s"
    return [finding for name in parts for finding in found.get(name, [Finding(name, False, late)])]


def verdict(findings: Sequence[Finding]) -> str:
    """Return the last line."""
    failed = [finding.item for finding in findings if not finding.ok]
    if not failed:
        return f"verdict: all {len(findings)} items are ok"
    return f"verdict: {len(failed)} of {len(findings)} items failed: {', '.join(failed)}"


def _run(name: str, probe: Probe, settings: Settings, seconds: float, found: dict[str, list[Finding]]) -> None:
    try:
        found[name] = probe(settings, seconds)
    except (Unavailable, StoreUnavailable, OSError, ValueError) as error:
        found[name] = [Finding(name, False, str(error))]
    except Exception as error:  # noqa: BLE001 - an item that cannot be tried must not hide the others
        found[name] = [Finding(name, False, f"{type(error).__name__}: {error}")]


def _try_files(settings: Settings, _: float) -> list[Finding]:
    """Read the first byte of each file."""
    return [_file(path) for path in settings.source.paths]


def _file(path: str) -> Finding:
    if path == "-":
        return Finding("standard input", True, "it is read when the monitor runs")
    try:
        with Path(path).open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        return Finding(f"file {path}", False, error.strerror or str(error))
    return Finding(f"file {path}", True, "it is empty" if empty else "it can be read")


def _try_folder(settings: Settings, _: float) -> list[Finding]:
    """Write a file to the folder of the outputs, and remove it."""
    folder = Path(settings.outputs.directory)
    item = f"folder {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
            file.write(b"probe")
    except OSError as error:
        return [Finding(item, False, error.strerror or str(error))]
    return [Finding(item, True, "a file can be written")]


def _try_store(settings: Settings, _: float) -> list[Finding]:
    """Write, read and delete a file."""
    item, name, body = f"store {settings.store.url}", f"probe-{uuid.uuid4().hex}", b"probe"
    try:
        blobs = make_blobs(settings)
        blobs.write(name, body)
        same = blobs.read(name) == body
        blobs.delete(name)
    except StoreUnavailable as error:
        return [Finding(item, False, error.reason)]
    if not same:
        return [Finding(item, False, "a file that was written reads differently")]
    return [Finding(item, True, "a file was written, read and deleted")]
