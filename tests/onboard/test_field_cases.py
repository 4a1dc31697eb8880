"""Messages and exports of gateways and historians: onboard configures each without an edit, and all values are right.

Bad values, tables of SCADA systems, topics that hold more than machines, and OPC UA by way of Telegraf. Other gateways
are in tests/gateways.py, rates and kinds of channels in test_onboard_finds.py. tests/field_cases.py lists all of them.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.core.decode.decode import decode_all
from monitor.core.decode.names import Names
from monitor.observe.clock import wall_ms
from monitor.onboard import cost
from monitor.service.backends import make_sample
from monitor.settings.load import load
from tests.backtest.backtests import backtest, csv, jsonl
from tests.commands import monitor
from tests.core.machines import ASSETS, CHANNELS

BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
STEPS = 150
NAMES = ("flow", "pressure", "current", "temp", "vib")
Values = dict[str, Any]
Readings = dict[tuple[str, str, int], float]  # by asset, channel and s after BEGIN


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and estimate the cost in little time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "RUN_S", 0.02)


def pumps(count: int = 3) -> Iterator[tuple[int, str, Values]]:
    """Yield the values of each pump, each second."""
    rng = random.Random(7)
    for second in range(STEPS):
        for number in range(1, count + 1):
            row = {name: round(10 * place + rng.gauss(5, 1), 3) for place, name in enumerate(NAMES)}
            yield second, f"P{number}", row


def wide(count: int = 3) -> Readings:
    return {(asset, name, second): value for second, asset, row in pumps(count) for name, value in row.items()}


def iso(second: int) -> str:
    return (BEGIN + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ns(second: int) -> int:
    return (int(BEGIN.timestamp()) + second) * 10**9


def onboarded(path: Path, step_s: float = 1.0) -> Readings:
    """Return the readings of a file as the configuration that onboard writes for it reads them."""
    made = monitor("onboard", "--file", path, "--out", "monitor.toml", "--force")
    assert made.exit_code == 0, made.output
    assert monitor("check", "-c", "monitor.toml").exit_code == 0
    settings = load(Path("monitor.toml"), {}, {})
    assert settings.windows.step_s == step_s
    found: Readings = {}
    for run in make_sample(settings, 10**6, lambda _: None).runs:
        decoded = decode_all(run, settings.message_format(), wall_ms(), Names())
        assert decoded.rejected == []
        batch = decoded.readings
        columns = (batch.asset.tolist(), batch.channel.tolist(), batch.time.tolist(), batch.value.tolist())
        for asset, channel, time, value in zip(*columns, strict=True):
            place = batch.assets[asset], batch.channels[channel], time // 1000 - int(BEGIN.timestamp())
            assert place not in found
            found[place] = value
    return found


def sent(path: str, messages: Iterator[Any]) -> Path:
    """Write messages as lines."""
    lines = (each if isinstance(each, str) else json.dumps(each) for each in messages)
    Path(path).write_text("".join(f"{line}\n" for line in lines))
    return Path(path)


# Bad values


def of_pumps(change: Callable[[int, str, Values], Values]) -> Path:
    rows = ({"asset": asset, "timestamp": iso(k), "values": change(k, asset, row)} for k, asset, row in pumps())
    return sent("in.jsonl", rows)


@pytest.mark.parametrize("bad", ["Bad", "NaN", "---", "I/O Timeout", "No Data"])
def test_a_text_among_the_values_costs_its_value_alone(bad: str) -> None:
    """The channel of one machine says a word for a while, and all others are read."""
    path = of_pumps(lambda k, asset, row: row | ({"vib": bad} if asset == "P2" and 50 <= k < 80 else {}))
    gone = {("P2", "vib", k) for k in range(50, 80)}
    assert onboarded(path) == {place: value for place, value in wide().items() if place not in gone}


def test_booleans_are_states_and_words_are_left_out() -> None:
    """Running is 1 and 0, the mode is no channel, and no value of a machine is lost."""
    path = of_pumps(lambda k, _, row: row | {"running": k % 60 > 20, "mode": "AUTO"})
    states = {(f"P{n}", "running", k): float(k % 60 > 20) for n in (1, 2, 3) for k in range(STEPS)}
    assert onboarded(path) == wide() | states


def test_a_state_of_few_texts_is_proposed() -> None:
    """Texts that come back make a state with these texts; numbers of batches and the model of a machine make none."""

    def more(k: int, asset: str, row: dict[str, Any]) -> dict[str, Any]:
        state = ("RUN", "STOP", "SET UP")[k // 15 % 3]
        return row | {"state": state, "batch": f"{asset}-{k // 40}", "model": f"X{asset}"}

    states = {
        (f"P{n}", "state", k): float(k // 15 % 3 if k // 15 % 3 == 0 else 3 - k // 15 % 3)
        for n in (1, 2, 3)
        for k in range(STEPS)
    }
    assert onboarded(of_pumps(more)) == wide() | states


@pytest.mark.parametrize("sign", [".", ","])
def test_numbers_in_texts_are_numbers(sign: str) -> None:
    """Values in quotes are read, with a decimal point or a comma."""
    assert onboarded(of_pumps(lambda _, __, row: {c: str(v).replace(".", sign) for c, v in row.items()})) == wide()


QUALITIES: dict[str, tuple[Any, Any, Callable[[int, float], Any]]] = {  # good, bad, and the value while bad
    "words": ("Good", "Bad", lambda k, _: ("Bad", None, "---")[k % 3]),
    "OPC DA, the value stays": (192, 0, lambda _, value: value),
    "OPC DA, the value is 0": (192, 0, lambda _, __: 0.0),
    "OPC UA": (0, 0x80350000, lambda _, __: 0.0),
}


@pytest.mark.parametrize("name", QUALITIES)
def test_a_value_of_bad_quality_is_not_measured(name: str) -> None:
    """A quality beside the value decides, also where the value stays a number."""
    good, bad, value_of = QUALITIES[name]
    rng = random.Random(3)
    expected: Readings = {}
    messages = []
    for k, asset, row in pumps():
        for channel, value in row.items():
            fine = rng.random() > 0.05
            shown = value if fine else value_of(k, value)
            message = {"asset": asset, "channel": channel, "timestamp": iso(k), "value": shown}
            messages.append(message | {"quality": good if fine else bad})
            if fine:
                expected[asset, channel, k] = value
    assert onboarded(sent("in.jsonl", iter(messages))) == expected


# Tables of SCADA systems and historians

HEAD = "timestamp," + ",".join(NAMES)


def table(rows: list[str], encoding: str = "utf-8") -> Path:
    """Write the lines of an export of pump P1."""
    Path("P1.csv").write_bytes("".join(f"{row}\r\n" for row in rows).encode(encoding))
    return Path("P1.csv")


def cells(form: str, change: Callable[[int, Values], Values] = lambda _, row: row, mark: str = ",") -> list[str]:
    """Return the rows of P1, with times in this form."""
    rows = ((f"{BEGIN + timedelta(seconds=k):{form}}", change(k, row)) for k, _, row in pumps(1))
    return [mark.join([stamp, *map(str, row.values())]) for stamp, row in rows]


def test_german_export() -> None:
    """Semicolons, decimal commas, dd.mm.yyyy, a byte order mark and names with units are read."""
    names = dict(zip(NAMES, ("Durchfluss [m³/h]", "Druck", "Strom", "Lager °C", "Schwingung"), strict=True))
    rows = [row.replace(".", ",") for row in cells("%Y-%m-%d %H:%M:%S", mark=";")]
    rows = [f"{row[8:10]}.{row[5:7]}.{row[:4]}{row[10:]}" for row in rows]
    found = onboarded(table([";".join(["Zeit", *names.values()]), *rows], "utf-8-sig"))
    ids = names | {"flow": "Durchfluss__m3/h_", "temp": "Lager__C"}
    assert found == {(asset, ids[name], k): value for (asset, name, k), value in wide(1).items()}


def test_export_with_a_preamble_and_units() -> None:
    """Lines above the header and a row of units are no readings."""
    head = ["Export Leitsystem V4", "Anlage;Halle 2", "", HEAD.replace(",", ";"), ";m3/h;bar;A;C;mm/s"]
    assert onboarded(table([*head, *cells("%Y-%m-%d %H:%M:%S", mark=";")])) == wide(1)


def test_export_with_date_and_time_apart() -> None:
    """A column with the date and one with the time are the time."""
    rows = cells("%Y-%m-%d;%H:%M:%S", mark=";")
    assert onboarded(table(["date;time;" + ";".join(NAMES), *rows])) == wide(1)


def test_historian_export_with_a_row_for_each_value() -> None:
    """Tags become asset and channel, and bad quality is no measurement."""
    rows = [
        f"{BEGIN + timedelta(seconds=k):%Y-%m-%d %H:%M:%S};{asset}.{name};{value if k % 9 else 'Bad Input'};"
        f"{'Good' if k % 9 else 'Bad'}"
        for (asset, name, k), value in wide(2).items()
    ]
    found = onboarded(table(["Timestamp;Tag;Value;Quality", *rows]))
    assert found == {place: value for place, value in wide(2).items() if place[2] % 9}


def test_export_whose_sensor_says_bad_from_some_time_on() -> None:
    """A word in a cell costs that cell alone."""
    rows = cells("%Y-%m-%d %H:%M:%S", lambda k, row: row | ({"vib": "Bad"} if k > 100 else {}))
    expected = {place: value for place, value in wide(1).items() if place[1] != "vib" or place[2] <= 100}
    assert onboarded(table([HEAD, *rows])) == expected


def test_export_in_local_time_over_the_end_of_summer_time() -> None:
    """Without a zone the file is refused with the setting that cures it, and with it no hour is lost."""
    zone, begin = ZoneInfo("Europe/Berlin"), datetime(2026, 10, 24, 22, tzinfo=UTC)
    stamps = [begin + timedelta(seconds=10 * n) for n in range(1800)]
    rng = random.Random(1)
    local = [f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S},{rng.gauss(5, 1):.3f}" for at in stamps]
    path = table(["timestamp,flow", *local])
    refused = monitor("onboard", "--file", path, "--out", "monitor.toml")
    assert refused.exit_code == 1
    assert "set source.timezone" in refused.stderr

    made = monitor("onboard", "--file", path, "--out", "monitor.toml", "-s", "source.timezone=Europe/Berlin")
    assert made.exit_code == 0, made.output
    settings = load(Path("monitor.toml"), {}, {})
    times = [each.timestamp for run in make_sample(settings, 10**6, lambda _: None).runs for each in run]
    assert times == [int(at.timestamp()) * 1000 for at in stamps]
    assert settings.windows.step_s == 10.0


def test_export_of_several_machines() -> None:
    """A column of machines names the assets; without its usual name the file is refused and the column named."""
    rows = [
        ",".join([f"{BEGIN + timedelta(seconds=k):%Y-%m-%d %H:%M:%S}", asset, *map(str, row.values())])
        for k, asset, row in pumps()
    ]
    assert onboarded(table([HEAD.replace("timestamp", "timestamp,machine"), *rows])) == wide()
    unusual = table([HEAD.replace("timestamp", "timestamp,Strang"), *rows])
    refused = monitor("onboard", "--file", unusual, "--force")
    assert refused.exit_code == 1
    assert "set source.asset_column to 'Strang'" in refused.stderr


def test_a_table_of_several_machines_gives_the_alerts_of_their_messages() -> None:
    """Faults in one local table with decimal commas are found at the times that messages give."""
    rows: dict[int, list[str]] = {}
    for name, path in zip(ASSETS, csv(Path()), strict=True):
        for line in path.read_text().splitlines()[1:]:
            stamp, *values, _ = line.split(";")
            rows.setdefault(int(stamp), []).append(";".join([name, *values]).replace(".", ","))
    stamps = {time: f"{datetime.fromtimestamp(time / 1000, UTC):%d.%m.%Y %H:%M:%S}" for time in rows}
    lines = [f"{stamps[time]};{row}" for time, each in rows.items() for row in each]
    Path("plant.csv").write_text("\n".join([";".join(("Zeit", "Anlage", *CHANNELS)), *lines]), encoding="utf-16")

    found = []
    for paths in (jsonl(Path()), [Path("plant.csv")]):
        made = backtest(paths, "--alerts", "alerts.jsonl")
        assert made.exit_code == 0, made.output
        alerts = map(json.loads, Path("alerts.jsonl").read_text().splitlines())
        found.append([(each["asset"], each["cause"], each["state"], each["start"], each["time"]) for each in alerts])
    assert found[0] == found[1]
    assert {asset for asset, *_ in found[0]} == set(ASSETS)


# A topic that holds more than machines


def points(every: int) -> Iterator[str]:
    """Yield points of pumps, every so many seconds, and among them the collector's own."""
    rng = random.Random(2)
    for k, asset, row in pumps():
        if k % every == 0:
            fields = ",".join(f"{name}={value}" for name, value in row.items())
            yield f"modbus,asset={asset},host=edge01 {fields} {ns(k)}"
        if k % 10 == 0 and asset == "P3":
            for cpu in range(4):
                used = f"usage_user={rng.uniform(1, 20):.2f},usage_system={rng.uniform(1, 9):.2f}"
                yield f"cpu,cpu=cpu{cpu},host=edge01 {used} {ns(k)}"
            yield f"mem,host=edge01 used_percent={rng.uniform(40, 45):.2f},available=8123456000i {ns(k)}"
            yield f"disk,device=sda1,fstype=ext4,host=edge01,path=/ used_percent=51.2 {ns(k)}"
            yield f"net,host=edge01,interface=eth0 bytes_recv={k * 1000}i,bytes_sent={k * 900}i {ns(k)}"


