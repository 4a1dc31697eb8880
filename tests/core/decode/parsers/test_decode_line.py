"""Valid InfluxDB line protocol, in hand-written examples."""

import dataclasses

import pytest

from monitor.core.decode.format import ParsedMessages
from monitor.core.decode.parsers.from_line import _Reader, _tidied
from tests.core.decode.decoding import LINE, bad, good, message
from tests.core.decode.malformed import NANOS, NOW, SECONDS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-0.5", -0.5),
        ("+1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("007", 7.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("42i", 42.0),
        ("-42i", -42.0),
        ("007i", 7.0),
        ("18446744073709551615u", 18446744073709551615.0),
        ("99999999999999999999i", 1e20),
    ],
)
def test_line_protocol_numbers(text: str, value: float) -> None:
    """Every number syntax of line protocol is read, as the only field and among other fields."""
    assert good(LINE, f"m,host=a f={text}".encode()) == [(0, "a", "m.f", NOW, value)]
    line = f'm,host=a g=1.5,f={text},h=2i,b=F,s="x" {NANOS}\r\n'.encode()
    assert [row[4] for row in good(LINE, line)] == [1.5, value, 2.0]


@pytest.mark.parametrize(
    "line",
    [
        "m,host=a f=1",
        "m,host=a f=1\n",
        "m,host=a f=1\r\n",
        "  m,host=a   f=1  \n\n",
        "#f=2\n \n  # m f=3\r\n\r\nm,host=a f=1\n#",
        "#m,host=a g=7\nm,host=a f=1",
        "m,host=a,path=C:\\ Program\\ Files,x\\=y=\\,\\= f=1",
        "m,host=a,path=C:\\temp\\\\\\ x f=1",
        'm,host=a,q="b f=1,s="\\"x\\" = y, z # \\\\"',
        'm,x="b,host=a f=1,s="two\nlines"',
        'm,host=a s="",f=1,t="="',
        "m,\N{GREEK SMALL LETTER OMEGA}=\N{LATIN SMALL LETTER O WITH DIAERESIS},host=a f=1",
        "m,host=b,host=a f=1",
        "m,host=a f=1,no\\ name=t",
        f"m,host=a f=1 {NANOS}",
        f"m,host=a f=1  {NANOS}  ",
    ],
)
def test_line_protocol_grammar(line: str) -> None:
    """Escapes, texts, comments, empty lines and white space are read according to the grammar."""
    assert good(LINE, line.encode()) == [(0, "a", "m.f", NOW, 1.0)]


def test_escaped_tag_name_is_found() -> None:
    """The name of the asset tag may need escapes."""
    form = dataclasses.replace(LINE, asset_tag="asset id")
    assert good(form, b"m,asset\\ id=a f=1") == [(0, "a", "m.f", NOW, 1.0)]


def test_reason_shows_the_name_without_its_escapes() -> None:
    """A rejected asset is shown as the producer named it."""
    assert bad(LINE, b"m,host=" + b"a\\ b" * 50 + b" f=1").reason.startswith("found 'a ba b")


def test_usual_lines_need_no_scanner() -> None:
    """Typical Telegraf lines (integers, texts, escaped tags) take the plain path, which is eight times as fast."""
    lines = [
        f"cpu,cpu=cpu0,host=a usage_idle=98.5,usage_user=1 {NANOS}\n",
        f"mem,host=a free=4096i,used=-1i,active=t {NANOS}\nmem,host=a free=1u {NANOS}\n",
        f'opcua,host=a,id=ns\\=2;s\\=A\\ B Quality="OK (0x0)",Level=1.5 {NANOS}\r\n',
    ]
    reader = _Reader(LINE, ParsedMessages())
    for line in lines:
        assert len(reader._plain(message(b""), _tidied(line))) == line.count("\n")


def test_line_without_timestamp_takes_the_message_s() -> None:
    """A line without a timestamp takes the message's timestamp in ms, and is rejected if the message has none."""
    form = dataclasses.replace(LINE, timestamp_unit="s")
    expected = [(0, "a", "m.f", NOW - 7, 1.0), (0, "a", "m.f", NOW - 1000, 2.0)]
    assert good(form, f"m,host=a f=1\nm,host=a f=2 {SECONDS - 1}".encode(), timestamp=NOW - 7) == expected
    rejected = bad(form, f"m,host=a f=2 {SECONDS}\nm,host=a f=1".encode(), timestamp=-1)
    assert (rejected.error, rejected.field) == ("MissingField", "line 2: timestamp")
