"""Parquet gives the readings of the same table as CSV, in every type of its columns, and needs its extra."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.lines import Row
from monitor.connectors.files.tables import table_rows
from monitor.core.decode.decode import Format, decode
from monitor.core.records import Message, Partition
from tests.backtest.backtests import backtest, csv
from tests.commands import monitor, small

BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
TIMES = [BEGIN + timedelta(seconds=n) for n in range(6)]
NOW = 1_900_000_000_000
Readings = dict[tuple[str, str, int], float]  # by asset, channel and s after BEGIN


def _rows(path: Path, options: dict[str, Any], start: int = 0, notices: list[str] | None = None) -> list[Row]:
    told = notices.append if notices is not None else lambda _: None
    rows = table_rows(path, TableOptions(**options), told, told, "parquet")
    rows.open()
    rows.start(start)
    return [row for row in iter(rows.take, None) if row is not None]


def _read(path: Path, table: pa.Table, **options: Any) -> Readings:
    pq.write_table(table, path, row_group_size=4)
    rows = _rows(path, options)
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, row.time or 0) for row in rows]
    batch, rejected = decode(messages, Format("csv", asset_from="key"), NOW)
    assert rejected == []
    places = zip(batch.asset.tolist(), batch.channel.tolist(), batch.time.tolist(), batch.value.tolist(), strict=True)
    first = int(BEGIN.timestamp()) * 1000
    return {(batch.assets[a], batch.channels[c], (t - first) // 1000): v for a, c, t, v in places}


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+02:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_and_zone_are_read(tmp_path: Path, unit: str, zone: str | None) -> None:
    """A column of times is read in its unit; with a zone it is an instant, and without one UTC."""
    table = pa.table({"t": pa.array(TIMES, pa.timestamp(unit, zone)), "flow": [float(n) for n in range(6)]})
    assert _read(tmp_path / "pump.parquet", table) == {("pump", "flow", n): n for n in range(6)}


def test_times_without_a_zone_are_of_the_zone_that_is_set(tmp_path: Path) -> None:
    """Local times follow source.timezone, also over the end of summer time; an hour is not lost without it."""
    local = [datetime(2026, 10, 25, 0, tzinfo=UTC) + timedelta(minutes=n) for n in range(120)]
    naive = [time.replace(tzinfo=None) + timedelta(hours=2 if n < 60 else 1) for n, time in enumerate(local)]
    table = pa.table({"time": pa.array(naive, pa.timestamp("us")), "flow": [1.5] * 120})
    path = tmp_path / "pump.parquet"
    assert len(_read(path, table, timezone="Europe/Berlin")) == 120
    rows = _rows(path, {"timezone": "Europe/Berlin"})
    assert [row.time for row in rows] == [int(time.timestamp()) * 1000 for time in local]
    with pytest.raises(ValueError, match=r"source\.timezone"):
        _rows(path, {})


@pytest.mark.parametrize("divisor", [1, 1000, 1_000_000, 1_000_000_000])
def test_whole_numbers_are_times_of_the_unit_that_fits(tmp_path: Path, divisor: int) -> None:
    """Epochs in ns, us, ms and s are read without a type of times."""
    stamps = [int(time.timestamp()) * 1_000_000_000 // divisor for time in TIMES]
    table = pa.table({"ts": pa.array(stamps, pa.int64()), "flow": [1.5] * 6})
    assert _read(tmp_path / "pump.parquet", table) == {("pump", "flow", n): 1.5 for n in range(6)}


def test_date_and_time_of_day_belong_together(tmp_path: Path) -> None:
    """A column of dates and one of times of day are the time."""
    columns = {"day": pa.array([time.date() for time in TIMES]), "clock": pa.array([time.time() for time in TIMES])}
    table = pa.table({**columns, "flow": [1.5] * 6})
    assert _read(tmp_path / "pump.parquet", table) == {("pump", "flow", n): 1.5 for n in range(6)}


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.int32(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(10, 3), pa.string()],
    ids=str,
)
def test_values_of_every_type_of_number_are_read_and_null_is_not_measured(tmp_path: Path, kind: pa.DataType) -> None:
    """Numbers are read from every type; null and NaN are no values, and cost no other one."""
    values = pa.array([1, None, 3, 4, 5, 6], pa.int64()).cast(pa.float64()).cast(kind)
    other = pa.array([1.5, 2.5, float("nan"), None, 5.5, 6.5])
    found = _read(tmp_path / "pump.parquet", pa.table({"t": TIMES, "flow": values, "temp": other}))
    assert found == {
        **{("pump", "flow", n): n + 1 for n in (0, 2, 3, 4, 5)},
        **{("pump", "temp", n): n + 1.5 for n in (0, 1, 4, 5)},
    }


def test_a_wide_table_with_a_column_of_assets_keeps_them_apart(tmp_path: Path) -> None:
    """A dictionary of names is a column of assets; their rows are sparse, in several row groups."""
    assets = pa.array(["P1", "P2"] * 6).dictionary_encode()
    flow = pa.array([None if n % 3 == 0 else float(n) for n in range(12)])
    table = pa.table({"timestamp": [time for time in TIMES for _ in "12"], "machine": assets, "flow": flow})
    found = _read(tmp_path / "pumps.parquet", table)
    assert found == {(f"P{n % 2 + 1}", "flow", n // 2): n for n in range(12) if n % 3}


def test_a_long_table_with_quality_is_read(tmp_path: Path) -> None:
    """Tags split into asset and channel, and a bad quality is no measurement."""
    tags = ["P1.flow", "P1.temp", "P2.flow", "P2.temp"] * 6
    quality = ["Good" if n % 5 else "Bad" for n in range(24)]
    stamps = [time for time in TIMES for _ in range(4)]
    table = pa.table({"Timestamp": stamps, "Tag": tags, "Value": [float(n) for n in range(24)], "Quality": quality})
    found = _read(tmp_path / "long.parquet", table)
    assert found == {(*tags[n].split("."), n // 4): n for n in range(24) if n % 5}


def test_machines_that_would_be_merged_are_refused(tmp_path: Path) -> None:
    """Rows that repeat a time are refused with the column that tells them apart, as in CSV."""
    table = pa.table(
        {"timestamp": [time for time in TIMES for _ in "12"], "Strang": ["S1", "S2"] * 6, "flow": [1.5, 2.5] * 6}
    )
    path = tmp_path / "pumps.parquet"
    with pytest.raises(ValueError, match=r"set source\.asset_column to 'Strang'"):
        _read(path, table)
    assert len(_read(path, table, asset_column="Strang")) == 12


def test_numbers_by_type_have_a_point_whatever_texts_have(tmp_path: Path) -> None:
    """A decimal comma in a column of texts does not turn 1.234 of a column of numbers into 1234."""
    columns = {"flow": pa.array([1.234] * 6), "temp": pa.array(["1.234,5"] * 6)}
    found = _read(tmp_path / "pump.parquet", pa.table({"t": TIMES, **columns}))
    assert set(found.values()) == {1.234, 1234.5}


def test_columns_that_hold_no_number_are_named(tmp_path: Path) -> None:
    """Lists, structs, bytes and the row numbers of pandas are no channels, and a notice names them."""
    nested = {"list": pa.array([[1.0]] * 6), "bytes": pa.array([b"x"] * 6), "struct": pa.array([{"a": 1}] * 6)}
    table = pa.table({"t": TIMES, "flow": [1.5] * 6, **nested, "__index_level_0__": list(range(6))})
    path = tmp_path / "pump.parquet"
    assert set(_read(path, table).values()) == {1.5}
    notices: list[str] = []
    _rows(path, {}, notices=notices)
    for name in ("list (list<", "bytes (binary)", "struct (struct<", "__index_level_0__ (numbers of rows)"):
        assert name in "".join(notices)


def test_texts_with_tabs_quotes_and_line_ends_stay_in_their_cell(tmp_path: Path) -> None:
    """The marks that part cells and lines do not, when they are in a text."""
    texts = ["a\tb", 'say "x"', "two\nlines", "\r\n", '"', "\t"]
    table = pa.table({"t": TIMES, 'no"te\t1': texts, "flow": [1.5] * 6})
    assert _read(tmp_path / "pump.parquet", table) == {("pump", "flow", n): 1.5 for n in range(6)}


def test_a_start_in_the_middle_reads_the_rows_that_are_left(tmp_path: Path) -> None:
    """Offsets are row numbers over all row groups."""
    table = pa.table({"t": [BEGIN + timedelta(seconds=n) for n in range(5000)], "flow": np.arange(5000.0)})
    path = tmp_path / "pump.parquet"
    pq.write_table(table, path, row_group_size=1000)
    rows = _rows(path, {})
    assert [row.number for row in rows] == list(range(5000))
    for start in (1, 999, 1000, 2500, 4999, 5000):
        assert _rows(path, {}, start) == rows[start:]


def test_files_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    """A file of another format, one that was cut and one that is damaged are refused with the path, when opened."""
    path = tmp_path / "pump.parquet"
    path.write_text("time,a\n2026-03-02,1\n")
    with pytest.raises(ValueError, match=r"pump\.parquet: this is no Parquet file"):
        _rows(path, {})

    pq.write_table(pa.table({"t": [BEGIN + timedelta(seconds=n) for n in range(5000)], "a": np.arange(5000.0)}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"pump\.parquet: this is no Parquet file"):
        _rows(path, {})

    middle = len(whole) // 4
    path.write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    with pytest.raises(ValueError, match=r"pump\.parquet: "):
        _rows(path, {})

    pq.write_table(pa.table({"time": pa.array([], pa.timestamp("ms")), "a": pa.array([], pa.float64())}), path)
    assert _rows(path, {}) == []


def test_without_the_extra_the_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the file is refused with the command that installs it."""
    path = tmp_path / "pump.parquet"
    pq.write_table(pa.table({"t": TIMES, "a": [1.5] * 6}), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pyarrow, which is not installed: pip install 'plant-monitor\[parquet\]'"):
        _rows(path, {})


def test_pyarrow_is_imported_for_parquet_alone() -> None:
    """The source of files does not need the extra for its other formats."""
    code = "import sys, monitor.connectors.files.source; assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_backtest_train_and_onboard_read_parquet(tmp_path: Path) -> None:
    """A recording gives the alerts and labels of the same table in CSV, and onboard writes its configuration."""
    (tmp_path / "csv").mkdir()
    (tmp_path / "parquet").mkdir()
    made_csv = csv(tmp_path / "csv")
    paths = [tmp_path / "parquet" / f"{path.stem}.parquet" for path in made_csv]
    for path, text in zip(paths, made_csv, strict=True):
        pq.write_table(pa.csv.read_csv(text, parse_options=pa.csv.ParseOptions(delimiter=";")), path)

    alerts = []
    for files in (made_csv, paths):
        out = tmp_path / "alerts.jsonl"
        given = ("--alerts", out, "--label-column", "wrong", "--out", tmp_path / "report.html")
        made = backtest(files, *given, source__ignore=["wrong"])
        assert made.exit_code == 0, made.output
        assert "labels: 2 of 2 found" in made.output
        alerts.append(out.read_bytes())
    assert alerts[0] == alerts[1] != b""

    trained = monitor("train", *paths, *small(tmp_path / "store", source__ignore=["wrong"]))
    assert "in use" in trained.output, trained.output
    seen = monitor("onboard", "--file", paths[0], "--out", tmp_path / "x.toml")
    assert seen.exit_code == 0, seen.output
    assert 'format = "parquet"' in (tmp_path / "x.toml").read_text()
    assert monitor("check", "-c", tmp_path / "x.toml").exit_code == 0
