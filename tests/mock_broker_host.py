"""A process that hosts librdkafka's mock cluster and its faults.

Why a process of its own: the broker then survives the client under test, can be killed with it or without it, and the
sockets are real. The mock lives in the library that confluent-kafka brings along; its functions are called through
ctypes, because the Python package shows only a number of brokers to start.

    python -m tests.mock_broker_host [BROKERS]

The first line of standard output is `{"bootstrap": "127.0.0.1:…"}`. Each line on standard input is
`{"op": NAME, "args": [...]}`, answered by one line: `{"result": …}` or `{"error": …}`. NAME is a key of `_CALLS`, the
part of `rd_kafka_mock_…` after the prefix, without the leading cluster handle; or `push_request_errors`, with an API
key and a list of error codes. The process ends when standard input does.
"""

import ctypes
import json
import sys
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_int64, c_size_t, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_REBALANCE_DELAY_MS = 100  # how long a new group waits for more members; by default 3 s

_CALLS: dict[str, list[Any]] = {
    "topic_create": [c_char_p, c_int, c_int],  # name, partitions, replication factor
    "topic_delete": [c_char_p],
    "topic_set_error": [c_char_p, c_int],
    "partition_set_leader": [c_char_p, c_int32, c_int32],  # topic, partition, broker or -1
    "partition_delete_records": [c_char_p, c_int32, c_int64],  # topic, partition, before offset
    "broker_set_down": [c_int32],  # broker or -1 for all
    "broker_set_up": [c_int32],
    "broker_set_rtt": [c_int32, c_int],  # broker or -1, ms
    "clear_request_errors": [c_int16],
    "set_apiversion": [c_int16, c_int16, c_int16],  # API key, lowest, highest; -1, -1 = not offered
    "set_group_consumer_session_timeout_ms": [c_int],
    "set_group_consumer_heartbeat_interval_ms": [c_int],
}


class Cluster:
    """A mock cluster in this process. It makes a topic with four partitions when the topic is first named."""

    def __init__(self, brokers: int) -> None:
        spec = find_spec("confluent_kafka")
        assert spec is not None, "confluent-kafka is not installed"
        assert spec.origin is not None
        (library,) = (Path(spec.origin).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
        self._library = ctypes.CDLL(str(library))
        self._library.rd_kafka_mock_cluster_new.argtypes = [c_void_p, c_int]
        self._library.rd_kafka_mock_cluster_new.restype = c_void_p
        self._library.rd_kafka_mock_cluster_bootstraps.argtypes = [c_void_p]
        self._library.rd_kafka_mock_cluster_bootstraps.restype = c_char_p
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [c_void_p, c_int32]
        self._library.rd_kafka_mock_push_request_errors_array.argtypes = [c_void_p, c_int16, c_size_t, POINTER(c_int)]
        self._handle = self._library.rd_kafka_mock_cluster_new(self._client(), brokers)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._handle, _REBALANCE_DELAY_MS)

    def bootstrap(self) -> str:
        found: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._handle)
        return found.decode()

    def call(self, op: str, args: list[Any]) -> int:
        if op == "push_request_errors":
            api_key, codes = args
            self._library.rd_kafka_mock_push_request_errors_array(
                self._handle, api_key, len(codes), (c_int * len(codes))(*codes)
            )
            return 0
        function = getattr(self._library, f"rd_kafka_mock_{op}")
        function.argtypes = [c_void_p, *_CALLS[op]]
        encoded = [arg.encode() if isinstance(arg, str) else arg for arg in args]
        result: int = function(self._handle, *encoded)
        return result

    def _client(self) -> int:
        """Make the client instance that owns the mock cluster. The client connects to nothing."""
        self._library.rd_kafka_conf_new.restype = c_void_p
        self._library.rd_kafka_new.argtypes = [c_int, c_void_p, c_char_p, c_size_t]
        self._library.rd_kafka_new.restype = c_void_p
        reason = ctypes.create_string_buffer(512)
        producer = 0
        client: int | None = self._library.rd_kafka_new(producer, self._library.rd_kafka_conf_new(), reason, 512)
        assert client is not None, reason.value
        return client


def main() -> None:
    cluster = Cluster(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(json.dumps({"bootstrap": cluster.bootstrap()}), flush=True)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer: dict[str, Any] = {"result": cluster.call(request["op"], request["args"])}
        except Exception as fault:  # noqa: BLE001 - the test that asked is told, whatever it was
            answer = {"error": repr(fault)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
