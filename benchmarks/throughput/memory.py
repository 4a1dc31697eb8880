"""A worker with an in-process broker, to measure the cost of Kafka's client.

    python -m benchmarks.throughput.memory FLEET CONFIG

The messages are made before waiting for the file `go` in the store, so that this time is not measured.
"""

import signal
import sys
import threading
import time
from pathlib import Path

from benchmarks.throughput.fleet import PARTITIONS, TOPIC, Fleet, fleet
from benchmarks.throughput.product import ALERTS, DEAD, GROUP, SCORES
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Record
from monitor.service.run import Service
from monitor.settings.load import load


def empty(group: str) -> MemoryBroker:
    """Return a broker on which this group has committed offset 0 of every partition."""
    broker = MemoryBroker(dict.fromkeys((TOPIC, ALERTS, SCORES, DEAD), PARTITIONS), bound=None)
    member = broker.join(group, [TOPIC])
    broker.commit(group, member, dict.fromkeys(broker.claim(group, member), 0))
    broker.kick(group, member)
    return broker


def write(broker: MemoryBroker, records: list[tuple[int, Record, int]]) -> None:
    """Append all messages."""
    for number, record, at in records:
        broker.append(record, number, at)


def records(sent: Fleet) -> list[tuple[int, Record, int]]:
    """Yield the messages of a fleet: partition, record, time."""
    return [
        (number, Record(TOPIC, key, value), sent.time(step))
        for step in range(sent.steps)
        for number, key, value in sent.step(step)
    ]


def main() -> None:
    sent, settings = fleet(sys.argv[1]), load(Path(sys.argv[2]), {}, {})
    broker, stop = empty(GROUP), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    made = records(sent)

    def go() -> None:
        while not Path(settings.store.url, "go").exists():
            time.sleep(0.05)
        write(broker, made)

    threading.Thread(target=go, daemon=True).start()
    Service(settings, broker).run(stop)


if __name__ == "__main__":
    main()
