"""CSV as people have it: any dialect gives the readings of the plain table, or is refused with the cure."""

import codecs
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.lines import Row
from monitor.connectors.files.tables import table_rows
from monitor.core.decode.decode import Format, decode, decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.names import Names
from monitor.core.decode.quality import Qualities
from monitor.core.decode.select import Kinds
from monitor.core.records import Message, Partition
from monitor.settings.load import load

BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
NOW = 1_900_000_000_000
Readings = dict[tuple[str, str, int], float]  # by asset, channel and time in ms UTC


def _rows(path: Path, options: Mapping[str, Any], notices: list[str] | None = None, start: int = 0) -> list[Row]:
    told = notices.append if notices is not None else lambda _: None
    rows = table_rows(path, TableOptions(**options), told, told)
    rows.open()
    rows.start(start)
    found = [row for row in iter(rows.take, None) if row is not None]
    rows.close()
    return found


def _readings(rows: Sequence[Row]) -> Readings:
    """The readings that the decoder finds, none of them twice; no row is rejected."""
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, row.time or 0) for row in rows]
    batch, rejected = decode(messages, Format("csv", asset_from="key"), NOW)
    assert rejected == []
    found = {
        (batch.assets[a], batch.channels[c], t): v
        for a, c, t, v in zip(
            batch.asset.tolist(), batch.channel.tolist(), batch.time.tolist(), batch.value.tolist(), strict=True
        )
    }
    assert len(found) == len(batch)
    return found


def _table(tmp_path: Path, text: str | bytes, **options: Any) -> Readings:
    path = tmp_path / "pump.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _readings(_rows(path, options))


def _refusal(tmp_path: Path, text: str, **options: Any) -> str:
    path = tmp_path / "pump.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"pump\.csv: ") as refused:
        _rows(path, options)
    return str(refused.value)


def _wide(stamps: Sequence[str], values: str = "1.5,2", header: str = "time,a,b") -> str:
    return "\n".join([header, *(f"{stamp},{values}" for stamp in stamps)]) + "\n"


STAMPS = {  # how a time is written, and the settings without which it would be refused
    "iso": ("%Y-%m-%d %H:%M:%S", {}),
    "zulu": ("%Y-%m-%dT%H:%M:%SZ", {}),
    "german": ("%d.%m.%Y %H:%M:%S", {}),
    "american": ("%m/%d/%Y %I:%M:%S %p", {"date_order": "mdy"}),
    "british": ("%d/%m/%Y %H:%M:%S", {"date_order": "dmy"}),
    "month": ("%d-%b-%y %H:%M:%S", {}),
    "two columns": ("%d.%m.%Y\0%H:%M:%S", {}),
    "american date apart": ("%m/%d/%Y\0%H:%M:%S", {"date_order": "mdy"}),
}


@st.composite
def _dialects(draw: st.DrawFn) -> dict[str, Any]:
    delimiter = draw(st.sampled_from(",;\t|"))
    return {
        "delimiter": delimiter,
        "comma": delimiter != "," and draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])),
        "end": draw(st.sampled_from(["\n", "\r\n"])),
        "stamp": draw(st.sampled_from(sorted(STAMPS))),
        "zone": draw(st.sampled_from(["", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])),
        "form": draw(st.sampled_from(["wide", "assets", "long", "tags"])),
        "preamble": draw(st.sampled_from([(), ("Export", ""), ("Leitsystem V4", "Anlage%Halle 2", "")])),
        "units": draw(st.booleans()),
        "missing": draw(st.sampled_from(["", "Bad", "NaN", "---", "n/a"])),
    }


