"""How tables become messages, and which tables are refused."""

import csv
import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.connectors.files.arrays import npz_rows
from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.lines import Row, Rows
from monitor.connectors.files.tables import table_rows
from monitor.core.decode.decode import Format, decode
from monitor.core.records import Message, Partition, ReadingBatch, Rejected

FORMAT = Format("csv", asset_from="key")
NOW = 1_800_000_000_000


def _rows(rows: Rows, start: int = 0) -> list[Row]:
    rows.open()
    rows.start(start)
    found = []
    while row := rows.take():
        found.append(row)
    assert rows.finished()
    rows.close()
    return found


def _csv(tmp_path: Path, text: str | bytes, *ignore: str, time_column: str = "", start: int = 0) -> list[Row]:
    path = tmp_path / "pump 1.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _rows(table_rows(path, TableOptions("pump", ignore, time_column), lambda _: None), start)


def _decode(rows: list[Row]) -> tuple[ReadingBatch, list[Rejected]]:
    return decode(
        [Message(Partition("t", 0), row.number, row.key, row.value, row.time or 0) for row in rows], FORMAT, NOW
    )


def _values(row: Row) -> dict[str, float]:
    """The readings that the decoder finds in a row of CSV, by channel; all of the asset and time of the row."""
    readings, rejected = _decode([row])
    assert rejected == []
    assert readings.assets in {("pump",), ()}
    assert set(readings.time.tolist()) <= {row.time}
    return dict(zip([readings.channels[code] for code in readings.channel], readings.value.tolist(), strict=True))


def _json(row: Row) -> Any:
    return json.loads(row.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_row_is_a_message_with_its_header(tmp_path: Path, delimiter: str) -> None:
    """Columns become channels and the time ms UTC; the delimiter is the one the header has most of."""
    text = "datetime,Volume Flow RateRMS,p\n2020-03-09 10:14:33,32.5,1\n2020-03-09 10:14:34,,-1e-3\n"
    first, second = _csv(tmp_path, text.replace(",", delimiter))
    assert first.number == 0
    assert first.time == 1_583_748_873_000
    assert first.key == b"pump"
    assert first.value.decode() == "@timestamp,Volume Flow RateRMS,p\n2020-03-09 10:14:33,32.5,1".replace(
        ",", delimiter
    )
    assert _values(first) == {"Volume_Flow_RateRMS": 32.5, "p": 1.0}
    assert (second.number, second.time) == (1, 1_583_748_874_000)
    assert _values(second) == {"p": -0.001}


def test_ignored_columns_are_no_channels(tmp_path: Path) -> None:
    """Columns named in `ignore` are left out, a second time column and one of no use among them."""
    text = "datetime;time;a;anomaly;b\n2020-01-01;x;1;0.0;2\n"
    (row,) = _csv(tmp_path, text, "anomaly", "time")
    assert _values(row) == {"a": 1.0, "b": 2.0}


def test_the_time_column_can_be_named(tmp_path: Path) -> None:
    """`time_column` takes any column, and one called time is then a channel like others."""
    (row,) = _csv(tmp_path, "Zeit;time\n1700000000;5\n", time_column="Zeit")
    assert (row.time, _values(row)) == (1_700_000_000_000, {"time": 5.0})


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2024-01-01T00:00:00Z", 1_704_067_200_000),
        ("2024-01-01 01:00:00+01:00", 1_704_067_200_000),
        ("2024-01-01", 1_704_067_200_000),
        (" 2024-01-01 00:00:00.0019 ", 1_704_067_200_001),
        ("1704067200", 1_704_067_200_000),
        ("1700000000.123", 1_700_000_000_123),
        ("546694151.66", 546_694_151_660),
        ("1.7040672e9", 1_704_067_200_000),
        ("1704067200123", 1_704_067_200_123),
        ("1704067200123999", 1_704_067_200_123),
        ("1704067200123999999", 1_704_067_200_123),
        ("-86400", -86_400_000),
    ],
)
def test_times_are_read_in_every_common_form(tmp_path: Path, cell: str, expected: int) -> None:
    """ISO with and without zone (UTC), and numbers whose unit follows from their size; finer parts are floored."""
    (row,) = _csv(tmp_path, f"Timestamp,a\n2024-01-01,1\n{cell},1\n", start=1)
    assert row.time == expected


def test_a_time_without_zone_is_utc_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone of the machine that reads the file does not matter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        (row,) = _csv(tmp_path, "time,a\n2024-01-01 00:00:00,1\n")
    time.tzset()
    assert row.time == 1_704_067_200_000


