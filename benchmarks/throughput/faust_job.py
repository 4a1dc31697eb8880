"""The job in Faust: an agent over the topic, a table of rows by asset.

    python -m benchmarks.throughput.faust_job BOOTSTRAP STORE FLEET OUTPUT WINDOWS

The table is in memory, with Faust's changelog. Limits and threshold are fixed, as for Quix.
"""

import sys
from typing import Any

import faust

from benchmarks.throughput.fleet import HEARTBEAT, PARTITIONS, TOPIC
from benchmarks.throughput.naive import Call, readings


def main() -> None:
    call = Call()
    app = faust.App(
        "faust-job",
        broker=f"kafka://{call.bootstrap}",
        store="memory://",
        broker_heartbeat_interval=HEARTBEAT["heartbeat.interval.ms"] / 1000,
        value_serializer="json",
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        web_enabled=False,
    )
    source, output = app.topic(TOPIC, value_serializer="json"), app.topic(call.output, value_serializer="raw")
    table = app.Table("rows", default=dict)

    async def score(stream: Any) -> None:
        async for body in stream:
            asset = body["asset"]
            state = table[asset] or {"row": {}, "rows": call.job.warm_rows(asset)}
            row = state["row"] | readings(body)
            if len(row) < len(call.fleet.channels):
                table[asset] = {**state, "row": row}
                continue
            rows = [*state["rows"], [row[name] for name in call.fleet.channels]]
            table[asset] = {"row": {}, "rows": rows[1:]}
            scored = call.job.scorer.score([asset], [rows])[0]
            call.meter.count()
            await output.send(key=asset, value=call.job.fixed(asset, body["timestamp"], scored))

    app.agent(source)(score)
    sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]
    app.main()


if __name__ == "__main__":
    main()