def _written(readings: Readings, dialect: Mapping[str, Any], channels: Sequence[str]) -> bytes:
    """Write readings of the dialect's assets; a reading that is not there is a cell that says so."""
    delimiter, form = dialect["delimiter"], dialect["form"]
    pattern = STAMPS[dialect["stamp"]][0].replace("\0", delimiter)
    zone = ZoneInfo(dialect["zone"]) if dialect["zone"] and dialect["stamp"] != "zulu" else UTC
    head = ["Datum", "Uhrzeit"] if "\0" in STAMPS[dialect["stamp"]][0] else ["Zeit"]
    middle = {"wide": [], "assets": ["Maschine"], "long": ["Maschine", "Tag", "Wert"], "tags": ["Tag", "Wert"]}[form]
    rows = [delimiter.join([*head, *middle, *(channels if form in {"wide", "assets"} else [])])]
    if dialect["units"] and form in {"wide", "assets"}:
        rows.append(delimiter.join([*([""] * len(head + middle)), *(["m/s"] * len(channels))]))

    def cell(place: tuple[str, str, int]) -> str:
        text = f"{readings[place]}" if place in readings else dialect["missing"]
        return text.replace(".", ",") if dialect["comma"] and place in readings else text

    assets = sorted({asset for asset, _, _ in readings})
    for time in sorted({time for _, _, time in readings}):
        stamp = datetime.fromtimestamp(time / 1000, UTC).astimezone(zone).strftime(pattern)
        for asset in assets:
            if form in {"wide", "assets"}:
                found = [asset] if form == "assets" else []
                rows.append(delimiter.join([stamp, *found, *(cell((asset, name, time)) for name in channels)]))
            for name in channels if form in {"long", "tags"} else ():
                tag = [asset, name] if form == "long" else [f"{asset}.{name}"]
                rows.append(delimiter.join([stamp, *tag, cell((asset, name, time))]))

    lines = [line.replace("%", delimiter) for line in dialect["preamble"]] + rows
    text = "".join(line + dialect["end"] for line in lines)
    return text.encode(dialect["encoding"], "replace")


@given(data=st.data(), dialect=_dialects())
def test_every_dialect_gives_the_readings_of_the_plain_table(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dialect: dict[str, Any]
) -> None:
    """Delimiter, decimal sign, encoding, dates, zone, preamble, units and form change nothing in what is read."""
    assets = ["pump"] if dialect["form"] == "wide" else ["P1", "P2"]
    channels = ["K° flow", "K° temp", "vib"] if dialect["encoding"] != "utf-16-le" else ["K° flow", "temp", "vib"]
    legal = {name: name.replace("°", "_").replace(" ", "_") for name in channels}
    steps = data.draw(st.lists(st.integers(1, 3000), min_size=4, max_size=12))
    value = st.one_of(st.none(), st.integers(-10_000, 10_000).map(lambda n: n / 100))

    readings: Readings = {}
    time = int(BEGIN.timestamp()) * 1000
    for step in steps:
        time += step * 1000
        for asset in assets:
            for name in channels:
                drawn = data.draw(value)
                if drawn is not None:
                    readings[asset, name, time] = drawn
    # The first rows hold a number in each column, and one that shows the decimal sign.
    first = int(BEGIN.timestamp()) * 1000
    readings |= {(asset, name, first): 12.5 for asset in assets for name in channels}

    path = tmp_path_factory.mktemp("csv") / "pump.csv"
    path.write_bytes(_written(readings, dialect, channels))
    options = {"timezone": dialect["zone"], **STAMPS[dialect["stamp"]][1]}
    found = _readings(_rows(path, options))
    assert found == {(asset, legal[name], time): drawn for (asset, name, time), drawn in readings.items()}


def test_a_start_in_the_middle_reads_the_rows_that_are_left(tmp_path: Path) -> None:
    """Rows keep their numbers, and a time that comes twice is told apart from any start."""
    zone = ZoneInfo("Europe/Berlin")
    stamps = [(datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=10 * n)).astimezone(zone) for n in range(24)]
    path = tmp_path / "pump.csv"
    path.write_text(_wide([f"{stamp:%Y-%m-%d %H:%M:%S}" for stamp in stamps]))
    rows = _rows(path, {"timezone": "Europe/Berlin"})
    assert [row.time for row in rows] == [int(stamp.timestamp()) * 1000 for stamp in stamps]
    for start in (1, 9, 13, 23):
        assert _rows(path, {"timezone": "Europe/Berlin"}, start=start) == rows[start:]


