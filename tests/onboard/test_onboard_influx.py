"""`monitor onboard --influx`: the database is tried, and the recorder is enabled in the configuration."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from monitor.onboard import cost
from monitor.settings.load import load
from tests.brokers import MockBroker, mock_broker
from tests.commands import monitor, sets
from tests.influx_server import InfluxServer, influx_server
from tests.plants import messages


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shorten the measurement and run in an empty folder."""
    monkeypatch.setattr(cost, "RUN_S", 0.05)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with mock_broker({"plant": 1}) as made:
        producer = Producer({"bootstrap.servers": made.bootstrap})
        for key, value, at in messages("json_wide", 100):
            producer.produce("plant", value, key, timestamp=at)
        assert producer.flush(20) == 0
        yield made


def onboarded(broker: MockBroker, server: InfluxServer, token: str) -> str:
    """Return the output of onboard, in one line; the file is monitor.toml."""
    Path("token").write_text(token)
    place = sets(recorder__org=server.org, recorder__bucket=server.bucket, recorder__token_file="token")
    result = monitor("onboard", "--topic", "plant", "--bootstrap", broker.bootstrap, "--influx", server.url, *place)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_a_database_that_answers_gets_the_alerts_without_an_edit(broker: MockBroker) -> None:
    """The file enables the recorder with the given place and the answer as reason, and no point was written."""
    with influx_server() as server:
        output = onboarded(broker, server, server.token)
        assert f"recorder database {server.url}, bucket monitor: it answers, and the token may write" in output
        assert not server.points
    recorder = load(Path("monitor.toml"), {}, {}).recorder
    assert (recorder.enabled, recorder.url, recorder.org, recorder.token_file) == (True, server.url, "plant", "token")
    assert "it answers, and the token may write" in " ".join(Path("monitor.toml").read_text().replace("# ", "").split())
    assert "which is not enabled" not in output


def test_a_token_that_may_not_write_is_told(broker: MockBroker) -> None:
    """A refused token is a remark with the database's answer and the cure, and the file is written all the same."""
    with influx_server() as server:
        output = onboarded(broker, server, "wrong-token")
    told = output.partition("look at database")[2]
    for part in ("401", "check the token", "until then no alert is in the database", "monitor check --connect"):
        assert part in told
    assert "wrong-token" not in output + Path("monitor.toml").read_text()
    assert load(Path("monitor.toml"), {}, {}).recorder.enabled


def test_a_database_that_does_not_answer_is_told(broker: MockBroker) -> None:
    """A refused connection is a remark with its URL, and the file enables the recorder."""
    with influx_server() as server:
        server.down()
        output = onboarded(broker, server, server.token)
        server.up()
    told = output.partition("look at database")[2]
    assert server.url in told
    assert "until then no alert is in the database" in told
    assert load(Path("monitor.toml"), {}, {}).recorder.enabled


def test_a_file_has_no_database() -> None:
    """With --file, whose alerts go to files, --influx is refused with the reason."""
    result = monitor("onboard", "--file", "x.jsonl", "--influx", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "--influx needs --topic" in re.sub(r"[\s│]+", " ", result.output)
