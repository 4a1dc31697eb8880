"""From a controller to an alert in the database, with the parts of a plant and without editing a file.

OPC UA server -> Telegraf -> Apache Kafka -> monitor onboard -> monitor run -> alerts topic -> InfluxDB, in Flux
"""

import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apache import ApacheKafka
from tests.brokers import suspended
from tests.chain.faults import PUMPS
from tests.chain.line import Line
from tests.chain.parts import machines, telegraf
from tests.influxd import Influxd, influxd

STEP_S = 0.1  # ten times as fast as a plant polls, so that the test does not take ten minutes
SAMPLE_S = 20.0  # of readings before onboard looks
AWAY_S = 6.0  # longer than any hole that windows bridge
WANTED = {("Pump2", "machine"): "flow", ("Pump3", "sensor"): "temp"}
CHANNELS = {"flow", "pressure", "temp", "current"}
NODES = {
    "flow": "Flow",
    "pressure": "Pressure",
    "temp": "Bearing Temp",
    "current": "Motor.Current",
    "running": "Running",
    "mode": "Mode",
    "hours": "Hours",
}
NAMES = {  # of the channels by their nodes, as ids
    "flow": "Flow",
    "pressure": "Pressure",
    "temp": "Bearing_Temp",
    "current": "Motor.Current",
    "running": "Running",
}
CONFIG = """\
[agent]
interval = "{step}s"
flush_interval = "500ms"
precision = "1ms"
hostname = "edge01"
[[inputs.cpu]]
interval = "1s"
[[inputs.mem]]
interval = "1s"
[[inputs.opcua]]
name = "opcua"
endpoint = "opc.tcp://127.0.0.1:{port}/plant/"
security_policy = "None"
security_mode = "None"
auth_method = "Anonymous"
{nodes}
[[outputs.kafka]]
brokers = ["{brokers}"]
topic = "{topic}"
routing_tag = "{key}"
data_format = "influx"
"""


def grouped(timestamp: str = "gather") -> str:
    """Return a group of nodes for each pump, with its name as tag and as measurement."""
    text = f'timestamp = "{timestamp}"\n'
    for pump in PUMPS:
        nodes = ", ".join(f'{{name = "{name}", identifier = "{pump}.{node}"}}' for name, node in NODES.items())
        text += f'[[inputs.opcua.group]]\nname = "{pump}"\nnamespace = "2"\nidentifier_type = "s"\n'
        text += f'default_tags = {{asset = "{pump}", line = "1"}}\nnodes = [{nodes}]\n'
    return text


def plain() -> str:
    """Return the nodes as the plug-in's page shows them: without a tag, under their own names, with their own times."""
    nodes = ",\n".join(
        f'{{name = "{pump}.{node}", namespace = "2", identifier_type = "s", identifier = "{pump}.{node}"}}'
        for pump in PUMPS
        for node in NODES.values()
    )
    return f'timestamp = "source"\nnodes = [\n{nodes}\n]\n'


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with influxd(tmp_path_factory.mktemp("influxd")) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("shape", ["grouped", "plain"])
def test_faults_of_pumps_reach_the_database(shape: str, apache: ApacheKafka, database: Influxd, tmp_path: Path) -> None:
    """A fall of one pump's flow and a temperature with bad status become the only alerts, without an edited file."""
    line = Line(tmp_path, apache, database, shape)
    nodes, key = (grouped(), "asset") if shape == "grouped" else (plain(), "host")
    named = NAMES if shape == "plain" else {}
    with machines("plc", tmp_path, STEP_S) as pumps:
        place = {"port": pumps.port, "brokers": apache.bootstrap, "topic": line.name, "key": key}
        with telegraf(tmp_path, CONFIG.format(step=STEP_S, nodes=nodes, **place)):
            time.sleep(SAMPLE_S)
            said = line.onboard()
            assert f"assets    {len(PUMPS)}: Pump" in said
            assert "the token may write" in said
            with line.run() as monitoring:
                line.wait_for_scores(set(PUMPS))
                pumps.do("factor 0.6 Pump2 Flow")
                pumps.do("bad Pump3 Bearing Temp")
                line.wait_for(WANTED)
                assert not monitoring.said("partition stopped")

    # Both ends have the same alerts: of the faulty channels, and of no other machine.
    assert line.found() == set(WANTED)
    line.assert_named({key: named.get(channel, channel) for key, channel in WANTED.items()})

    # The collector's own measurements are no machine, and a text or a counter is no channel. A state may be one.
    channels = {name for score in line.published("scores") for name in score["channels"]}
    assert channels - {"running", "Running"} == {named.get(name, name) for name in CHANNELS}
    assert line.published("dead-letters") == []
    assert tomllib.loads((line.folder / "x.toml").read_text())["windows"]["step_s"] == STEP_S


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_parts_that_are_restarted_are_no_faults_of_sensors(
    apache: ApacheKafka, database: Influxd, tmp_path: Path
) -> None:
    """A controller, a Telegraf and a broker that were away, with the nodes' own times, cost scores only."""
    line = Line(tmp_path, apache, database, "restarts")
    with machines("plc", tmp_path, STEP_S) as pumps:
        config = CONFIG.format(
            step=STEP_S,
            port=pumps.port,
            nodes=grouped("source"),
            brokers=apache.bootstrap,
            topic=line.name,
            key="asset",
        )
        with telegraf(tmp_path, config) as collector:
            time.sleep(SAMPLE_S)
            line.onboard()
            with line.run() as monitoring:
                line.wait_for_scores(set(PUMPS))
                pumps.stop()
                time.sleep(AWAY_S)
                pumps.start()
                line.wait_for_scores(set(PUMPS))
                collector.stop()
                collector.start()
                line.wait_for_scores(set(PUMPS))
                with suspended(apache):  # Telegraf keeps its metrics and sends them late
                    time.sleep(AWAY_S)
                line.wait_for_scores(set(PUMPS))
                # The controller begins anew in a state that a model of 45 s need not know: machines are not judged.
                assert not sensors(line)
                pumps.do("factor 0.6 Pump2 Flow")
                pumps.do("bad Pump3 Bearing Temp")
                line.wait_for(WANTED)
                assert sensors(line) == {("Pump3", "sensor")}
                assert not monitoring.said("partition stopped")
    assert line.published("dead-letters") == []


def sensors(line: Line) -> set[tuple[str, str]]:
    """Return the alerts of sensors and clocks in the database."""
    return {(asset, cause) for asset, cause in line.found() if cause == "sensor"}