@pytest.mark.parametrize(
    "line",
    [
        "2024-01-01,1",
        "2024-01-01,1,2,3",
        "yesterday,1,2",
        ",1,2",
        "nan,1,2",
        "1e99,1,2",
        "2024-13-01,1,2",
        '2024-01-01,"1,2',
        '2024-01-01,"1"5,2',
    ],
)
def test_a_malformed_line_is_passed_on_as_it_is(tmp_path: Path, line: str) -> None:
    """Nothing is swallowed: the line itself becomes the message, which the decoder rejects; the next one is read."""
    rows = _csv(tmp_path, f"time,a,b\n{line}\r\n2024-01-01,1,2\n")
    assert rows[0].value == f"@timestamp,a,b\n{line}".encode()
    assert _values(rows[1]) == {"a": 1.0, "b": 2.0}
    readings, rejected = _decode(rows)
    assert len(readings) == 2
    assert [each.message.offset for each in rejected] == [0]


def test_bytes_that_are_no_text_are_passed_on(tmp_path: Path) -> None:
    """A byte that is not UTF-8 costs its cell alone, where the file is UTF-8 otherwise."""
    (row,) = _csv(tmp_path, "time,a,b,ä\n2024-01-01,1,1,1\n".encode() + b"2024-01-01,\xff,2,3\n")[1:]
    assert row.value == "@timestamp,a,b,ä\n2024-01-01,".encode() + b"\xff,2,3"
    assert _values(row) == {"b": 2.0, "ae": 3.0}


def test_quotes_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    """Spreadsheets write a mark before the first name and quote what they like."""
    text = '\ufefftime,"a, bar","b"\r\n"2024-01-01", "1.5",2\r\n'
    (row,) = _csv(tmp_path, text)
    assert _values(row) == {"a__bar": 1.5, "b": 2.0}


def test_rows_that_measured_nothing_are_numbered_and_left_out(tmp_path: Path) -> None:
    """Blank lines and rows of empty cells have a number but give no message; starting among them works."""
    text = "time,a,b\n2024-01-01,1,\n\n2024-01-02,,NaN\n2024-01-03,null,4"
    assert [row.number for row in _csv(tmp_path, text)] == [0, 3]
    assert [row.number for row in _csv(tmp_path, text, start=1)] == [3]


def test_a_row_without_measurements_is_no_fault() -> None:
    """The decoder finds no reading in a row of empty cells, and does not reject it."""
    readings, rejected = _decode([Row(0, b"@timestamp,a,b\n2024-01-01,,-nan", None, b"pump")])
    assert len(readings) == 0
    assert rejected == []


