"""Avro: every type of a record, what is refused, and schemas that are."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from monitor.connectors.schemas.avro import Avro
from monitor.core.decode.bodies import BodyError
from tests.connectors.schemas.producers import avro_bytes


def record(*fields: tuple[str, Any], name: str = "Pump") -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields]})


def logical(kind: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


MORNING = dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
FIXED = {"type": "fixed", "name": "Four", "size": 4}
TYPES: list[tuple[Any, Any, Any]] = [
    ("double", 1.5, 1.5),
    ("float", 0.25, 0.25),
    ("int", -7, -7),
    ("long", 2**60, 2**60),
    ("boolean", True, True),
    ("string", "Bad", "Bad"),
    ("null", None, None),
    (["null", "double"], None, None),
    (["null", "string", "double"], 2.5, 2.5),
    ({"type": "enum", "name": "State", "symbols": ["OFF", "ON"]}, "ON", "ON"),
    ({"type": "map", "values": ["double", "boolean"]}, {"a": 1.0, "b": False}, {"a": 1.0, "b": False}),
    ({"type": "array", "items": "float"}, [1.0, 2.0], [1.0, 2.0]),
    (json.loads(record(("x", "double"), name="Inner")), {"x": 1.0}, {"x": 1.0}),
    ("bytes", b"1234", "(4 bytes)"),
    (FIXED, b"1234", "(4 bytes)"),
    ({"type": "string", "avro.java.string": "String"}, "é", "é"),
    (logical("long", "timestamp-millis"), MORNING, "2024-01-02T03:04:05.678Z"),
    (logical("long", "timestamp-micros"), MORNING, "2024-01-02T03:04:05.678901Z"),
    (logical("long", "local-timestamp-millis"), MORNING.replace(tzinfo=None), "2024-01-02T03:04:05.678"),
    (logical("int", "date"), dt.date(2024, 1, 2), "2024-01-02"),
    (logical("int", "time-millis"), dt.time(3, 4, 5, 678000), "03:04:05.678000"),
    (logical("bytes", "decimal", precision=8, scale=3), Decimal("-12.345"), -12.345),
    ({**FIXED, **logical("fixed", "decimal", precision=8, scale=2)}, Decimal("9.75"), 9.75),
    (logical("long", "of-another-program"), 5, 5),
]


@pytest.mark.parametrize(("kind", "given", "expected"), TYPES, ids=lambda each: json.dumps(each, default=str)[:60])
def test_values_of_each_type(kind: Any, given: Any, expected: Any) -> None:
    """Unions are unwrapped, times are in ISO 8601, decimals are numbers, and bytes are shown by their size."""
    schema = record(("before", "double"), ("value", kind), ("after", "double"))
    body = avro_bytes(schema, {"before": 1.0, "value": given, "after": 2.0})
    assert json.loads(Avro(schema)(body)) == {"before": 1.0, "value": expected, "after": 2.0}


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("double", float("nan"), "NaN"),
        ("double", float("-inf"), "-Infinity"),
        (logical("long", "timestamp-millis"), 2**62, '"4611686018427387904 / 1000 s after 1970"'),
        (logical("int", "date"), 2**30, '"day 1073741824"'),
        (logical("int", "time-millis"), 2**30, '"1073741824 / 1000 s"'),
        (logical("bytes", "decimal", precision=999, scale=0), b"\x7f" * 300, "Infinity"),
        (logical("bytes", "decimal", precision=4, scale=-400), b"\x01", "Infinity"),
        (logical("bytes", "decimal", precision=4, scale=-2), b"\x03", "300"),
        ("string", b"\xff1", '"\\ufffd1"'),
    ],
    ids=str,
)
def test_one_bad_value_does_not_cost_the_record(kind: Any, given: Any, text: str) -> None:
    """A value that JSON or a calendar does not have is written as what it is, and the others are read."""
    plain: Any = kind["type"] if isinstance(kind, dict) else kind
    written = record(("value", "bytes" if plain == "string" else plain), ("after", ["null", "double"]))
    body = avro_bytes(written, {"value": given, "after": None})
    made = Avro(record(("value", kind), ("after", ["null", "double"])))(body)
    assert json.loads(made, parse_constant=str) == {"value": json.loads(text, parse_constant=str), "after": None}


def test_references_are_types_of_other_schemas() -> None:
    """A record may have types of schemas that its own refers to, also several times."""
    inner = record(("x", "double"), name="Inner")
    outer = record(("a", "Inner"), ("b", {"type": "array", "items": "Inner"}))
    body = avro_bytes(
        record(("a", json.loads(inner)), ("b", {"type": "array", "items": "Inner"})),
        {"a": {"x": 1.0}, "b": [{"x": 2.0}]},
    )
    assert json.loads(Avro(outer, [inner])(body)) == {"a": {"x": 1.0}, "b": [{"x": 2.0}]}


SCHEMA = record(("asset", "string"), ("flow", ["null", "double"]))
GOOD = avro_bytes(SCHEMA, {"asset": "pump-1", "flow": 1.5})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "after 0 of 0 bytes"),
        (GOOD[:-1], "bytes"),
        (GOOD + b"\x00", f"the record ends after {len(GOOD)} of {len(GOOD) + 1} bytes"),
        (b'{"asset": "pump-1"}', "bytes"),
        (b"\x02a\x08", "IndexError"),  # the fifth type of a union of two
    ],
)
def test_a_body_of_another_schema_is_refused(body: bytes, found: str) -> None:
    """A body that ends early, goes on behind the record, or has a type that does not exist is refused."""
    with pytest.raises(BodyError, match="found a body that is no Pump") as refused:
        Avro(SCHEMA)(body)
    assert refused.value.error == "SchemaMismatch"
    assert found in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (record(("next", ["null", "Pump"])), "Pump contains itself"),
        (json.dumps({"type": "array", "items": "null"}), "any number of them"),
        (
            json.dumps({"type": "array", "items": {"type": "record", "name": "None", "fields": []}}),
            "any number of them",
        ),
        (record(("a", "plant.Missing")), "'plant.Missing' is in none of the schemas"),
        ("{", "Expecting property name"),
        ("7", "no schema of Avro"),
        ('{"type": "record", "name": "x"}', "no schema of Avro: KeyError"),
        ("[" * 100_000, "no schema of Avro: RecursionError"),
    ],
    ids=lambda each: each[:40],
)
def test_schemas_that_are_refused(schema: str, reason: str) -> None:
    """A schema that is none, or with which a few bytes could end the process, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        Avro(schema)
