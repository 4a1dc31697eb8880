"""Signals of a process: stop, leave at once, reload.

A first SIGTERM or SIGINT sets an event, after which the loop makes a checkpoint, leaves the group and closes. A second
one, or the end of the grace period, ends the process at once: a client that hangs in `close` must not delay a restart,
and nothing committed is lost by that. Should the client hang while it holds the interpreter's lock, as seen in a
rebalance during `close`, no thread of ours can act. Then the system's alarm ends the process, a second after the grace
period.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AGAIN = 75  # EX_TEMPFAIL: the supervisor starts the process again
ALARM_S = 1.0  # beyond the grace period


@contextmanager
def handle_signals(stop: threading.Event, grace_s: float, reload: Callable[[], None]) -> Iterator[None]:
    """Set `stop` on SIGTERM or SIGINT, call `reload` on SIGHUP. End the process after `grace_s` or a second signal.

    A thread reads the signals from a socket that the interpreter writes to. A handler in Python would have to wait
    until the main thread returns from a client's call, and second signals are sent when a broker does not answer.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def listen() -> None:
        stopping = False
        while number := reader.recv(1):
            if number[0] not in numbers:
                continue
            if number[0] == signal.SIGHUP:  # in a thread of its own: a disk that hangs must not delay a stop
                threading.Thread(target=reload, name="reload", daemon=True).start()
                continue

            if stopping:
                _leave("a second signal")
            stopping = True
            signal.setitimer(signal.ITIMER_REAL, grace_s + ALARM_S)
            stop.set()
            timer = threading.Timer(grace_s, _leave, ("the grace period is over",))
            timer.daemon = True
            timer.start()

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno())
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        signal.setitimer(signal.ITIMER_REAL, 0)
        writer.close()
        thread.join()
        reader.close()


def _leave(reason: str) -> None:
    print(f"monitor: leaving at once: {reason}", file=sys.stderr, flush=True)
    os._exit(AGAIN)
