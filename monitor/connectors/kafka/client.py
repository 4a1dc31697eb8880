"""What the consumer and the producer have in common: telling errors apart, and not waiting for ever.

librdkafka says the same thing in several places. An outage, a refused certificate or a wrong password appear only in
the error callback, never in the call that waits, so the callback's last text is kept and added to every `Unavailable`.
Some fatal errors are marked by their code and not by their flag, so both are asked.
"""

import logging
import threading
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, KafkaException

from monitor.connectors.base import Unavailable
from monitor.core.records import Partition

Config = Mapping[str, str | int | float | bool]
Report = Callable[[str], None]

# librdkafka writes its own log to standard error, of what the error callback says anyway. 2 = critical.
QUIET = {"log_level": 2}

# Nothing can come or go until a broker answers again. Others (one broker of several, one topic) leave the rest working.
_CUT_OFF = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - librdkafka's own codes begin so

report: Report = logging.getLogger(__name__).warning


class KafkaFatal(Exception):  # noqa: N818 - reads as the state it reports
    """The client cannot be used any more, or this member was replaced by another of the same instance id."""


class Trouble:
    """The error callback of a client: what it last complained of, and whether it is cut off from all brokers."""

    def __init__(self, tell: Report) -> None:
        self.last: str | None = None  # None = no complaint since the last sign of life
        self.cut_off = False
        self._tell = tell

    def heard(self, error: KafkaError) -> None:
        """Called by the client, on the thread that polls it."""
        text = f"{error.name()}: {error.str()}"
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.last is None:  # noqa: SLF001 - says less than what came before
            self.last = text
        self.cut_off = self.cut_off or error.code() in _CUT_OFF
        self._tell(text)

    def over(self) -> None:
        """A broker has answered."""
        self.last, self.cut_off = None, False

    def unavailable(self, what: str) -> Unavailable:
        return Unavailable(what if self.last is None or self.last in what else f"{what} ({self.last})")

    def judge(self, error: KafkaError, what: str) -> Exception:
        """The exception that says what the caller of ours does about this error."""
        text = f"{what}: {error.name()}: {error.str()}"
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - librdkafka's own codes begin so
            return KafkaFatal(text)
        return self.unavailable(text)


def kafka_error(fault: BaseException) -> KafkaError | None:
    """The error inside an exception of the client; None if it holds none.

    A fatal error inside a callback can come out as a SystemError with the real exception as its cause.
    """
    for each in (fault, fault.__cause__, fault.__context__):
        if isinstance(each, KafkaException) and each.args and isinstance(each.args[0], KafkaError):
            return each.args[0]
    return None


def name(partition: Partition) -> str:
    return f"{partition.topic}[{partition.number}]"


def within(timeout: float, work: Callable[[], object]) -> bool:
    """Whether `work`, done in a thread of its own, has ended in time; raises what it raised."""
    fault: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            fault.append(error)

    thread = threading.Thread(target=run, name="kafka", daemon=True)
    thread.start()
    thread.join(timeout)
    if fault:
        raise fault[0]
    return not thread.is_alive()