def modbus(found: Readings) -> Readings:
    return {(asset, name.removeprefix("modbus."), k): value for (asset, name, k), value in found.items()}


def test_the_collectors_own_points_are_left_out() -> None:
    """Pumps are assets by their tag, and what the collector says of itself is filtered."""
    assert modbus(onboarded(sent("in.lp", points(1)))) == wide()
    mixed = onboarded(sent("in.lp", points(10)), step_s=10.0)
    assert modbus(mixed) == {place: value for place, value in wide().items() if place[2] % 10 == 0}


def test_points_of_booleans_and_texts_alone_are_no_dead_letters() -> None:
    """Coils beside the measurements cost no value of the pumps, and no message of them is rejected."""

    def lines() -> Iterator[str]:
        for k, asset, row in pumps():
            fields = ",".join(f"{name}={value}" for name, value in row.items())
            yield f"modbus,asset={asset},host=edge01 {fields} {ns(k)}"
            on = k % 60 > 30
            yield f'coils,asset={asset},host=edge01 running={str(on).lower()},state="{"RUN" if on else "STOP"}" {ns(k)}'

    found = onboarded(sent("in.lp", lines()))
    assert modbus({place: value for place, value in found.items() if place[1] != "coils.running"}) == wide()


# OPC UA by way of Telegraf, each machine a group, whose name is the measurement


