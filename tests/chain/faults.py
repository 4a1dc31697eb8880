"""Names of the machines of the chain tests, and the faults that a test asks for on their standard input.

factor NUMBER MACHINE CHANNEL    from now on the channel is this many times the usual
bad MACHINE CHANNEL              the channel's sensor fails
good                             every fault ends
"""

import os
import sys

PUMPS = ("Pump1", "Pump2", "Pump3")  # OPC UA: plc.py
PRESSES = ("press-1", "press-2", "press-3")  # MQTT: meters.py
FANS = ("fan-1", "fan-2", "fan-3")


class Faults:
    """The faults at this moment, by machine and channel."""

    def __init__(self) -> None:
        self.factor: dict[tuple[str, str], float] = {}
        self.bad: set[tuple[str, str]] = set()

    def obey(self) -> None:
        """Read the commands that have come. One read may bring several."""
        for line in os.read(sys.stdin.fileno(), 4096).decode().splitlines():
            match line.split(maxsplit=3 if line.startswith("factor") else 2):
                case ["factor", number, machine, channel]:
                    self.factor[machine, channel] = float(number)
                case ["bad", machine, channel]:
                    self.bad.add((machine, channel))
                case ["good"]:
                    self.factor.clear()
                    self.bad.clear()

    def value(self, machine: str, channel: str, usual: float) -> float | None:
        """Return the channel's value; None = its sensor has failed."""
        if (machine, channel) in self.bad:
            return None
        return round(usual * self.factor.get((machine, channel), 1.0), 3)
