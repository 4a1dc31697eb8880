"""A worker that kills itself at one point of the delivery protocol: python -m tests.crash.dies_at POINT run ...

It is `monitor`, but for one function: when that is called with an alert handed over, or during a replay, the process
ends by SIGKILL instead.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from monitor.cli import main
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.detectors import Detectors
from monitor.core.records import Message, PartitionOutputs
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.partitions import PartitionManager
from monitor.worker.publisher import Publisher

POINTS: dict[str, tuple[type, str]] = {
    "flush": (Publisher, "flush"),
    "commit": (KafkaSource, "commit"),
    "snapshot": (PartitionManager, "quarantine_stale"),  # the first thing after a commit
    "replay": (MetricsRecorder, "count_muted"),
}


def arm(point: str) -> None:
    """Put the trap where `point` says."""
    owner, name = POINTS[point]
    function: Callable[..., Any] = getattr(owner, name)
    publish, raised = Publisher.publish, point == "replay"

    def watched(self: Publisher, detectors: Detectors, outputs: PartitionOutputs, messages: Sequence[Message]) -> None:
        nonlocal raised
        publish(self, detectors, outputs, messages)
        raised = raised or bool(outputs.alerts)

    def trapped(*args: Any, **kwargs: Any) -> Any:
        if raised:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    Publisher.publish = watched  # type: ignore[method-assign]
    setattr(owner, name, trapped)


if __name__ == "__main__":
    arm(sys.argv[1])
    del sys.argv[1]
    main()