def test_hourly_rows_tell_the_hour_that_comes_twice(tmp_path: Path) -> None:
    """Two rows of the same hour are one hour apart, and a row of the hour that does not exist is rejected."""
    text = _wide([f"25.10.2026 {hour}:00" for hour in (0, 1, 2, 2, 3, 4)])
    times = sorted({time for _, _, time in _table(tmp_path, text, timezone="Europe/Berlin")})
    assert {later - earlier for earlier, later in pairwise(times)} == {3_600_000}

    path = tmp_path / "spring.csv"
    path.write_text(_wide(["29.03.2026 01:00", "29.03.2026 02:30", "29.03.2026 03:00"]))
    rows = _rows(path, {"timezone": "Europe/Berlin"})
    assert [row.time is None for row in rows] == [False, True, False]
    assert b"does not exist in Europe/Berlin" in rows[1].value


@pytest.mark.parametrize(
    "minutes",
    [range(60, 240, 10), range(130, 170, 10), [*range(60, 120, 10), *range(130, 240, 10)]],
    ids=["once", "nothing else", "once with a hole"],
)
def test_an_hour_that_cannot_be_told_is_refused(tmp_path: Path, minutes: Sequence[int]) -> None:
    """A table in which the hour comes once is refused with both readings and the cure."""
    stamps = [f"2026-10-25 {minute // 60:02}:{minute % 60:02}:00" for minute in minutes]
    reason = _refusal(tmp_path, _wide(stamps), timezone="Europe/Berlin")
    assert "2026-10-25 00:" in reason
    assert "2026-10-25 01:" in reason
    assert "source.timezone" in reason


def test_local_times_without_a_zone_do_not_lose_an_hour(tmp_path: Path) -> None:
    """Times that run back by an hour are refused, with the setting that reads them."""
    zone = ZoneInfo("Europe/Berlin")
    stamps = [(datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=n)).astimezone(zone) for n in range(200)]
    text = _wide([f"{stamp:%Y-%m-%d %H:%M:%S}" for stamp in stamps])
    reason = _refusal(tmp_path, text)
    assert "source.timezone" in reason
    assert "'2026-10-25 02:59:00' to '2026-10-25 02:00:00'" in reason
    assert len(_table(tmp_path, text, timezone="Europe/Berlin")) == 400


def test_an_unclear_date_is_refused_with_both_readings(tmp_path: Path) -> None:
    """02/03 is a day of March or of February; another date of the head, or the setting, decides."""
    text = _wide(["02/03/2026 06:00:00", "02/03/2026 06:00:01"])
    reason = _refusal(tmp_path, text)
    for word in ("02/03/2026", "2026-03-02", "2026-02-03", "source.date_order", "dmy", "mdy"):
        assert word in reason
    assert min(_table(tmp_path, text, date_order="dmy"))[2] == 1_772_431_200_000
    assert min(_table(tmp_path, text, date_order="mdy"))[2] == 1_770_098_400_000
    assert min(_table(tmp_path, text + "13/03/2026 06:00:00,1,2\n"))[2] == 1_772_431_200_000
    assert "different orders" in _refusal(tmp_path, text + "13/03/2026 06:00:00,1,2\n03/14/2026 06:00:00,1,2\n")


def test_an_unclear_decimal_sign_is_refused_with_both_readings(tmp_path: Path) -> None:
    """1,500 is one and a half or fifteen hundred; a clearer number, or the setting, decides."""
    text = "time;a\n2026-03-02;1,500\n2026-03-03;2,250\n"
    reason = _refusal(tmp_path, text)
    for word in ("1,500", "1.500", "1500", "source.decimal"):
        assert word in reason
    assert list(_table(tmp_path, text, decimal="comma").values()) == [1.5, 2.25]
    assert list(_table(tmp_path, text, decimal="point").values()) == [1500.0, 2250.0]
    assert list(_table(tmp_path, text + "2026-03-04;3,25\n").values()) == [1.5, 2.25, 3.25]
    assert list(_table(tmp_path, text + "2026-03-04;1,234.5\n").values()) == [1500.0, 2250.0, 1234.5]
    assert "different decimal signs" in _refusal(tmp_path, text + "2026-03-04;3,25\n2026-03-05;3.25\n")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.234,5", 1234.5),
        ("1 234,5", 1234.5),
        ("1\u00a0234,5", 1234.5),
        ("1\u202f234", 1234.0),
        ("-0,5", -0.5),
        ("7", 7.0),
    ],
)
def test_marks_between_thousands_are_read(tmp_path: Path, cell: str, value: float) -> None:
    """Spaces of all widths and points may stand between thousands where the decimal sign is a comma."""
    found = _table(tmp_path, f"time;a\n2026-03-02;0,25\n2026-03-03;{cell}\n")
    assert list(found.values()) == [0.25, value]