GOOD = "The operation succeeded. StatusGood (0x0)"


def group(number: int) -> Values:
    return {"asset": f"Pump{number}", "host": "edge01", "line": "1"}


@pytest.mark.parametrize("kind", ["lp", "json"])
def test_opc_ua_by_telegraf(kind: str) -> None:
    """Pumps share channels, running is a state, hours and mode are left out, and what is not sent is missing."""

    def each() -> Iterator[tuple[str, Values, Values, int]]:
        for k, asset, row in pumps():
            yield "mem", {"host": "edge01"}, {"used_percent": 34.5 + k / 7 % 1, "available": 8123456000 + k}, k
            number = int(asset[1:])
            fields = row | {"running": k % 20 > 6, "mode": "AUTO", "hours": 1234 + k}
            for name, value in fields.items():
                if (asset, name) != ("P3", "temp") or not 60 <= k < 90:
                    yield f"Pump{number}", group(number), {name: value, "Quality": GOOD}, k

    found = onboarded(sent(f"in.{kind}", (written(kind, *point) for point in each())))
    gone = {("P3", "temp", k) for k in range(60, 90)}
    expected = {(f"Pump{a[1:]}", c, k): v for (a, c, k), v in wide().items() if (a, c, k) not in gone}
    states = {(f"Pump{n}", "running", k): float(k % 20 > 6) for n in (1, 2, 3) for k in range(STEPS)}
    assert found == expected | states


def written(kind: str, name: str, tags: Values, fields: Values, second: int) -> Any:
    """Return a point in line protocol, or as Telegraf writes it in JSON."""
    if kind == "json":
        return {"fields": fields, "name": name, "tags": tags, "timestamp": ns(second) // 10**6}
    pairs = ",".join(f"{key}={json.dumps(value)}{'i' if type(value) is int else ''}" for key, value in fields.items())
    return f"{name},{','.join(f'{key}={value}' for key, value in tags.items())} {pairs} {ns(second)}"
