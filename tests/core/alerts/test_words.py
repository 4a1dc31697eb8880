"""Faults of whole assets in words."""

from monitor.core.alerts.words import in_words


def test_a_skew_in_words() -> None:
    """Words say how far a clock is off, and to which side; other faults have their name only."""
    assert in_words("clock", 75.0) == "clock 75 s ahead"
    assert in_words("clock", -3605.25) == "clock 3605 s behind"
    assert in_words("frozen", 7.0) == "frozen"


def test_silence_in_words() -> None:
    """Words tell an asset that sends nothing from one that repeats old readings."""
    assert in_words("absent", 300.0) == "sends nothing for 300 s"
    assert in_words("stale", 7200.0) == "sends only old readings for 7200 s"


def test_a_machine_that_does_not_run_in_words() -> None:
    """Words tell a machine that says that it is off from one that says nothing."""
    assert in_words("off", 900.0) == "off for 900 s while it should run"
    assert in_words("silent", 900.0) == "off or silent for 900 s while it should run"
