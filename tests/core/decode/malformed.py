"""Malformed messages with the error that each must get, and valid messages of the same formats.

A row: name, key of FORMATS, Kafka key, value, error. A row of MEMBERS, messages that are read without some of their
members: name, key of FORMATS, Kafka key, value, channels that are read, reasons of the skipped values.
"""

from monitor.core.decode.decode import Format

NOW = 1_700_000_000_000  # ms UTC, also the messages' own timestamp
SECONDS = NOW // 1000
NANOS = NOW * 1_000_000
FORMATS: dict[str, Format] = {
    "json_long": Format("json_long", max_message_bytes=20_000),
    "json_long_key": Format("json_long", asset_from="key"),
    "json_long_iso": Format("json_long", timestamp_unit="iso"),
    "json_wide": Format("json_wide", max_channels=4, max_message_bytes=20_000),
    "influx_line": Format(
        "influx_line", asset_from="tag", timestamp_unit="ns", max_channels=4, max_message_bytes=20_000
    ),
    "influx_line_key": Format("influx_line", asset_from="key", timestamp_unit="ns"),
    "telegraf_json": Format("telegraf_json", asset_from="tag", timestamp_unit="s", max_channels=4),
    "telegraf_json_key": Format("telegraf_json", asset_from="key", timestamp_unit="s"),
}


def long(
    asset: str = '"a"', channel: str = '"c"', timestamp: str = str(NOW), value: str = "1.5", more: str = ""
) -> bytes:
    """Return a json_long message built from pieces of JSON."""
    return f'{{"asset":{asset},"channel":{channel},"timestamp":{timestamp},"value":{value}{more}}}'.encode()


def wide(values: str, asset: str = '"a"', timestamp: str = str(NOW)) -> bytes:
    """Return a json_wide message built from pieces of JSON."""
    return f'{{"asset":{asset},"timestamp":{timestamp},"values":{values}}}'.encode()


def metric(
    fields: str = '{"f":1}', tags: str = '{"host":"a"}', name: str = '"m"', timestamp: str = str(SECONDS)
) -> str:
    """Return a Telegraf metric built from pieces of JSON."""
    return f'{{"name":{name},"tags":{tags},"fields":{fields},"timestamp":{timestamp}}}'


def batch(*metrics: str) -> bytes:
    """Return one message with several Telegraf metrics."""
    return f'{{"metrics":[{",".join(metrics)}]}}'.encode()


GOOD: dict[str, tuple[tuple[bytes | None, bytes], ...]] = {
    "json_long": ((None, long()), (b"k", long('"b"', value="-2", more=',"unit":"bar"'))),
    "json_long_key": ((b"a", long()), (b"b", b'{"channel":"c","timestamp":1700000000000,"value":2}')),
    "json_long_iso": (
        (None, long(timestamp='"2023-11-14T22:13:20Z"')),
        (None, long(timestamp='"2023-11-14T22:13:20.5Z"')),
    ),
    "json_wide": ((None, wide('{"c":1,"d":2}')), (None, wide('{"c":3,"d":null,"e":5}', '"b"'))),
    "influx_line": (
        (None, f"m,host=a f=1,g=2i {NANOS}\n".encode()),
        (None, f'# note\nm,host=b,x=a\\ b f=1,s="t"\n\nm,host=b f=2 {NANOS}'.encode()),
    ),
    "influx_line_key": ((b"a", f"m f=1 {NANOS}".encode()), (b"b", f"m,host=x value=1 {NANOS}".encode())),
    "telegraf_json": ((None, metric().encode()), (None, batch(metric('{"f":1,"s":"t","b":true,"n":null}'), metric()))),
    "telegraf_json_key": ((b"a", metric().encode()), (b"b", metric(tags="{}").encode())),
}