@pytest.mark.parametrize("cell", ["1,234.5", "1 234.5", "1\u2009234.5"])
def test_marks_between_thousands_are_read_beside_a_decimal_point(tmp_path: Path, cell: str) -> None:
    """A comma or a space between thousands is read also where other numbers have none."""
    found = _table(tmp_path, f'time,a,b\n2026-03-02,21.5,"{cell}"\n2026-03-03,22.5,"{cell}"\n')
    assert list(found.values()) == [21.5, 1234.5, 22.5, 1234.5]


def test_a_column_of_units_names_no_asset(tmp_path: Path) -> None:
    """A column called unit is one of assets only if it holds whole numbers."""
    assert {asset for asset, _, _ in _table(tmp_path, "time,unit,a\n2026-03-02,bar,1\n2026-03-03,bar,2\n")} == {"pump"}
    assert {asset for asset, _, _ in _table(tmp_path, "time,unit,a\n2026-03-02,1,1\n2026-03-02,2,2\n")} == {"1", "2"}


@pytest.mark.parametrize("word", ["Bad", "NaN", "---", "", "Bad Input", "#N/A", "inf", "I/O Timeout", "true"])
def test_a_bad_cell_costs_nothing_but_itself(tmp_path: Path, word: str) -> None:
    """A word, a boolean or nothing in a cell is a value that was not measured; the rest of the row is read."""
    text = f"time,flow,vib\n2026-03-02 06:00:00,1,2\n2026-03-02 06:00:01,3,{word}\n2026-03-02 06:00:02,{word},4\n"
    found = {(name, value) for (_, name, _), value in _table(tmp_path, text).items()}
    assert found == {("flow", 1.0), ("vib", 2.0), ("flow", 3.0), ("vib", 4.0)}


def test_a_channel_that_begins_with_bad_cells_is_a_channel(tmp_path: Path) -> None:
    """A column that says Bad in all of the first rows is no column of text: it is read as soon as it is good."""
    rows = [f"2026-03-02 06:{n // 60:02}:{n % 60:02},1,{'Bad' if n < 300 else n}" for n in range(400)]
    found = _table(tmp_path, "\n".join(["time,a,b", *rows]))
    assert sum(channel == "b" for _, channel, _ in found) == 100


def test_bad_quality_is_not_measured(tmp_path: Path) -> None:
    """A long table's column of quality, and a column beside its channel, leave out the values that they call bad."""
    rows = [f"2026-03-02 06:00:0{n};P1.flow;{n}.5;{'Bad' if n % 2 else 'Good'}" for n in range(4)]
    assert list(_table(tmp_path, "\n".join(["Timestamp;Tag;Value;Quality", *rows])).values()) == [0.5, 2.5]

    text = "time,flow,flow_quality,temp\n2026-03-02 06:00:00,1,Good,2\n2026-03-02 06:00:01,3,Bad,4\n"
    right = [("flow", 1.0), ("temp", 2.0), ("temp", 4.0)]
    assert [(channel, value) for (_, channel, _), value in _table(tmp_path, text).items()] == right
    assert [(channel, value) for (_, channel, _), value in _table(tmp_path, text.replace("Good", "")).items()] == right
    codes = text.replace("Good", "192").replace("Bad", "0")
    assert [(channel, value) for (_, channel, _), value in _table(tmp_path, codes).items()] == right


@pytest.mark.parametrize("name", ["motor_status", "motor_quality", "motor_q"])
def test_a_status_of_true_and_false_is_a_state(tmp_path: Path, name: str) -> None:
    """Booleans beside a channel are its quality by a name of quality alone; a status of them is a channel."""
    rows = [f"2026-03-02 06:00:0{n},{n}.5,{'true' if n % 2 else 'false'}" for n in range(6)]
    path = tmp_path / "pump.csv"
    path.write_text("\n".join([f"time,motor,{name}", *rows]))
    header = _rows(path, {})[0].value.split(b"\n")[0].decode()
    assert header.split(",")[2] == (name if name.endswith("status") else "@quality:motor")


