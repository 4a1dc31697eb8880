"""Errors of librdkafka's consumer and producer, and a limit for calls that have none.

librdkafka reports the same fault in several places. An outage, a refused certificate or a wrong password appear only in
the error callback, never in the call that waits, so the callback's last text is kept and added to every `Unavailable`.
Some fatal errors are marked by their code and not by their flag, so both are checked.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException

from monitor.connectors.base import Unavailable
from monitor.core.records import Partition

Config = Mapping[str, str | int | float | bool]
Report = Callable[[str], None]

# librdkafka writes a log of its own to standard error, with the same content as the error callback. 2 = critical.
QUIET = {"log_level": 2}

# Nothing can come or go until a broker answers again. Other errors (of one broker, one topic) leave the rest working.
_CUT_OFF = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - librdkafka's own codes begin so

report: Report = logging.getLogger(__name__).warning


class KafkaFatal(Exception):  # noqa: N818 - reads as the state it reports
    """The client cannot be used any more, or another member of the same instance id has replaced this one."""


class Trouble:
    """The error callback of a client. It knows the last complaint, and whether all brokers are cut off."""

    def __init__(self, report: Report) -> None:
        self.last: str | None = None  # None = no complaint since the last answer
        self.cut_off = False
        self._report = report

    def heard(self, error: KafkaError) -> None:
        """Take a complaint; the client calls this on the thread that polls it."""
        text = f"{error.name()}: {error.str()}"
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.last is None:  # noqa: SLF001 - says less than the complaint before it
            self.last = text
        self.cut_off = self.cut_off or error.code() in _CUT_OFF
        self._report(text)

    def over(self) -> None:
        """Forget the complaint: a broker has answered."""
        self.last = None
        self.cut_off = False

    def unavailable(self, what: str) -> Unavailable:
        """Return Unavailable for `what`, with the last complaint."""
        return Unavailable(what if self.last is None or self.last in what else f"{what} ({self.last})")

    def judge(self, error: KafkaError, what: str) -> Exception:
        """Return the exception that tells the caller how to react: KafkaFatal or Unavailable."""
        text = f"{what}: {error.name()}: {error.str()}"
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - librdkafka's own codes begin so
            return KafkaFatal(text)
        return self.unavailable(text)


def kafka_error(fault: BaseException) -> KafkaError | None:
    """Return the error inside an exception of the client; None if there is none.

    A fatal error inside a callback can surface as a SystemError with the real exception as its cause.
    """
    for each in (fault, fault.__cause__, fault.__context__):
        if isinstance(each, KafkaException) and each.args and isinstance(each.args[0], KafkaError):
            return each.args[0]
    return None


def name(partition: Partition) -> str:
    """Return the partition as people write it: topic[number]."""
    return f"{partition.topic}[{partition.number}]"


def known(headers: Sequence[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return a message's headers; a header without a value gets an empty one."""
    return tuple((name, value or b"") for name, value in headers)


def within(timeout: float, work: Callable[[], object]) -> bool:
    """Run `work` in a thread of its own; return whether it ended in time. Raises its exception."""
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