DEEP = "[" * 5000 + "]" * 5000
MALFORMED: tuple[tuple[str, str, bytes | None, bytes | None, str], ...] = (
    ("tombstone", "json_long", b"k", None, "Tombstone"),
    ("no bytes", "json_long", None, b"", "Empty"),
    ("white space", "json_long", None, b" \n ", "Empty"),
    ("too large", "json_long", None, long(more=f',"x":"{"x" * 20_000}"'), "TooLarge"),
    ("no JSON", "json_long", None, b"temperature 42", "NotJson"),
    ("half a message", "json_long", None, long()[:-5], "NotJson"),
    ("two messages", "json_long", None, long() + b"," + long(), "NotJson"),
    ("half an escape", "json_long", None, long('"\\ud800"'), "NotJson"),
    ("byte order mark", "json_long", None, b"\xef\xbb\xbf" + long(), "NotJson"),
    ("an array", "json_long", None, b"[" + long() + b"]", "WrongType"),
    ("null", "json_long", None, b"null", "WrongType"),
    ("deep", "json_long", None, long(more=f',"x":{DEEP}'), "TooDeep"),
    ("deep and unclosed", "json_long", None, long(more=',"x":' + "[" * 10_000), "TooDeep"),
    ("deep where a number belongs", "json_long", None, long(value=DEEP), "TooDeep"),
    ("latin-1 asset", "json_long", None, long('"\xf6"').decode().encode("latin-1"), "NotUtf8"),
    ("bytes", "json_long", None, bytes(range(128, 256)), "NotUtf8"),
    ("number as asset", "json_long", None, long("7"), "WrongType"),
    ("null as channel", "json_long", None, long(channel="null"), "WrongType"),
    ("no value", "json_long", None, b'{"asset":"a","channel":"c","timestamp":1}', "MissingField"),
    ("no asset", "json_long", None, b'{"channel":"c","timestamp":1,"value":1}', "MissingField"),
    ("time as text", "json_long", None, long(timestamp=f'"{NOW}"'), "WrongType"),
    ("time as fraction of ms", "json_long", None, long(timestamp=f"{NOW}.5"), "WrongType"),
    ("time NaN", "json_long", None, long(timestamp="NaN"), "NotFinite"),
    ("NaN for a field's name", "json_long", None, long(more=",NaN:1"), "NotFinite"),
    ("table a number", "json_wide", None, wide("7"), "WrongType"),
    ("time as bool", "json_long", None, long(timestamp="true"), "WrongType"),
    ("time in 1970", "json_long", None, long(timestamp=str(SECONDS)), "TimeTooOld"),
    ("time before 1970", "json_long", None, long(timestamp="-1"), "TimeTooOld"),
    ("time in us", "json_long", None, long(timestamp=str(NOW * 1000)), "TimeInFuture"),
    ("time beyond int64", "json_long", None, long(timestamp="9" * 30), "TimeInFuture"),
    ("time of 5000 digits", "json_long", None, long(timestamp="9" * 5000), "NotFinite"),
    ("six minutes ahead", "json_long", None, long(timestamp=str(NOW + 360_000)), "TimeInFuture"),
    ("empty asset", "json_long", None, long('""'), "BadId"),
    ("asset of 129", "json_long", None, long(f'"{"a" * 129}"'), "BadId"),
    ("no key", "json_long_key", None, long(), "MissingField"),
    ("empty key", "json_long_key", b"", long(), "MissingField"),
    ("key not UTF-8", "json_long_key", b"\xff", long(), "NotUtf8"),
    ("time without zone", "json_long_iso", None, long(timestamp='"2023-11-14T22:13:20"'), "WrongType"),
    ("date alone", "json_long_iso", None, long(timestamp='"2023-11-14"'), "WrongType"),
    ("30th of February", "json_long_iso", None, long(timestamp='"2023-02-30T00:00:00Z"'), "WrongType"),
    ("offset of a day", "json_long_iso", None, long(timestamp='"2023-02-03T00:00:00+24:00"'), "WrongType"),
    ("number for a text of time", "json_long_iso", None, long(), "WrongType"),
    ("year 1", "json_long_iso", None, long(timestamp='"0001-01-01T00:00:00+10:00"'), "TimeTooOld"),
    ("values an array", "json_wide", None, wide("[1]"), "WrongType"),
    ("five channels", "json_wide", None, wide('{"a":1,"b":1,"c":1,"d":1,"e":1}'), "TooManyChannels"),
    ("wrong type, then broken", "json_wide", None, b'{"asset":7,"values":{"c":1', "WrongType"),
    ("wrong type, then deep", "json_wide", None, b'{"asset":7,"x":' + b"[" * 5000, "WrongType"),
    ("line not UTF-8", "influx_line", None, b"m,host=\xff f=1", "NotUtf8"),
    ("no fields", "influx_line", None, b"m,host=a", "BadLine"),
    ("measurement alone and time", "influx_line", None, f"m,host=a {NANOS}".encode(), "BadLine"),
    ("no measurement", "influx_line", None, b",host=a f=1", "BadLine"),
    ("tag without value", "influx_line", None, b"m,host= f=1", "BadLine"),
    ("field without value", "influx_line", None, b"m,host=a f=", "BadLine"),
    ("field without name", "influx_line", None, b"m,host=a =1", "BadLine"),
    ("field with two signs", "influx_line", None, b"m,host=a f=1=g,2", "BadLine"),
    ("comma at the end of the fields", "influx_line", None, b"m,host=a f=1, ", "BadLine"),
    ("text without its end", "influx_line", None, b'm,host=a f="abc', "BadLine"),
    ("text with more after its end", "influx_line", None, b'm,host=a f="abc"d', "BadLine"),
    ("text as tag that hides a space", "influx_line", None, b'm,host="a b" f=1', "BadLine"),
    ("word as value", "influx_line", None, b"m,host=a f=on", "BadLine"),
    ("null as value", "influx_line", None, b"m,host=a f=null", "BadLine"),
    ("null with a text", "influx_line", None, b'm,host=a f=null,s="t",g=1', "BadLine"),
    ("number with underscore", "influx_line", None, b"m,host=a f=1_000", "BadLine"),
    ("hexadecimal", "influx_line", None, b"m,host=a f=0x10", "BadLine"),
    ("fraction with i", "influx_line", None, b"m,host=a f=1.5i", "BadLine"),
    ("negative unsigned", "influx_line", None, b"m,host=a f=-5u", "BadLine"),
    ("array as value", "influx_line", None, b"m,host=a f=[1],g=2", "BadLine"),
    ("time with fraction in a line", "influx_line", None, b"m,host=a f=1 1700000000.5", "BadLine"),
    (
        "Arabic digits as time in a line",
        "influx_line",
        None,
        "m,host=a f=1 \N{ARABIC-INDIC DIGIT ONE}".encode(),
        "BadLine",
    ),
    ("escaped sign for a sign", "influx_line", None, b"m,host=a,x\\=y f=1", "BadLine"),
    ("word as time in a line", "influx_line", None, b"m,host=a f=1 now", "BadLine"),
    ("tab for a space", "influx_line", None, b"m,host=a\tf=1", "BadLine"),
    ("tab behind a number", "influx_line", None, b"m,host=a f=1\t", "BadLine"),
    ("our own marks in a line", "influx_line", None, b"m,host=a f=\x02,g=1", "BadLine"),
    ("no tag", "influx_line", None, b"m,line=a f=1", "MissingField"),
    ("no tags", "influx_line", None, b"m f=1", "MissingField"),
    ("line in ms", "influx_line", None, f"m,host=a f=1 {NOW}".encode(), "TimeTooOld"),
    ("line before 1970", "influx_line", None, f"m,host=a f=1 -{NANOS}".encode(), "TimeTooOld"),
    ("line in the future", "influx_line", None, f"m,host=a f=1 {NANOS * 2}".encode(), "TimeInFuture"),
    ("five fields", "influx_line", None, b"m,host=a a=1,b=1,c=1\nm,host=b d=1,e=1", "TooManyChannels"),
    ("second line bad", "influx_line", None, b"m,host=a f=1\nm,host=a f\n", "BadLine"),
    ("second line of another time", "influx_line", None, f"m,host=a f=1\nm,host=a f=1 {NOW}\n".encode(), "TimeTooOld"),
    ("line without key", "influx_line_key", None, b"m,host=a f=1", "MissingField"),
    (
        "no name",
        "telegraf_json",
        None,
        f'{{"fields":{{"f":1}},"tags":{{"host":"a"}},"timestamp":{SECONDS}}}'.encode(),
        "MissingField",
    ),
    (
        "no tags in a metric",
        "telegraf_json",
        None,
        f'{{"name":"m","fields":{{"f":1}},"timestamp":{SECONDS}}}'.encode(),
        "MissingField",
    ),
    ("nothing", "telegraf_json", None, b"{}", "MissingField"),
    ("metrics no array", "telegraf_json", None, b'{"metrics":{}}', "WrongType"),
    ("no host", "telegraf_json", None, metric(tags='{"line":"a"}').encode(), "MissingField"),
    ("host a number", "telegraf_json", None, metric(tags='{"host":7}').encode(), "WrongType"),
    (
        "five Telegraf fields",
        "telegraf_json",
        None,
        metric('{"a":1,"b":1,"c":1,"d":1,"e":1}').encode(),
        "TooManyChannels",
    ),
    ("Telegraf in ms", "telegraf_json", None, metric(timestamp=str(NOW)).encode(), "TimeInFuture"),
    ("Telegraf at 1e300 s", "telegraf_json", None, metric(timestamp="1e300").encode(), "TimeInFuture"),
    ("second metric without host", "telegraf_json", None, batch(metric(), metric(tags="{}")), "MissingField"),
    (
        "second metric without time",
        "telegraf_json",
        None,
        batch(metric(), '{"name":"m","fields":{"f":1},"tags":{"host":"a"}}'),
        "MissingField",
    ),
    ("second metric too old", "telegraf_json", None, batch(metric(), metric(timestamp="1")), "TimeTooOld"),
    ("metric without key", "telegraf_json_key", None, metric().encode(), "MissingField"),
)

