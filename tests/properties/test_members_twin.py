"""Members of messages against a naive twin that reads each member alone."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.decode.decode import Format, decode_all
from monitor.core.decode.names import Names
from monitor.core.decode.parsers.members import number_of
from monitor.core.decode.select import Kinds
from tests.core.decode.decoding import message, named
from tests.core.decode.malformed import NANOS, NOW

NAMES = st.text("ab .\N{DEGREE SIGN}_", max_size=3)
VALUES = st.one_of(
    st.floats(),
    st.integers(-(10**400), 10**400),
    st.none(),
    st.booleans(),
    st.sampled_from(["", "Bad", "1,5", "1.5", "nan", "NaN}", '":NaN,"', "-Infinity", "\\", "\N{DEGREE SIGN}"]),
    st.lists(st.floats(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2),
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=6)
OPTIONS = st.fixed_dictionaries(
    {"numbers": st.sampled_from(["numbers", "texts"]), "kinds": st.just(Kinds((("a*", "state"),))) | st.just(Kinds())}
)


def alone(name: str, value: object, form: Format) -> float | None:
    """The value of one member, or None."""
    if isinstance(value, bool):
        return float(value) if form.kinds and name.startswith("a") else None
    if isinstance(value, str):
        return number_of(value) if form.numbers == "texts" else None
    if not isinstance(value, int | float) or abs(value) > 1.7976931348623157e308:
        return None
    return None if math.isnan(value) else float(value)


def expected(tables: Sequence[Mapping[str, object]], form: Format) -> list[tuple[int, str, float]]:
    """The readings of tables, in the order of messages. The first name that becomes an id keeps it."""
    owners: dict[str, str] = {}
    rows = []
    for at, table in enumerate(tables):
        read = {name: alone(name, value, form) for name, value in table.items() if name}
        for name, value in read.items():
            new = "".join(sign if sign in "ab._" else "_" for sign in name)
            if value is None:
                continue
            if name != new and owners.setdefault(new, name) != name:
                continue
            if name != new and read.get(new) is not None:
                owners[new] = new
                continue
            if name == new and new in owners:
                owners[new] = new
            rows.append((at, new, value))
    return rows


def decoded(form: Format, values: Sequence[bytes]) -> list[tuple[int, str, float]]:
    """What the decoder reads, of messages of which none is rejected."""
    outcome = decode_all([message(value, at) for at, value in enumerate(values)], form, NOW, Names())
    assert outcome.rejected == []
    assert outcome.empty == len(values) - len(set(outcome.readings.offset.tolist()))
    return [(offset, channel, value) for offset, _, channel, _, value in named(outcome.readings)]


@given(st.lists(TABLES, max_size=5), OPTIONS)
def test_wide_members_are_read_as_if_alone(tables: list[dict[str, object]], options: dict[str, object]) -> None:
    """Whatever stands in a table, each of its other members is read as in a table of its own."""
    form = dataclasses.replace(Format("json_wide"), **options)  # type: ignore[arg-type]
    values = [json.dumps({"asset": "m", "timestamp": NOW, "values": table}).encode() for table in tables]
    assert decoded(form, values) == expected(tables, form)


@given(st.lists(TABLES, max_size=5), OPTIONS)
def test_long_values_are_read_as_if_alone(tables: list[dict[str, object]], options: dict[str, object]) -> None:
    """A value that cannot be read costs its own message alone."""
    form = dataclasses.replace(Format("json_long"), **options)  # type: ignore[arg-type]
    single = [{name: value} for table in tables for name, value in table.items()]
    bodies = [
        {"asset": "m", "channel": name, "timestamp": NOW, "value": value}
        for table in single
        for name, value in table.items()
    ]
    assert decoded(form, [json.dumps(body).encode() for body in bodies]) == expected(single, form)


@given(st.lists(st.dictionaries(st.text("ab_", min_size=1, max_size=2), VALUES, max_size=6), max_size=5), OPTIONS)
def test_telegraf_fields_are_read_as_if_alone(tables: list[dict[str, object]], options: dict[str, object]) -> None:
    """Whatever stands among the fields of one metric, all other fields of the batch are read."""
    form = dataclasses.replace(Format("telegraf_json", asset_from="tag", timestamp_unit="ms"), **options)  # type: ignore[arg-type]
    metrics = [{"name": "a", "tags": {"host": "m"}, "fields": table, "timestamp": NOW} for table in tables]
    named_tables = [{f"a.{name}": value for name, value in table.items()} for table in tables]
    rows = [(channel, value) for _, channel, value in expected(named_tables, form)]
    assert [row[1:] for row in decoded(form, [json.dumps({"metrics": metrics}).encode()])] == rows


LINE_VALUES = st.one_of(
    st.floats().map(repr),
    st.integers().map(lambda number: f"{number}i"),
    st.sampled_from(["t", "F", "true", "FALSE", "1e999", "9" * 400, '""', '"1,5"', '"a b=c,d"', '"\\""', '"Bad"']),
)


@given(
    st.lists(st.dictionaries(st.text("ab_", min_size=1, max_size=2), LINE_VALUES, min_size=1, max_size=6), max_size=5),
    OPTIONS,
    st.booleans(),
)
def test_line_fields_are_read_as_if_alone(
    tables: list[dict[str, str]], options: dict[str, object], comment: bool
) -> None:
    """Whatever stands among the fields of a line, each of its other fields is read as in a line of its own."""
    form = dataclasses.replace(Format("influx_line", asset_from="tag", timestamp_unit="ns"), **options)  # type: ignore[arg-type]
    start = "# note\n" if comment else ""
    values = []
    rows: list[tuple[int, str, float]] = []
    for at, table in enumerate(tables):
        fields = ",".join(f"{name}={value}" for name, value in table.items())
        values.append(f"{start}a,host=m {fields} {NANOS}".encode())
        for name, value in table.items():
            alone_ = decoded(form, [f"a,host=m {name}={value} {NANOS}".encode()])
            rows += [(at, channel, found) for _, channel, found in alone_]
    assert decoded(form, values) == rows
