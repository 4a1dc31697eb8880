"""CSV that programs, people and power losses have spoilt: read rightly, or refused with cause and cure."""

import codecs
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.connectors.files.text import is_a_row_a_line, text_lines, text_rows
from monitor.core.decode.decode import Format, decode
from monitor.core.records import Message, Partition
from tests.connectors.files.test_csv_dialects import Readings, _refusal, _rows, _table

BEGIN = datetime(2026, 3, 2, 6)  # noqa: DTZ001 - as the cells write it
HEAD = "timestamp,flow,temp"


def at(second: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return (BEGIN + timedelta(seconds=second)).strftime(form)


def rows(first: int = 0, count: int = 20, form: str = "%Y-%m-%d %H:%M:%S") -> list[str]:
    return [f"{at(n, form)},{n}.5,{n + 20}.25" for n in range(first, first + count)]


def plain(count: int = 20) -> Readings:
    """The readings of `rows`."""
    ms = 1_772_431_200_000
    pairs = ((n, name, value) for n in range(count) for name, value in (("flow", n + 0.5), ("temp", n + 20.25)))
    return {("pump", name, ms + 1000 * n): value for n, name, value in pairs}


def text(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


LOCAL = [line.replace(",", ";").replace(".", ",") for line in rows()]
MARK = codecs.BOM_UTF8
NOTED = "timestamp,note,flow,temp"
EPOCHS = [f"{1772431200 + n}.000{line[19:]}" for n, line in enumerate(rows())]
SAME: dict[str, bytes] = {  # spoilt, and read as the plain table
    "tabs and decimal commas": text("timestamp\tflow\ttemp", *(line.replace(";", "\t") for line in LOCAL)),
    "the line sep= of Excel": text("sep=;", "timestamp;flow;temp", *LOCAL),
    "a delimiter at the end of all lines": text("timestamp;flow;temp;", *(f"{line};" for line in LOCAL)),
    "a delimiter at the end of rows": text("timestamp;flow;temp", *(f"{line};" for line in LOCAL)),
    "delimiters at the end of the header": text("timestamp;flow;temp;;", *LOCAL),
    "all cells in quotes": text(*('"' + line.replace(",", '","') + '"' for line in [HEAD, *rows()])),
    "line ends in a quoted text": text(
        NOTED,
        *(line.replace(",", ',"two\nlines, ""so"" it is",' if n % 3 else ",-,", 1) for n, line in enumerate(rows())),
    ),
    "line ends in a quoted name": text('timestamp,"flow\n",temp', *rows()),
    "a quotation mark that opens nothing": text(
        "timestamp,note,flow,temp", *(r.replace(",", ',a 5" pipe,', 1) for r in rows())
    ),
    "mixed line ends": b"".join(text(line, end="\r\n" if n % 2 else "\n") for n, line in enumerate([HEAD, *rows()])),
    "a block of zeros at the end": text(HEAD, *rows()) + bytes(4096),
    "a zero at the end of a line": text(HEAD, *rows(count=19), rows()[19] + "\0"),
    "the header again": text(HEAD, *rows(count=10), HEAD, *rows(10, 10)),
    "two exports with their marks": codecs.BOM_UTF8
    + text(HEAD, *rows(count=10))
    + codecs.BOM_UTF8
    + text(HEAD, *rows(10, 10)),
    "two exports with their marks, of rows alone": codecs.BOM_UTF8
    + text(HEAD, *rows(count=10))
    + codecs.BOM_UTF8
    + text(*rows(10, 10)),
    "AM and PM": text(HEAD, "14/02/2026 06:00:00 AM,,", *rows(form="%d/%m/%Y %I:%M:%S %p")),
    "seconds since 1970 with a decimal point": text(
        HEAD, *(f"{1772431200 + n}.000{r[19:]}" for n, r in enumerate(rows()))
    ),
    "seconds since 1970 with a decimal comma": text(
        "time;flow;temp", *(f"{1772431200 + n},0{r[19:]}" for n, r in enumerate(LOCAL))
    ),
    "names and units in rows of their own": text(HEAD, ",P1,P1", "s,m3/h,C", *rows()),
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_a_spoilt_table_is_read_as_the_plain_one(tmp_path: Path, content: bytes) -> None:
    """What parts lines, cells and exports costs no reading, and no row is rejected."""
    assert _table(tmp_path, content, ignore=["note"]) == plain()


def shifted(*columns: Callable[[int], str], head: str = HEAD) -> str:
    return "\n".join([head, *(",".join([at(n), *(column(n) for column in columns)]) for n in range(40))])


REFUSED: dict[str, tuple[str, str]] = {  # and the words that name cause and cure
    "nothing": ("", "the file holds no line"),
    "blank lines": ("\n\n\ufeff\n", "the file holds no line"),
    "lines that end with CR": ("\r".join([HEAD, *rows()]), "CR alone"),
    "a workbook": ("PK\x03\x04" + "x" * 99, "Excel workbook: unpack it, or save the sheet as CSV"),
    "gzip": ("\x1f\x8b\x08" + "x" * 99, "gzip: unpack it"),
    "Parquet": ("PAR1" + "x" * 99, "set source.format to parquet"),
    "JSON": ('{"asset": "P1"}\n' * 9, "set source.format to jsonl"),
    "spaces between columns": ("\n".join([HEAD, *rows()]).replace(",", "  "), "found no comma, semicolon, tab or |"),
    "no header": ("\n".join(rows()), "holds values, not names"),
    "rows wider than the header": (shifted(str, str, str), "have 4 cells, and the header has 3"),
    "one name twice": (shifted(str, str, head="time,flow,flow"), "give them different names"),
    "another header in the middle": (
        "\n".join([HEAD, *rows(), "timestamp,temp,flow", *rows(20)]),
        "row 20 is another header (timestamp, temp, flow)",
    ),
    "an asset that is not always there": (
        shifted(lambda n: "P1" if n % 2 else "", str, head="time,machine,flow"),
        "column 'machine' names assets (P1) and is empty in some rows",
    ),
    "times with the name of a zone": (
        "\n".join([HEAD, *(line.replace(",", " CET,", 1) for line in rows())]),
        "'2026-03-02 06:00:00 CET', cannot be read: expected a date and a time, with an offset",
    ),
    "days of a spreadsheet": ("time,flow\n46083.25,1\n46083.26,2", "not in a spreadsheet's days; write dates"),
    "seconds from the start": ("time,flow\n0.0,1\n0.1,2\n0.2,3", "not from the start of a recording"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_lost_or_mixed_is_refused(tmp_path: Path, content: str, words: str) -> None:
    """The file is refused before its first row is used, with the cause and the cure."""
    assert words in _refusal_of_bytes(tmp_path, content.encode("latin-1" if content[:1] == "\x1f" else "utf-8"))


def _refusal_of_bytes(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "pump.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pump\.csv: ") as refused:
        _rows(path, {})
    return str(refused.value)


def test_the_rows_of_an_unknown_asset_can_be_dropped(tmp_path: Path) -> None:
    """With source.asset_column rows without a name become dead letters, and with source.ignore all rows are of one."""
    content = shifted(lambda n: "P1" if n % 2 else "", str, head="time,machine,flow")
    assert "source.ignore" in _refusal(tmp_path, content)
    path = tmp_path / "pump.csv"
    found = _rows(path, {"asset_column": "machine"})
    assert {row.key for row in found} == {b"P1", b""}
    assert {row.key for row in _rows(path, {"ignore": ["machine"]})} == {b"pump"}


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    """A table may be very wide; the limit of channels is the decoder's."""
    lines = [",".join(["time", *(f"c{n}" for n in range(10_000))])]
    lines += [",".join([at(k), *(str(n + k) for n in range(10_000))]) for k in range(3)]
    path = tmp_path / "pump.csv"
    path.write_text("\n".join(lines))
    assert [row.value.count(b",") for row in _rows(path, {})] == [20_000] * 3


def test_sparse_rows_of_several_assets_stay_apart(tmp_path: Path) -> None:
    """An asset that fills other columns than the next one has its own values, and none of another."""
    lines = [f"{at(n)},P{m},{n if m == 1 else ''},{n + 100 if m == 2 else ''}" for n in range(20) for m in (1, 2, 3)]
    found = _table(tmp_path, "\n".join(["timestamp,machine,flow,temp", *lines]))
    assert {(asset, name) for asset, name, _ in found} == {("P1", "flow"), ("P2", "temp")}
    assert len(found) == 40


def test_columns_that_begin_with_machines_are_remarked(tmp_path: Path) -> None:
    """A wide table with the machine in the names of its columns is read as one asset, and a notice says so."""
    path = tmp_path / "pump.csv"
    path.write_text(shifted(str, str, str, str, head="time,P1.flow,P1.temp,P2.flow,P2.temp"))
    notices: list[str] = []
    _rows(path, {}, notices)
    assert any("the columns begin with P1, P2, which may be machines" in each for each in notices)


def test_two_stray_quotation_marks_cost_their_own_rows_alone(tmp_path: Path) -> None:
    """Marks that open a cell in two rows do not join the rows between them, from any start."""
    noted = [f"{row},{chr(34) + 'x' if n in {5, 12} else '-'}" for n, row in enumerate(rows())]
    path = tmp_path / "pump.csv"
    path.write_bytes(text(f"{HEAD},note", *noted))
    found = _rows(path, {})
    assert [row.number for row in found] == list(range(20))
    for start in (1, 5, 6, 12, 19):
        assert _rows(path, {}, start=start) == found[start:]
    messages = [Message(Partition("t", 0), row.number, row.key, row.value, 0) for row in found]
    batch, rejected = decode(messages, Format("csv", asset_from="key"), 1_900_000_000_000)
    assert [each.message.offset for each in rejected] == [5, 12]
    assert len(batch.value) == len(plain(18))


@pytest.mark.parametrize(
    "line",
    [b'"' + b"\t" * 200_000, b'"a"' + b"\t" * 200_000 + b'"', b'",' * 200_001, b"," + b" " * 200_000 + b'"'],
    ids=["tabs behind a mark", "tabs between marks", "marks and commas", "spaces"],
)
def test_a_line_of_delimiters_and_marks_is_read_quickly(tmp_path: Path, line: bytes) -> None:
    """Whether a row ends within a quoted cell takes time in proportion to its length."""
    path = tmp_path / "pump.csv"
    path.write_bytes(line + b"\n")
    begin = time.process_time()
    with path.open("rb") as file:
        assert list(text_rows(file, "utf-8")) == [line]
    assert time.process_time() - begin < 1


def test_a_start_within_quoted_lines_goes_on_after_them(tmp_path: Path) -> None:
    """Rows over several lines keep their numbers from any start."""
    path = tmp_path / "pump.csv"
    path.write_bytes(SAME["line ends in a quoted text"])
    found = _rows(path, {})
    for start in (1, 2, 5, 19):
        assert _rows(path, {}, start=start) == [row for row in found if row.number >= start]


@pytest.mark.parametrize("name", SAME)
def test_the_quick_look_at_a_file_is_right(tmp_path: Path, name: str) -> None:
    """Where each line is said to be a row, reading rows and reading lines is the same."""
    path = tmp_path / "pump.csv"
    path.write_bytes(SAME[name])
    with path.open("rb") as one, path.open("rb") as other:
        same = list(text_rows(one, "utf-8")) == list(text_lines(other, "utf-8"))
    assert same or not is_a_row_a_line(path, "utf-8")
    assert is_a_row_a_line(path, "utf-8") or any(mark in SAME[name][1:] for mark in (b'"', b"\0", MARK))


@pytest.mark.parametrize("before", range(4))
def test_a_mark_across_two_blocks_is_seen(tmp_path: Path, before: int) -> None:
    """A mark of the encoding is found wherever the reading of a file is cut."""
    path = tmp_path / "pump.csv"
    path.write_bytes(b"x" * (len(MARK) + 2**20 - before) + MARK + b"x")
    assert not is_a_row_a_line(path, "utf-8")