def test_columns_of_text_are_left_out_with_a_notice(tmp_path: Path) -> None:
    """A column without any number in its first rows is no channel, and a notice names it; an empty column is one."""
    path = tmp_path / "a.csv"
    path.write_text("time,state,a,later\n2024-01-01,on,,\n2024-01-02,off,3,\n")
    notices: list[str] = []
    rows = _rows(table_rows(path, TableOptions("pump"), notices.append))
    assert [row.value.split(b"\n")[0] for row in rows] == [b"@timestamp,,a,later"]
    assert [_values(row) for row in rows] == [{"a": 3.0}]
    (notice,) = notices
    assert str(path) in notice
    assert notice.endswith(": state")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("a,b", "datetime or timestamp or time, found 0 in a, b"),
        ("", "found no comma, semicolon, tab or"),
        ("time,Time,a", "found 2"),
        ("time", "found no channel"),
        ("time,a b,a_b", "'a b' and 'a_b' would both be called 'a_b'"),
        ("time,,a", "channel '': expected a name of 1 to 128"),
        (f"time,{'x' * 129}", "1 to 128"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    """The error names the file and the mistake in its header, before any row is read."""
    with pytest.raises(ValueError, match=f"pump 1.csv: .*{reason}"):
        _csv(tmp_path, f"{header}\n{','.join('1' for _ in header.split(','))}\n")


# From 1973, when milliseconds get too many to be seconds, to 2100.
@given(times=st.lists(st.integers(102_000_000, 4_102_444_800), min_size=1, max_size=5))
def test_every_unit_means_the_same_time(tmp_path_factory: pytest.TempPathFactory, times: list[int]) -> None:
    """A time written in ISO, s, ms, µs or ns is one and the same."""
    lines = []
    for seconds in sorted(times):
        lines.append(datetime.fromtimestamp(seconds, UTC).isoformat())
        lines += [f"{seconds}{zeros}" for zeros in ("", "000", "000000", "000000000")]
    text = "time,a\n" + "".join(f"{line},1\n" for line in lines)
    found = [row.time for row in _csv(tmp_path_factory.mktemp("csv"), text)]
    assert found == [seconds * 1000 for seconds in sorted(times) for _ in range(5)]


@pytest.mark.parametrize("time", ["2024-01-01 10:00:00", "1704103200"])
@given(data=st.data())
def test_the_decoder_reads_what_a_naive_reader_reads(time: str, data: st.DataObject) -> None:
    """Cells are read like `csv.reader` and `float` read them; a cell that holds no finite number is skipped."""
    cell = st.sampled_from(
        ["", "NaN", "null", " 1.5 ", "-2", "1e-3", '"7"', '"a,b"', "inf", "1_0", "x", "9" * 400, "0x1"]
    )
    found = data.draw(st.lists(cell, min_size=2, max_size=4))
    names = [f"c{number}" for number in range(3)]
    value = f"{','.join(['@timestamp', *names])}\n{','.join([time, *found])}".encode()
    readings, rejected = _decode([Row(0, value, None, b"pump")])

    expected = {}
    row = next(csv.reader([",".join(found)], skipinitialspace=True))
    for name, text in zip(names, row, strict=False):
        with suppress(ValueError):
            if "_" not in text and math.isfinite(float(text)):
                expected[name] = float(text)
    if len(row) != len(names):
        assert len(rejected) == 1
        assert len(readings) == 0
    else:
        assert rejected == []
        assert dict(zip([readings.channels[c] for c in readings.channel], readings.value, strict=True)) == expected


@pytest.mark.parametrize(
    ("value", "error", "field", "words"),
    [
        (b"@timestamp,a\n2024-01-01", "NotCsv", "", ["found 1 cells", "expected 2"]),
        (b'@timestamp,a\n2024-01-01,"1', "NotCsv", "", ['2024-01-01,"1']),
        (b"@timestamp,a\n2024\xff01-01,1", "WrongType", "column 1", ["2024"]),
        (b"a,@timestamp\n1,yesterday", "WrongType", "column 2", ["'yesterday'", "ISO 8601"]),
        (b"@timestamp,a\n1999-01-01,1", "TimeTooOld", "timestamp", ["915148800000"]),
        (b"time,a\n2024-01-01,1", "MissingField", "@timestamp", ["time,a"]),
        (b"2024-01-01,1", "MissingField", "@timestamp", ["2024-01-01,1"]),
    ],
)
def test_a_rejected_row_is_explained(value: bytes, error: str, field: str, words: list[str]) -> None:
    """The reason names the column and what was found there."""
    (rejected,) = _decode([Row(0, value, None, b"pump")])[1]
    assert (rejected.error, rejected.field) == (error, field)
    for word in words:
        assert word in rejected.reason


def _npz(tmp_path: Path, arrays: Mapping[str, npt.NDArray[Any]], start: int = 0) -> list[Row]:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    return _rows(npz_rows(tmp_path / "a.npz", TableOptions("pump")), start)


def test_npz_rows_are_wide_messages(tmp_path: Path) -> None:
    """A table of one asset: NaN is null, an empty row gives none, and an infinity is left to the decoder to refuse."""
    values = np.array([[1, 2.5], [np.nan, 3], [np.nan, np.nan], [np.inf, 4]], np.float32)
    rows = _npz(tmp_path, {"time": np.arange(4) * 1000, "values": values, "channels": np.array(["a b", "c"])})
    assert [(row.number, row.time) for row in rows] == [(0, 0), (1, 1000), (3, 3000)]
    assert _json(rows[0]) == {"asset": "pump", "timestamp": 0, "values": {"a_b": 1.0, "c": 2.5}}
    assert _json(rows[1])["values"] == {"a_b": None, "c": 3.0}
    assert _json(rows[2])["values"] == {"a_b": "inf", "c": 4.0}


def test_npz_rows_of_many_assets_come_by_time(tmp_path: Path) -> None:
    """With an axis of assets all assets of a time come before the next time, from any row on."""
    values = np.arange(12.0).reshape(2, 3, 2)  # (A, N, C)
    arrays = {"time": np.arange(3), "values": values, "channels": np.array(["a", "b"]), "assets": np.array(["x", "y"])}
    rows = _npz(tmp_path, arrays)
    assert [(_json(row)["asset"], row.time) for row in rows] == [(s, n) for n in range(3) for s in "xy"]
    assert [_json(row)["values"]["a"] for row in rows] == [0, 6, 2, 8, 4, 10]
    assert _npz(tmp_path, arrays, 3) == rows[3:]


TIME, VALUES, CHANNELS = np.arange(2), np.zeros((2, 1)), np.array(["a"])


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"time": TIME, "values": VALUES}, "channels"),
        ({"time": TIME, "values": np.zeros((1, 2, 1)), "channels": CHANNELS}, "assets"),
        ({"time": np.arange(3), "values": VALUES, "channels": CHANNELS}, "do not fit together"),
        ({"time": TIME, "values": np.zeros((2, 2)), "channels": np.array(["a", "a"])}, "both be called"),
        ({"time": TIME * 0.5, "values": VALUES, "channels": CHANNELS}, "dtypes"),
        ({"time": TIME, "values": VALUES, "channels": np.array(["a"], object)}, "allow_pickle"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, npt.NDArray[Any]], reason: str) -> None:
    """The error names the file and the array that is missing, of the wrong shape or type, or pickled."""
    with pytest.raises(ValueError, match=rf"a\.npz: .*{reason}"):
        _npz(tmp_path, arrays)