@pytest.mark.parametrize(
    ("quality", "good"),
    [
        *((word, True) for word in ("Good", "GOOD", "OK", "192", "216", "0", "Uncertain", "1073741824", "")),
        *((word, False) for word in ("Bad", "24", "2150891520", "Comm Fail")),
    ],
)
def test_words_and_numbers_of_quality_are_known(quality: str, good: bool) -> None:
    """The words of historians and the numbers of OPC are understood; an unknown word lets no value count."""
    assert Qualities().counts(quality) is good


def test_several_machines_are_never_merged(tmp_path: Path) -> None:
    """A column with a usual name keeps machines apart; one with another name is named by the refusal."""
    rows = [f"2026-03-02 06:00:{n:02},P{m},{m}.5" for n in range(5) for m in (1, 2)]
    found = _table(tmp_path, "\n".join(["time,machine,flow", *rows]))
    assert {(asset, value) for (asset, _, _), value in found.items()} == {("P1", 1.5), ("P2", 2.5)}

    text = "\n".join(["time,Strang,flow", *rows])
    reason = _refusal(tmp_path, text)
    assert "'Strang'" in reason
    assert "source.asset_column" in reason
    assert _table(tmp_path, text, asset_column="Strang") == found
    assert "source.asset_column" in _refusal(tmp_path, text.replace("Strang", "machine"), asset="pump")


def test_machines_one_after_another_are_refused(tmp_path: Path) -> None:
    """Where one machine's rows follow another's, the times run back, and the columns that may tell are named."""
    rows = [f"2026-03-02 06:{n:02}:{m:02},P{m},{m}.5" for m in (1, 2) for n in range(40)]
    reason = _refusal(tmp_path, "\n".join(["time,Strang,flow", *rows]))
    assert "from row 40" in reason
    assert "Strang" in reason
    assert "source.asset_column" in reason

    unnamed = [row.replace(",P1", "").replace(",P2", "") for row in rows]
    assert "give each a file" in _refusal(tmp_path, "\n".join(["time,flow", *unnamed]))


def test_repeated_times_without_a_telling_column_are_refused_unless_kept(tmp_path: Path) -> None:
    """A table of many rows a second that tells whole seconds only is refused, and read if the setting says so."""
    text = _wide([f"2026-03-02 06:00:{n // 4:02}" for n in range(40)]).splitlines()
    text = [text[0], *(f"{line}.{n}" for n, line in enumerate(text[1:]))]
    assert "source.repeated_times" in _refusal(tmp_path, "\n".join(text))
    path = tmp_path / "kept.csv"
    path.write_text("\n".join(text))
    assert len(_rows(path, {"repeated_times": "keep"})) == 40


def test_tags_name_assets_where_they_agree(tmp_path: Path) -> None:
    """Beginnings with the same channels are assets; a common beginning is one; anything between is refused."""

    def tags(*names: str, **options: Any) -> set[tuple[str, str]]:
        rows = [f"2026-03-02 06:00:0{n};{name};1.5" for n in range(3) for name in names]
        return {(a, c) for a, c, _ in _table(tmp_path, "\n".join(["Timestamp;Tag;Value", *rows]), **options)}

    assert tags("P1.flow", "P1.temp", "P2.flow", "P2.temp") == {(a, c) for a in ("P1", "P2") for c in ("flow", "temp")}
    assert tags("Hall/P1/flow", "Hall/P1/temp") == {("Hall/P1", "flow"), ("Hall/P1", "temp")}
    assert tags("U1.FIC101.PV", "U1.TIC102.PV") == {("U1", "FIC101.PV"), ("U1", "TIC102.PV")}
    assert tags("flow", "temp") == {("pump", "flow"), ("pump", "temp")}
    with pytest.raises(ValueError, match="tag_pattern"):
        tags("P1.flow", "P1.temp", "P2.flow")
    pattern = r"(?P<asset>\w+)\.(?P<channel>.+)"
    assert tags("P1.flow", "P1.temp", "P2.flow", tag_pattern=pattern) == {
        ("P1", "flow"),
        ("P1", "temp"),
        ("P2", "flow"),
    }


