"""What was found, in words, for the faults that concern an asset as a whole."""

from monitor.core.alerts.silence_alerts import ABSENT, STALE
from monitor.core.sensors.clocks import FAULT as CLOCK

SILENT = {ABSENT: "sends nothing", STALE: "sends only old readings"}
WHOLE = {CLOCK, *SILENT}  # faults whose records name no channel


def in_words(fault: str, score: float) -> str:
    """Return the fault of an alert in words.

    Of a clock also how far it is off, of a silent asset for how long: clock 75 s ahead, sends nothing for 300 s.
    """
    if fault == CLOCK:
        return f"{fault} {abs(score):.4g} s {'ahead' if score > 0 else 'behind'}"
    if fault in SILENT:
        return f"{SILENT[fault]} for {score:.4g} s"
    return fault
