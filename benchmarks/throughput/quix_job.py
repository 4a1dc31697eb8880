"""The job in Quix Streams: a streaming data frame, keyed by asset, `apply(stateful=True)` with the rows in its state.

    python -m benchmarks.throughput.quix_job BOOTSTRAP STORE FLEET OUTPUT WINDOWS

Its state is serialised for every message, so 10 000 scores per asset would be unfair. Limits and threshold are fixed.
"""

import tempfile
from typing import Any

from quixstreams import Application

from benchmarks.throughput.fleet import HEARTBEAT, TOPIC
from benchmarks.throughput.naive import Call, readings


def main() -> None:
    call = Call()
    with tempfile.TemporaryDirectory() as state_dir:
        application = Application(
            broker_address=call.bootstrap,
            consumer_group="quix",
            auto_offset_reset="earliest",
            consumer_extra_config=HEARTBEAT,
            state_dir=state_dir,
            use_changelog_topics=False,
            auto_create_topics=False,
            loglevel="WARNING",
        )
        frame = application.dataframe(application.topic(TOPIC, value_deserializer="json"))

        def score(body: dict[str, Any], state: Any) -> bytes | None:
            row = state.get("row", {}) | readings(body)
            complete = len(row) == len(call.fleet.channels)
            state.set("row", {} if complete else row)
            if not complete:
                return None
            rows = state.get("rows") or call.job.warm_rows(body["asset"])
            rows = [*rows, [row[name] for name in call.fleet.channels]]
            state.set("rows", rows[1:])
            scored = call.job.scorer.score([body["asset"]], [rows])[0]
            call.meter.count()
            return call.job.fixed(body["asset"], body["timestamp"], scored)

        frame = frame.apply(score, stateful=True)
        frame = frame[frame.apply(lambda found: found is not None)]
        frame.to_topic(application.topic(call.output, value_serializer="bytes"))
        application.run()


if __name__ == "__main__":
    main()