def test_what_was_found_is_told_once(tmp_path: Path) -> None:
    """One notice names delimiter, encoding, decimal sign, dates, zone and asset, so that a wrong guess is seen."""
    path = tmp_path / "pump.csv"
    path.write_bytes("Zeit;Durchfluß\r\n02.03.2026 06:00:00;1,5\r\n".encode("cp1252"))
    notices: list[str] = []
    _rows(path, {"timezone": "Europe/Berlin"}, notices)
    (notice,) = notices
    for word in ("semicolon", "latin-1", "decimal comma", "day-month-year", "Europe/Berlin", "'Zeit'", "asset 'pump'"):
        assert word in notice


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("time,a\n06:00:00,1\n06:00:01,2\n", {}, ["without a date", "'time'"]),
        ("time,a\n2026-03-02,1\n", {"timezone": "Europe/Berlln"}, ["source.timezone", "Europe/Berlln"]),
        ("time,a\n2026-03-02,1\n", {"asset_column": "b"}, ["source.asset_column", "'b'", "time, a"]),
        ("time,tag,value\n2026-03-02,x,1\n", {"tag_pattern": "("}, ["source.tag_pattern", "'('"]),
        ("time,tag,value\n2026-03-02,x,1\n", {"tag_pattern": "x"}, ["source.tag_pattern", "channel"]),
        ("when,then,a\n2026-03-02 06:00,2026-03-02 07:00,1\n", {}, ["found 2", "source.time_column"]),
    ],
)
def test_what_cannot_be_decided_is_refused_with_the_setting(
    tmp_path: Path, text: str, options: dict[str, str], words: list[str]
) -> None:
    """Each refusal names the file, the cause and the setting that cures it."""
    reason = _refusal(tmp_path, text, **options)
    for word in words:
        assert word in reason


def test_a_time_column_of_any_name_is_found_by_its_dates(tmp_path: Path) -> None:
    """The only column that holds dates is the time, whatever it is called."""
    assert len(_table(tmp_path, "Messung am;a\n02.03.2026 06:00;1,5\n02.03.2026 06:01;2,5\n")) == 2


def test_utf_16_without_a_mark_is_recognised(tmp_path: Path) -> None:
    """Every second byte of such a file is zero."""
    text = "time,a\n2026-03-02 06:00:00,1.5\n"
    assert list(_table(tmp_path, text.encode("utf-16-le")).values()) == [1.5]
    assert list(_table(tmp_path, codecs.BOM_UTF16_BE + text.encode("utf-16-be")).values()) == [1.5]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_states_and_numbers_in_texts_are_read_as_in_messages(tmp_path: Path, delimiter: str) -> None:
    """True and FALSE are 1 and 0 of a state and skipped elsewhere; a text holds a number if the format says so."""
    lines = ["timestamp,flow,running,open,Störung %", "2026-03-02 06:00:00,1.5,True,FALSE,x"]
    lines += ["2026-03-02 06:00:01,2.5,FALSE,TRUE,TRUE", "2026-03-02 06:00:02,\N{MINUS SIGN}3.5,n/a,true,0"]
    path = tmp_path / "pump.csv"
    path.write_text("\n".join(lines).replace(",", delimiter))
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, 0) for row in _rows(path, {})]

    def read(numbers: str, *states: str) -> tuple[set[tuple[str, float]], dict[Skip, int]]:
        form = Format("csv", asset_from="key", numbers=numbers, kinds=Kinds(tuple((glob, "state") for glob in states)))
        found = decode_all(messages, form, NOW, Names())
        batch = found.readings
        assert found.rejected == []
        names = [batch.channels[code] for code in batch.channel.tolist()]
        return set(zip(names, batch.value.tolist(), strict=True)), dict(+found.skipped)

    flow = {("flow", 1.5), ("flow", 2.5), ("flow", -3.5)}
    stopped = {("Stoerung__", 0.0)}
    assert read("numbers") == (flow | stopped, {Skip.TEXT: 1, Skip.BOOLEAN: 6, Skip.NULL: 1})
    states = {("running", 1.0), ("running", 0.0), ("open", 0.0), ("open", 1.0)}
    skipped = {Skip.TEXT: 1, Skip.NULL: 1}
    assert read("numbers", "running", "open") == (flow | stopped | states, {**skipped, Skip.BOOLEAN: 1})
    assert read("texts", "St?rung*") == (flow | stopped | {("Stoerung__", 1.0)}, {**skipped, Skip.BOOLEAN: 5})


