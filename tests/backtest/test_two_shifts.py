"""A plant in two shifts, learned and replayed: starts and stops give no alerts, faults and missing starts do."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from monitor.backtest.replay import Learner, Span, replay
from monitor.core.records import Alert
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_source
from monitor.settings.load import load

MONDAY, MINUTE, DAY = 1_772_409_600_000, 60_000, 1440
FAULT, MISSED = (9 * DAY + 600, 9 * DAY + 640), (10 * DAY + 360, 10 * DAY + 480)  # minutes: b's flow, c does not start


def readings(path: Path, days: int = 11) -> None:
    """Write three pumps that work from 6 to 22 o'clock, heat up for an hour, and send zeros otherwise."""
    draw, heat = np.random.default_rng(2), np.full(3, 20.0)
    with path.open("w") as file:
        for minute in range(days * DAY):
            for pump, name in enumerate("abc"):
                runs = 360 + 5 * pump <= minute % DAY < 1320 and not (pump == 2 and MISSED[0] <= minute < MISSED[1])
                load_ = math.sin(2 * math.pi * minute / 300 + pump) + draw.normal(0, 0.05)
                heat[pump] += 0.05 * ((45 + 3 * load_ if runs else 20) - heat[pump])
                flow = (120 + 15 * load_ + draw.normal()) * (0.8 if pump == 1 and FAULT[0] <= minute < FAULT[1] else 1)
                values = {"flow": flow, "current": 30 + 6 * load_ + draw.normal(0, 0.3)}
                values = values if runs else {"flow": 0.0, "current": 0.0}
                values["heat"] = heat[pump] + draw.normal(0, 0.1)
                text = {"asset": name, "timestamp": MONDAY + minute * MINUTE, "values": values}
                file.write(json.dumps(text) + "\n")


def within(alert: Alert, span: tuple[int, int], grace: int = 70) -> bool:
    return span[0] <= (alert.time - MONDAY) // MINUTE < span[1] + grace


@pytest.mark.slow
def test_a_plant_in_two_shifts_is_watched_without_false_alerts(tmp_path: Path) -> None:
    """Of ten mornings and evenings of three pumps at most two are alerts; a fault and a missing start are found."""
    readings(tmp_path / "plant.jsonl")
    given = {
        "source.kind": "files",
        "source.paths": [str(tmp_path / "plant.jsonl")],
        "windows.step_s": 60.0,
        "training.first_steps": 4000,
        "training.steps": 500,
        "running.when": "current > 5",
        "running.start_delay_s": 4800.0,
        "running.expected": ["Mon-Sun 06:00-22:00"],
    }
    wanted = load(None, {}, given)
    source = make_source(wanted, None, Metrics(), None)
    found = replay([wanted], source, {}, Learner(lambda *_: None), Span(), lambda *_: None)
    fired = [alert for alert in found.alerts if alert.sequence == 0]

    absent = [alert for alert in fired if alert.cause == "not_running"]
    assert [(alert.asset, alert.fault, within(alert, MISSED, 0)) for alert in absent] == [("c", "off", True)]
    machine = [alert for alert in fired if alert.cause == "machine"]
    faults = [alert for alert in machine if alert.asset == "b" and within(alert, FAULT)]
    assert faults
    assert faults[0].channels[0].channel == "flow"
    assert len(machine) - len(faults) <= 2
