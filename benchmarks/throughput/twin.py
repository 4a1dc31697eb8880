"""The naive twin: a loop over messages, an object per asset, one window at a time through the model.

    python -m benchmarks.throughput.twin BOOTSTRAP STORE FLEET OUTPUT WINDOWS

It ends after scoring this many windows, with all records published.
"""

import json

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.throughput.fleet import PARTITIONS, PATIENCE_S, TOPIC
from benchmarks.throughput.naive import Call, Machine


def main() -> None:
    call = Call()
    consumer = Consumer({"bootstrap.servers": call.bootstrap, "group.id": "twin", "log_level": 0})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    producer = Producer({"bootstrap.servers": call.bootstrap, "log_level": 0})

    machines: dict[str, Machine] = {}
    done = 0
    while done < call.windows:
        message = consumer.poll(1.0)
        if message is None:
            continue

        body = json.loads(message.value() or b"")
        asset = body["asset"]
        if asset not in machines:
            machines[asset] = call.job.machine(asset)

        found = call.job.step(machines[asset], body)
        if found is not None:
            producer.produce(call.output, found, asset)
            producer.poll(0)
            call.meter.count()
            done += 1

    assert producer.flush(PATIENCE_S) == 0
    consumer.close()


if __name__ == "__main__":
    main()