Member = tuple[str, str, bytes | None, bytes, tuple[str, ...], tuple[str, ...]]
MEMBERS: tuple[Member, ...] = (
    ("NaN", "json_long", None, long(value="NaN"), (), ("not_finite",)),
    ("minus infinity", "json_long", None, long(value="-Infinity"), (), ("not_finite",)),
    ("1e999", "json_long", None, long(value="1e999"), (), ("not_finite",)),
    ("400 digits", "json_long", None, long(value="9" * 400), (), ("not_finite",)),
    ("number as text", "json_long", None, long(value='"1.5"'), (), ("text",)),
    ("empty text", "json_long", None, long(value='""'), (), ("text",)),
    ("bool as number", "json_long", None, long(value="true"), (), ("boolean",)),
    ("null as number", "json_long", None, long(value="null"), (), ("null",)),
    ("array as number", "json_long", None, long(value="[1]"), (), ("nested",)),
    ("empty channel", "json_long", None, long(channel='""'), (), ("name",)),
    ("channel of 129", "json_long", None, long(channel=f'"{"c" * 129}"'), (), ("name",)),
    ("channel with umlaut", "json_long", None, long(channel='"\xf6l"'), ("oel",), ()),
    ("channel with escape sequence", "json_long", None, long(channel='"\\u001b[2J"'), ("__2J",), ()),
    ("asset with line break", "json_long", None, long('"a\\nb"'), ("c",), ()),
    ("key with space", "json_long_key", b"a b", long(), ("c",), ()),
    (
        "NaN with time as text",
        "json_long_iso",
        None,
        long(timestamp='"2023-11-14T22:13:20Z"', value="nan"),
        (),
        ("not_finite",),
    ),
    ("no values", "json_wide", None, wide("{}"), (), ()),
    ("all null", "json_wide", None, wide('{"c":null,"d":null}'), (), ("null", "null")),
    ("values null", "json_wide", None, wide("null"), (), ()),
    ("text among values", "json_wide", None, wide('{"c":1,"d":"on"}'), ("c",), ("text",)),
    (
        "latin-1 text among values",
        "json_wide",
        None,
        wide('{"c":1,"d":"\xf6"}').decode().encode("latin-1"),
        ("c",),
        ("text",),
    ),
    ("bool among values", "json_wide", None, wide('{"c":1,"d":true}'), ("c",), ("boolean",)),
    ("nested values", "json_wide", None, wide('{"c":{"d":1},"e":2}'), ("e",), ("nested",)),
    ("1e999 among values", "json_wide", None, wide('{"c":1,"d":1e999}'), ("c",), ("not_finite",)),
    ("NaN among values", "json_wide", None, wide('{"d":NaN,"c":1}'), ("c",), ("not_finite",)),
    (
        "NaN in a text, too",
        "json_wide",
        None,
        wide('{"d": -Infinity ,"c":1,"e":": NaN,\\":NaN"}'),
        ("c",),
        ("not_finite", "text"),
    ),
    ("NaN in an array", "json_wide", None, wide('{"d":[NaN,{"x":Infinity}],"c":1}'), ("c",), ("nested",)),
    (
        "all kinds",
        "json_wide",
        None,
        wide('{"c":1,"d":"x","e":true,"f":null,"g":[],"h":nan}'),
        ("c",),
        ("boolean", "nested", "not_finite", "null", "text"),
    ),
    ("channel with a space", "json_wide", None, wide('{"c":1,"d d":1}'), ("c", "d_d"), ()),
    ("empty channel among values", "json_wide", None, wide('{"c":1,"":1}'), ("c",), ("name",)),
    ("two names that become one", "json_wide", None, wide('{"c c":1,"c,c":2}'), ("c_c",), ("name_taken",)),
    ("a name that another becomes", "json_wide", None, wide('{"c c":1,"c_c":2}'), ("c_c",), ("name_taken",)),
    ("the second of two counts", "json_wide", None, wide('{"c":"x","c":1}'), ("c",), ()),
    ("comments only", "influx_line", None, b"# a\n\n#b", (), ()),
    ("nan in a line", "influx_line", None, b"m,host=a f=nan,g=1", ("m.g",), ("not_finite",)),
    ("1e999 in a line", "influx_line", None, b"m,host=a f=1e999,g=1", ("m.g",), ("not_finite",)),
    ("400 digits in a line", "influx_line", None, b"m,host=a g=1,f=" + b"9" * 400 + b"i", ("m.g",), ("not_finite",)),
    ("escaped space in asset", "influx_line", None, b"m,host=a\\ b f=1", ("m.f",), ()),
    ("escaped space in field", "influx_line", None, b"m,host=a f\\ g=1", ("m.f_g",), ()),
    ("texts and booleans only", "influx_line", None, b'm,host=a f="x",g=t,h=False', (), ("boolean", "boolean", "text")),
    ("a text among numbers", "influx_line", None, b'm,host=a f="x",g=1', ("m.g",), ("text",)),
    ("a text and a comment", "influx_line_key", b"a", b'# n\nm f="x",g=1,h=true', ("m.g",), ("boolean", "text")),
    ("no metrics", "telegraf_json", None, b'{"metrics":[]}', (), ()),
    ("array among fields", "telegraf_json", None, metric('{"f":1,"g":[1]}').encode(), ("m.f",), ("nested",)),
    ("1e999 among fields", "telegraf_json", None, metric('{"f":1,"g":-1e999}').encode(), ("m.f",), ("not_finite",)),
    ("NaN in a batch", "telegraf_json", None, batch(metric('{"f":NaN}'), metric('{"g":1}')), ("m.g",), ("not_finite",)),
    (
        "texts only",
        "telegraf_json",
        None,
        metric('{"f":"on","g":true,"h":null}').encode(),
        (),
        ("boolean", "null", "text"),
    ),
    ("no field", "telegraf_json", None, metric("{}").encode(), (), ()),
    ("measurement with a space", "telegraf_json", None, metric(name='"m m"').encode(), ("m_m.f",), ()),
    ("text by key", "telegraf_json_key", b"a", metric('{"f":1,"g":"x"}').encode(), ("m.f",), ("text",)),
)
