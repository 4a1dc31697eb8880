"""From an MQTT broker to alerts in the database, in the two shapes that gateways send, without editing a file.

MQTT broker -> Telegraf -> Apache Kafka -> monitor onboard -> monitor run -> alerts topic -> InfluxDB, in Flux
"""

import time
from pathlib import Path

import pytest

from tests.apache import ApacheKafka
from tests.chain.faults import FANS, PRESSES
from tests.chain.line import Line
from tests.chain.parts import machines, telegraf
from tests.influxd import influxd

STEP_S = 0.1  # ten times as fast as a plant sends, so that the test does not take ten minutes
SAMPLE_S = 20.0  # of readings before onboard looks
WANTED = {
    "presses": {("press-2", "machine"): "mqtt_consumer.power", ("press-3", "sensor"): "mqtt_consumer.oil_temp"},
    "fans": {("fan-1", "machine"): "current", ("fan-3", "sensor"): "vibration"},
}
CONFIG = """\
[agent]
interval = "1s"
flush_interval = "500ms"
hostname = "edge01"
[[inputs.mem]]
[[inputs.mqtt_consumer]]
servers = ["tcp://127.0.0.1:{port}"]
topics = ["plant/line1/+"]
client_id = "presses"
data_format = "json"
json_time_key = "ts"
json_time_format = "unix_ms"
json_string_fields = ["state", "oil_temp"]
[[inputs.mqtt_consumer.topic_parsing]]
topic = "plant/+/+"
tags = "_/line/asset"
[[inputs.mqtt_consumer]]
servers = ["tcp://127.0.0.1:{port}"]
topics = ["plant/line2/#"]
client_id = "fans"
data_format = "value"
data_type = "float"
[[outputs.kafka]]
brokers = ["{brokers}"]
topic = "presses"
routing_tag = "asset"
data_format = "json"
json_timestamp_units = "1ms"
[outputs.kafka.tagpass]
line = ["line1"]
[[outputs.kafka]]
brokers = ["{brokers}"]
topic = "fans"
routing_tag = "host"
data_format = "influx"
[outputs.kafka.tagdrop]
line = ["line1"]
"""


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_messages_of_two_gateways_lead_to_alerts(apache: ApacheKafka, tmp_path: Path) -> None:
    """A table a message and a value a message: the fault of a machine and a missing value are the only alerts."""
    with influxd(tmp_path) as database, machines("meters", tmp_path, STEP_S) as plant:
        presses, fans = (Line(tmp_path, apache, database, name) for name in ("presses", "fans"))
        with telegraf(tmp_path, CONFIG.format(port=plant.port, brokers=apache.bootstrap)):
            time.sleep(SAMPLE_S)
            presses.onboard()
            fans.onboard()
            with presses.run(), fans.run():
                presses.wait_for_scores(set(PRESSES))
                fans.wait_for_scores(set(FANS))
                plant.do("factor 1.5 press-2 power")
                plant.do("factor 0.6 fan-1 current")
                plant.do("bad press-3 oil_temp")
                plant.do("bad fan-3 vibration")
                presses.wait_for(WANTED["presses"])
                fans.wait_for(WANTED["fans"])
        for line in (presses, fans):
            assert line.found() == set(WANTED[line.name])

    for line in (presses, fans):
        line.assert_named(WANTED[line.name])
        assert line.published("dead-letters") == []
    assert {name for score in fans.published("scores") for name in score["channels"]} == {
        "speed",
        "current",
        "vibration",
    }