@pytest.mark.parametrize("sign", [".", ","])
def test_a_column_of_texts_is_a_channel_if_it_has_texts(tmp_path: Path, sign: str) -> None:
    """Its cells are places among its texts, in rows as they stand and in rows that are written anew."""
    texts = ["RUN", "None", "Bad", "STOP", ""]
    lines = [f"2026-03-02 06:00:{n:02};1{sign}5;{text};x" for n, text in enumerate(texts)]
    path = tmp_path / "pump.csv"
    path.write_text("\n".join(["timestamp;flow;line state;note", *lines]))
    kinds = Kinds((("line state", "state"),), (("line state", ("STOP", "RUN", "None")),))
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, 0) for row in _rows(path, {"kinds": kinds})]
    found = decode_all(messages, Format("csv", asset_from="key", kinds=kinds), NOW, Names())
    batch = found.readings
    values = zip(batch.channel.tolist(), batch.value.tolist(), strict=True)
    assert [value for code, value in values if batch.channels[code] == "line_state"] == [1.0, 2.0, 0.0]
    assert found.unknown == {("line state", "Bad"): 1}
    assert set(batch.channels) == {"flow", "line_state"}


def test_assets_whose_names_become_one_id_are_not_merged(tmp_path: Path) -> None:
    """Of `P 1` and `P_1` only the one that is an id is read once both have come; the other's values are counted."""
    rows = [f"2026-03-02 06:00:{n:02},P{mark}1,{value}" for n in range(9) for mark, value in (("_", 2), (" ", 1))]
    path = tmp_path / "pumps.csv"
    path.write_text("\n".join(["time,machine,flow", *rows]))
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, 0) for row in _rows(path, {})]
    found = decode_all(messages, Format("csv", asset_from="key"), NOW, Names())
    assert found.readings.value.tolist() == [2.0, 1.0, *[2.0] * 8]
    assert +found.skipped == {Skip.NAME_TAKEN: 8}
    assert found.renamed[-1].name == "P 1"


def test_names_stay_as_they_are_until_the_decoder(tmp_path: Path) -> None:
    """A header keeps the characters of a name, so the decoder knows the name as it was; delimiters become `_`."""
    path = tmp_path / "Pumpe 1.csv"
    path.write_text('time,Schwingung [mm/s],"a;b|c",@x\n2026-03-02,1,2,3\n')
    (row,) = _rows(path, {})
    assert row.key == b"Pumpe 1"
    assert row.value.decode() == "@timestamp,Schwingung [mm/s],a_b_c,_x\n2026-03-02,1,2,3"
    names = Names()
    decode_all([Message(Partition("t", 0), 0, row.key, row.value, 0)], Format("csv", asset_from="key"), NOW, names)
    assert names.channels == {"Schwingung__mm/s_": "Schwingung [mm/s]"}
    assert names.assets == {"Pumpe_1": "Pumpe 1"}


def test_a_plants_own_words_of_quality_are_read_in_tables(tmp_path: Path) -> None:
    """format.qualities and format.uncertain decide on the quality columns of tables, too."""
    path = tmp_path / "long.csv"
    rows = [f"2026-03-02 06:0{n};a;{n};{word}" for n, word in enumerate(("gestört", "läuft", "Uncertain"))]
    path.write_text("\n".join(["time;tag;value;quality", *rows]))
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, 0) for row in _rows(path, {})]
    source = {"source.kind": "files", "source.format": "csv", "source.paths": [str(path)], "outputs.kind": "files"}
    given = {"format.qualities": {"läuft": "good"}, "format.uncertain": "missing"}
    own = load(None, {}, {**source, **given}).message_format()
    assert decode(messages, own, NOW)[0].value.tolist() == [1.0]
    assert decode(messages, Format("csv", asset_from="key"), NOW)[0].value.tolist() == [2.0]
