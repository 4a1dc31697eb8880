"""Faults of an asset as a whole, in words."""

from monitor.core.alerts.silence_alerts import ABSENT, STALE
from monitor.core.running.not_running import OFF
from monitor.core.running.not_running import SILENT as NO_SIGN
from monitor.core.sensors.clocks import FAULT as CLOCK

SILENT = {ABSENT: "sends nothing", STALE: "sends only old readings"}
IDLE = {OFF: "off", NO_SIGN: "off or silent"}  # of machines that should run
WHOLE = {CLOCK, *SILENT, *IDLE}  # faults whose records name no channel


def in_words(fault: str, alarm: float) -> str:
    """Return the fault of an alert in words. `alarm` is the field of its record.

    Of a clock also how far it is off, of an asset that is silent or should run for how long: clock 75 s ahead, sends
    nothing for 300 s, off for 900 s while it should run.
    """
    if fault == CLOCK:
        return f"{fault} {abs(alarm):.4g} s {'ahead' if alarm > 0 else 'behind'}"
    if fault in SILENT:
        return f"{SILENT[fault]} for {alarm:.4g} s"
    if fault in IDLE:
        return f"{IDLE[fault]} for {alarm:.4g} s while it should run"
    return fault
