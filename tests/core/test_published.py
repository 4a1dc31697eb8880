"""Published records match their structs and JSON Schemas, whichever encoder wrote them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from monitor.core.decode.names import Names
from monitor.core.publish import alert_record, dead_letter, score_records, scores_of
from monitor.core.published import DeadLetterHeaders, decode_alert, decode_score, schemas
from monitor.core.records import Alert, ChannelShare, Message, Outputs, Partition, Record
from monitor.settings.schemas import FOLDER, texts
from tests.core.machines import rows
from tests.core.test_publish import ALERT, outputs
from tests.properties.hostile_stores import new_pipeline
from tests.rig import processed, readings

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas()

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)
numbers = st.floats()
times = st.integers(-(2**45), 2**45)
shares = st.builds(
    ChannelShare, names, numbers, st.none() | numbers, numbers, numbers, numbers, steps_ago=st.integers(0, 1023)
)
alerts = st.builds(
    Alert,
    id=names,
    asset=names,
    state=st.sampled_from(["firing", "resolved"]),
    start=times,
    end=st.none() | times,
    time=times,
    severity=st.sampled_from(["warning", "critical"]),
    alarm=numbers,
    threshold=numbers,
    ratio=numbers,
    peak=numbers,
    channels=st.lists(shares, max_size=3).map(tuple),
    model=names,
    detector=names,
    partition=st.builds(Partition, names, st.integers(0, 1000)),
    offset=st.integers(0, 2**53),
    position=st.just(0),
    sequence=st.integers(0, 100),
    cause=st.sampled_from(["machine", "sensor", "new_mode"]),
    fault=st.sampled_from(["", "frozen", "clock", "value"]),
    mode=st.just("") | names,
    linked=st.just("") | names,
)


_NOT_ALWAYS = {"asset_name", "linked", "mode"}  # only of a changed name, of linked alerts, with modes


def conforms(name: str, value: Any) -> None:
    """Raise unless a value fits a schema, all its fields are in the schema, and no field is missing."""
    schema = SCHEMAS[name]
    Draft202012Validator(schema).validate(value)
    _, _, kind = schema["$ref"].rpartition("/")
    properties = schema["$defs"][kind]["properties"].keys()
    assert properties - _NOT_ALWAYS <= value.keys() <= properties


def check(record: Record, name: str) -> None:
    """Raise unless a record decodes through its struct, encodes to the same bytes, and conforms to the schema."""
    decoded: msgspec.Struct = decode_alert(record.value) if name == "alert" else decode_score(record.value)
    assert msgspec.json.encode(decoded) == record.value
    conforms(name, json.loads(record.value or b""))


@given(alerts, st.text())
def test_every_alert_is_read_back(alert: Alert, text: str) -> None:
    """An alert with any numbers and names decodes through the struct and fits the schema."""
    check(alert_record("alerts", alert), "alert")
    shares = {share.channel: text for share in alert.channels}
    check(alert_record("alerts", alert, Names({alert.asset: text}, shares)), "alert")


@given(
    channels=st.lists(names, min_size=2, max_size=2, unique=True),
    asset=names,
    model=names,
    values=st.lists(st.floats(width=32), min_size=2, max_size=2),
)
def test_every_score_is_read_back(channels: list[str], asset: str, model: str, values: list[float]) -> None:
    """Records of the bulk encoder have the struct's fields in the struct's order and fit the schema."""
    made = outputs([0, 500, 1000])
    assert made.scores is not None
    made.scores.newest[:] = values
    for record in score_records(
        "scores", made, names=[asset, "fan"], channels=channels, model=model, detector=asset, every_steps=1, step_ms=500
    ):
        check(record, "score")


def test_dead_letters_fit_their_schema() -> None:
    """The headers of a dead letter match the schema, with all fields known or only stage and reason."""
    letter = dead_letter("dead", Message(Partition("readings", 3), 17, None, b"{", 0), "decode", "NotJson", "found '{'")
    conforms("dead-letter-headers", {name: text.decode() for name, text in letter.headers})
    headers = DeadLetterHeaders(stage="record", exception_message="unable to parse").encode()
    assert headers == (
        ("__connect.errors.stage", b"record"),
        ("__connect.errors.exception.message", b"unable to parse"),
    )
    Draft202012Validator(SCHEMAS["dead-letter-headers"]).validate({name: text.decode() for name, text in headers})


def test_a_run_publishes_what_the_schemas_say() -> None:
    """All scores and alerts of a pipeline, of machines and sensors, firing, adapted and resolved, fit the schemas."""
    made = new_pipeline()
    values = rows(300, seed=9)
    values[1, 200:250, 1] += 8.0
    values[0, 215:230, 0] += 1000.0  # outside the limits of its sensor
    result: Outputs = processed(made, readings(values.astype(float)), 2**50)
    scores = scores_of(made, result, "scores", 1)
    assert {(alert.cause, alert.state) for alert in result.alerts} == {
        *((cause, state) for cause in ("machine", "sensor") for state in ("firing", "resolved")),
        ("machine", "adapted"),  # the forecast follows the fault before it ends
    }
    assert len(scores) > 500
    for record in scores:
        check(record, "score")
    for alert in result.alerts:
        check(alert_record("alerts", alert), "alert")


@pytest.mark.parametrize(
    ("change", "culprit", "value"),
    [({"state": "open"}, "state", "open"), ({"time": "soon"}, "time", "str"), ({"channels": [1]}, "channels", "int")],
)
def test_what_is_no_alert_is_refused(change: dict[str, Any], culprit: str, value: str) -> None:
    """The decoder names the field of an invalid value, and the schema refuses that value, too."""
    body = json.loads(alert_record("alerts", ALERT).value or b"") | change
    with pytest.raises(ValueError, match="found") as refused:
        decode_alert(json.dumps(body).encode())
    assert culprit in str(refused.value)
    assert value in str(refused.value)
    with pytest.raises(ValidationError):
        conforms("alert", body)


def test_unknown_fields_are_ignored_and_old_records_read() -> None:
    """A reader accepts records of newer versions, and older records without cause and fault."""
    body = json.loads(alert_record("alerts", ALERT).value or b"")
    wanted = decode_alert(json.dumps(body).encode())
    assert decode_alert(json.dumps({**body, "site": "north"}).encode()) == wanted
    del body["cause"], body["fault"]
    assert decode_alert(json.dumps(body).encode()) == wanted


def test_the_schema_files_are_what_the_code_writes() -> None:
    """docs/schemas contains exactly the schemas of the structs."""
    written = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in (ROOT / FOLDER).iterdir()}
    assert written == texts()
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
