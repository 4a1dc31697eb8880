"""A recording of Telegraf's OPC UA plug-in: onboard, then backtest with the file that onboard wrote.

FIELD names a folder with opcua/tagged.lp.xz, tagged.json.xz, plain.lp.xz and plain.json.xz: pumps for 14 minutes, read
each second. The flow of Pump2 falls by 40 % from 720 to 780 s. The temperature of Pump3 has bad status from 300 to 360
s, so Telegraf leaves it out. In `tagged` a tag names the pump, and the collector's own measurements are among the
points. In `plain` the names of the nodes are the fields, times are the nodes' own, and only two pumps are read.
"""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from tests.chain.parts import monitor
from tests.parts import part

BEGIN_MS = 1_795_996_663_000  # of the recording
CHANNELS = {"flow", "pressure", "temp", "current", "running"}


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("encoding", ["lp", "json"])
def test_pumps_with_a_tag(encoding: str, tmp_path: Path) -> None:
    """Three pumps with four channels: the missing temperature and the fall of the flow are the only alerts."""
    said, alerts = replayed(f"tagged.{encoding}", tmp_path)
    assert "assets    3: Pump1, Pump2, Pump3" in said
    sensor, machine = sorted(alerts, key=lambda alert: int(alert["start"]))
    assert (sensor["asset"], sensor["cause"], sensor["fault"]) == ("Pump3", "sensor", "dropout")
    assert [each["channel"] for each in sensor["channels"]] == ["temp"]
    assert 300 <= (sensor["start"] - BEGIN_MS) / 1000 <= 310
    assert (machine["asset"], machine["cause"], machine["channels"][0]["channel"]) == ("Pump2", "machine", "flow")
    assert 720 <= (machine["start"] - BEGIN_MS) / 1000 <= 780
    assert {each["channel"] for each in machine["channels"]} <= CHANNELS


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("encoding", ["lp", "json"])
def test_pumps_in_the_names_of_fields(encoding: str, tmp_path: Path) -> None:
    """Without a tag two pumps are found in the names of fields, and so is the fall of the flow."""
    said, alerts = replayed(f"plain.{encoding}", tmp_path, "training.first_steps=500")
    assert "assets    2: Pump1, Pump2" in said
    first = min(alerts, key=lambda alert: int(alert["start"]))
    assert (first["asset"], first["cause"], first["channels"][0]["channel"]) == ("Pump2", "machine", "Flow")
    assert 720 <= (first["start"] - BEGIN_MS) / 1000 <= 730
    assert not [alert for alert in alerts if alert["cause"] == "sensor"]


def replayed(name: str, folder: Path, first: str = "training.first_steps=250") -> tuple[str, list[dict[str, Any]]]:
    """Run onboard and backtest on a recording; return what onboard said, and the alerts that fired.

    `first` is a setting. By default, the first model is learned before the first fault.
    """
    packed = part("FIELD", "folder of recordings") / "opcua" / f"{name}.xz"
    (folder / name).write_bytes(lzma.decompress(packed.read_bytes()))
    said = monitor(folder, "onboard", "--file", name, "--out", "x.toml")
    monitor(folder, "backtest", "-c", "x.toml", "-s", first, "--alerts", "alerts.jsonl")
    records = map(json.loads, (folder / "alerts.jsonl").read_text().splitlines())
    return said, [record for record in records if record["state"] == "firing" and record["sequence"] == 0]
