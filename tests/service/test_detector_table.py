"""The detectors as `monitor check` shows them."""

from monitor.service.detector_table import detector_table
from monitor.settings.load import load


def test_each_detector_is_a_row() -> None:
    """A row has the name, assets or groups, channels, the window and its length, aggregates, and what is overridden."""
    detectors = [
        {"name": "pumps", "assets": ["pump-*"], "assets_exclude": ["pump-9"], "channels_exclude": ["rpm"]},
        {
            "name": "slow",
            "groups": ["pump", "fan"],
            "windows": {"step_s": 60, "aggregate": ["mean", "max"]},
            "alerting": {"silence_s": 0},
        },
    ]
    head, *rows = detector_table(load(None, {}, {"detectors": detectors, "format.group": "kind"})).strip().splitlines()
    assert [[cell.strip() for cell in row.removeprefix("# ").split("   ") if cell.strip()] for row in rows] == [
        ["pumps", "pump-* but pump-9", "all but rpm", "1 s x 64 = 1 min 4 s", "last", "-"],
        ["slow", "groups pump, fan", "all", "60 s x 64 = 1 h 4 min", "mean, max", "alerting.silence_s = 0"],
    ]
    assert head.index("differs in") == rows[0].rindex("-") == rows[1].index("alerting")


def test_without_detectors_there_is_no_table() -> None:
    """The sections say all about the only detector."""
    assert detector_table(load(None, {}, {})) == ""
