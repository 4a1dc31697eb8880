"""A recipe in a tag and a state as a text, from Telegraf's line protocol to an alert in the database."""

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apache import ApacheKafka
from tests.chain.line import ALERT_S, Line
from tests.chain.parts import telegraf, until
from tests.influxd import influxd

MIXERS = ("mixer-1", "mixer-2", "mixer-3")
LEARNED, NEW, END = 1500, range(1570, 1600), 1620  # steps of a second: before onboard looks, of recipe C, sent
ROUND, RUNS = 150, 120  # steps from one start to the next, and how many of them a mixer runs
CONFIG = """\
[agent]
interval = "1s"
flush_interval = "500ms"
hostname = "edge01"
[[inputs.tail]]
files = ["{file}"]
initial_read_offset = "beginning"
watch_method = "poll"
max_undelivered_lines = 10000
path_tag = ""
data_format = "influx"
[[outputs.kafka]]
brokers = ["{brokers}"]
topic = "mixers"
routing_tag = "asset"
data_format = "influx"
"""
ADDED = """
[channels."mixer.recipe"]
texts = ["A", "B", "C"]
[modes]
channel = "mixer.recipe"
[running]
when = 'mixer.state == "RUN"'
"""


def lines(begin: int, steps: range) -> Iterator[str]:
    """Yield the lines of all mixers; `begin` is the time of step 0, s."""
    draw = random.Random(steps.start)
    for step in steps:
        for number, mixer in enumerate(MIXERS):
            recipe = "C" if mixer == "mixer-1" and step in NEW else "AB"[step // 300 % 2]
            runs = step % ROUND < RUNS
            load = (1.0 + 0.5 * math.sin(step / 9 + number)) * (1.5 if recipe == "B" else 1.0) * runs
            values = {"flow": 10 * load, "power": 3 * load**2, "temp": 40 + 5 * load}
            fields = ",".join(f"{name}={value + draw.gauss(0, 0.05):.3f}" for name, value in values.items())
            state = "RUN" if runs else "STOP"
            yield f'mixer,asset={mixer},recipe={recipe} {fields},state="{state}" {begin + step}000000000'


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_recipe_that_was_never_learned_is_told_by_its_text(apache: ApacheKafka, tmp_path: Path) -> None:
    """Onboard proposes the state with its texts, mixers are off by its text, and the new recipe's tag is the alert."""
    begin, sent = int(time.time()) - LEARNED - 100, tmp_path / "mixers.lp"
    sent.write_text("".join(f"{each}\n" for each in lines(begin, range(LEARNED))))
    with influxd(tmp_path) as database:
        line = Line(tmp_path, apache, database, "mixers")
        with telegraf(tmp_path, CONFIG.format(file=sent, brokers=apache.bootstrap)):
            until(lambda: line.readings() == LEARNED * len(MIXERS), ALERT_S, "readings")
            line.onboard()
            file = line.folder / "x.toml"
            written = file.read_text()
            assert 'texts = ["RUN", "STOP"]' in written.partition('[channels."mixer.state"]')[2]
            file.write_text(written.replace("[format]", '[format]\nextra_channels = ["recipe"]') + ADDED)
            with line.run(), sent.open("a") as more:
                more.writelines(f"{each}\n" for each in lines(begin, range(LEARNED, END)))
                more.flush()
                until(lambda: ("mixer-1", "new_mode") in line.found(), ALERT_S, "an alert of the recipe")
        (row,) = [row for row in line.alerts() if row["cause"] == "new_mode" and row["state"] == "firing"]
        assert (row["mode"], row["channel"]) == ("C", "mixer.recipe")

    told = [alert for alert in line.published("alerts") if alert["cause"] == "new_mode"]
    assert {(alert["asset"], alert["mode"], alert["channels"][0]["observed_text"]) for alert in told} == {
        ("mixer-1", "C", "C")
    }
    scores = line.published("scores")
    assert {score["mode"] for score in scores} == {"B", "C"}
    assert all((score["time"] // 1000 - begin) % ROUND < RUNS for score in scores)
    assert line.published("dead-letters") == []
