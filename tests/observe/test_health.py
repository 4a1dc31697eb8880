"""When a process counts as alive and as ready."""

import threading

import pytest

from monitor.observe.health import Health


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(10, ("restored", "kafka"), clock)


def test_alive_while_the_loop_beats(health: Health, clock: Clock) -> None:
    """A process is alive up to the limit after the last beat, then not, and again after a beat."""
    clock.now += 9.9
    assert health.live() == (True, "last beat 9.9 s ago, stalled from 10 s\n")
    clock.now += 0.1
    assert health.live() == (False, "last beat 10.0 s ago, stalled from 10 s\n")
    health.beat()
    assert health.live() == (True, "last beat 0.0 s ago, stalled from 10 s\n")


def test_ready_when_all_conditions_hold(health: Health) -> None:
    """A process is not ready, with a line for each condition, until every condition was set and holds."""
    assert health.ready() == (False, "restored: not known yet\nkafka: not known yet\n")
    health.set("kafka", ok=False, reason="SSL handshake failed")
    health.set("restored", ok=True)
    assert health.ready() == (False, "kafka: SSL handshake failed\n")
    health.set("kafka", ok=True, reason="of no interest")
    assert health.ready() == (True, "ready\n")
    health.set("restored", ok=False)
    assert health.ready() == (False, "restored: does not hold\n")


def test_an_unknown_condition_is_refused(health: Health) -> None:
    """A condition that was not given at the start raises KeyError, since it would never be waited for."""
    with pytest.raises(KeyError, match="kafak"):
        health.set("kafak", ok=True)


def test_reasons_are_one_printable_line(health: Health) -> None:
    """Control characters, line ends and lone surrogates in a reason become spaces, and a long one is cut."""
    health.set("restored", ok=False, reason="a\r\nkafka: fine\x1b[2J\x00\u2028\u202e\ud800 ä")
    health.set("kafka", ok=False, reason="x" * 100_000)
    assert health.ready() == (False, f"restored: a kafka: fine [2J ä\nkafka: {'x' * 500}\n")


def test_threads_may_set_and_read_at_once(health: Health) -> None:
    """While another thread sets conditions, every answer is one of the states that were set."""
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            health.beat()
            health.set("restored", ok=True)
            health.set("kafka", ok=False, reason="down")
            health.set("kafka", ok=True)
            over.wait(0.0001)

    health.set("restored", ok=True)
    health.set("kafka", ok=True)
    thread = threading.Thread(target=change)
    thread.start()
    answers = {health.ready() for _ in range(1000)}
    over.set()
    thread.join()
    assert answers <= {(True, "ready\n"), (False, "kafka: down\n")}
