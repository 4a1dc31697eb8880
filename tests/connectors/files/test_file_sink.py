"""What files of JSON lines look like, and what becomes of them when a process or a disk fails."""

import json
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.connectors.base import Invalid, Unavailable
from monitor.connectors.files.envelopes import read_envelopes
from monitor.connectors.files.sink import FileSink, line
from monitor.core.records import Record

JSON = ("content-type", b"application/json")


def _flushed(directory: Path | str, *records: Record) -> None:
    sink = FileSink(directory)
    sink.open()
    sink.write(records)
    sink.flush(1)
    sink.close()


def test_json_is_a_line_as_it_is(tmp_path: Path) -> None:
    """A record of type JSON is its value and a line end, without key and headers."""
    _flushed(tmp_path / "new" / "out", Record("alerts", b"pump", b'{"a":1}', (("ce_id", b"x"), JSON)))
    assert (tmp_path / "new" / "out" / "alerts.jsonl").read_bytes() == b'{"a":1}\n'


@pytest.mark.parametrize(
    ("record", "envelope"),
    [
        (Record("t", b"k", b"{bad", (("e", b"1"),)), {"key": "k", "value": "{bad", "headers": {"e": "1"}}),
        (
            Record("t", None, None, (JSON,)),
            {"key": None, "value": None, "headers": {"content-type": "application/json"}},
        ),
        (
            Record("t", b"\xff", b"a\n\xc3\xa4", (("h", b"1"), ("h", b"\xfe"))),
            {"key": {"base64": "/w=="}, "value": "a\nä", "headers": {"h": ["1", {"base64": "/g=="}]}},
        ),
        (
            Record("t", b"", b"{\n}", (JSON,)),
            {"key": "", "value": "{\n}", "headers": {"content-type": "application/json"}},
        ),
    ],
)
def test_anything_else_is_in_an_envelope(tmp_path: Path, record: Record, envelope: dict[str, object]) -> None:
    """A record that is not one line of JSON is wrapped with key and headers; bytes that are not UTF-8 become base64."""
    _flushed(tmp_path, record)
    text = (tmp_path / "t.jsonl").read_bytes()
    assert text.count(b"\n") == 1
    assert json.loads(text) == envelope


def test_a_torn_line_is_set_aside(tmp_path: Path) -> None:
    """What a crash left without a line end is moved to the `.torn` file with a notice; whole lines stay."""
    notices: list[str] = []
    long = b"y" * 200_000
    for torn in (b'{"half":', long):
        with (tmp_path / "t.x.jsonl").open("ab") as file:
            file.write(torn)
        sink = FileSink(tmp_path, on_notice=notices.append)
        sink.open()
        sink.write([Record("t.x", None, b"{}", (JSON,))])
        sink.flush(1)
        sink.close()
    assert (tmp_path / "t.x.jsonl").read_bytes() == b"{}\n{}\n"
    assert (tmp_path / "t.x.torn").read_bytes() == b'{"half":\n' + long + b"\n"
    assert len(notices) == 2
    for notice, size in zip(notices, (8, 200_000), strict=True):
        assert f" {size} bytes " in notice
        assert "t.x.torn" in notice


def test_a_failed_write_leaves_no_torn_line_behind(tmp_path: Path) -> None:
    """A write cut short is cut off before the next, though it ended in the middle of a line; topics apart."""
    sink = FileSink(tmp_path)
    sink.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink.write([Record("short", None, b"1", (JSON,)), Record("long", None, b'"%s"' % (b"x" * 100), (JSON,))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="File too large"):
                sink.flush(1)
            assert (tmp_path / "short.jsonl").read_bytes() == b"1\n"
            assert (tmp_path / "long.jsonl").stat().st_size == 50
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink.flush(1)
    sink.close()
    assert (tmp_path / "short.jsonl").read_bytes() == b"1\n"
    assert (tmp_path / "long.jsonl").read_bytes() == b'"%s"\n' % (b"x" * 100)


def test_a_file_belongs_to_one_sink(tmp_path: Path) -> None:
    """A second writer is turned away until the first has closed, and then loses nothing."""
    first, second = FileSink(tmp_path), FileSink(tmp_path)
    for sink in (first, second):
        sink.open()
        sink.write([Record("t", None, b"{}", (JSON,))])
    first.flush(1)
    with pytest.raises(Unavailable, match="another process writes to it"):
        second.flush(1)
    first.close()
    second.flush(1)
    second.close()
    assert (tmp_path / "t.jsonl").read_bytes() == b"{}\n{}\n"


@pytest.mark.parametrize("topic", ["..", ".", "a/b", "/a", "", "a b", "x" * 201, "t\n"])
def test_a_topic_that_is_no_file_name_is_invalid(tmp_path: Path, topic: str) -> None:
    """Nothing is ever written outside the directory: such records are refused for good, here and on stdout."""
    out = tmp_path / "out"
    sink = FileSink(out)
    sink.open()
    sink.write([Record(topic, None, b"")])
    with pytest.raises(Invalid):
        sink.flush(1)
    sink.close()
    assert list(tmp_path.rglob("*")) == [out]


def test_the_directory_must_be_one(tmp_path: Path) -> None:
    """A path that cannot become a directory is a mistake in the settings: the error of the system, with the path."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        FileSink(tmp_path / "file").open()


def test_a_dash_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With "-" the records of all topics are printed in the order written."""
    _flushed("-", Record("a", None, b"1", (JSON,)), Record("b", None, b"2", (JSON,)), Record("a", None, b"3", (JSON,)))
    assert capfdbinary.readouterr().out == b"1\n2\n3\n"


@given(
    st.lists(
        st.tuples(st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(st.text("ab"), st.binary())))
    )
)
def test_envelopes_are_read_back(rows: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> None:
    """What is written as an envelope comes back with key, value and headers, headers of one name together."""
    records = [Record("t", key, value, tuple(headers)) for key, value, headers in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_bytes(b"".join(map(line, records)))
        back = [message for some in read_envelopes(path) for message in some]
    assert [(each.key, each.value) for each in back] == [(record.key, record.value) for record in records]
    assert [sorted(each.headers) for each in back] == [sorted(record.headers) for record in records]


@given(st.lists(st.binary() | st.sampled_from([b'{"key":1}', b'{"key":null,"value":null,"headers":[]}', b"[" * 5000])))
def test_no_line_stops_the_reading_of_envelopes(lines: list[bytes]) -> None:
    """A line that is no envelope is a message without headers, whatever it holds."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_bytes(b"".join(each.replace(b"\n", b"") + b"\n" for each in lines))
        back = [message for some in read_envelopes(path) for message in some]
    assert [each.offset for each in back] == list(range(len(lines)))
    assert not any(each.headers for each in back)
