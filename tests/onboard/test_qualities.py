"""Which field is the quality, which codes of it are good, and how arrays that are not read are refused."""

import json
from typing import Any

import pytest

from monitor.core.decode.decode import decode
from monitor.core.records import Message, Partition
from monitor.onboard.format.recognise import DetectedFormat, UnknownFormat, recognise

START = 1_764_500_000_000
NOW = START + 10**9
STEPS = 60


def run(bodies: list[Any]) -> list[Message]:
    """Return the messages of a topic."""
    return [
        Message(Partition("plant", 0), number, None, json.dumps(body).encode(), NOW, ())
        for number, body in enumerate(bodies)
    ]


def readings(codes: list[Any], name: str = "quality") -> list[Any]:
    """Return messages of one reading each, with codes of quality that repeat."""
    return [
        {"machine": f"PU-{number % 2}", "tag": tag, "value": number + 0.5, "ts": START + 1000 * number, name: code}
        for number, code in enumerate(codes * (STEPS // len(codes)))
        for tag in ("flow", "temp")
    ]


def tables(**more: Any) -> list[Any]:
    """Return messages with a table each; of a list in `more`, each has the next member."""
    return [
        {"machine": f"PU-{number % 2}", "ts": START + 1000 * number, "flow": number + 0.5, "temp": 60 - number / 8}
        | {name: codes[number % len(codes)] for name, codes in more.items()}
        for number in range(STEPS)
    ]


def read(bodies: list[Any]) -> tuple[DetectedFormat, float, set[str]]:
    """Return the format, the number of readings of it, and their channels."""
    found = recognise([run(bodies)], NOW)
    batch, rejected = decode(run(bodies), found.format, NOW)
    assert not rejected
    return found, len(batch.value), set(batch.channels)


@pytest.mark.parametrize("good", [3, 100, "3", 192])
def test_the_usual_code_of_a_senders_own_scale_is_good_and_0_bad(good: Any) -> None:
    """Where 3, 100 or 192 is the usual code, values with it are read, and those with 0 are not."""
    found, count, _ = read(readings([good] * 9 + [0 if isinstance(good, int) else "0"]))
    assert found.format.quality == "quality"
    assert count == 0.9 * 2 * STEPS


@pytest.mark.parametrize(
    ("codes", "counts"), [([3, 3, 3, 0, 0], "'3' 72 times, '0' 48 times"), ([24], "'24' 120 times")]
)
def test_a_quality_that_would_reject_most_values_is_not_taken(codes: list[Any], counts: str) -> None:
    """Where no code is clearly the good one, all values are read, and the format says so with counts."""
    found, count, _ = read(readings(codes))
    assert not found.format.quality
    assert count == 2 * STEPS
    assert f"'quality' is not applied, as most values would be bad: it is {counts}" in found.kind


@pytest.mark.parametrize("name", ["valid", "isValid", "success", "good", "ok"])
def test_a_flag_beside_a_value_or_a_table_is_the_quality(name: str) -> None:
    """Values with false are not read where true is usual."""
    flags = [True] * 9 + [False]
    for bodies in (readings(flags, name), tables(**{name: flags})):
        found, count, channels = read(bodies)
        assert found.format.quality == name
        assert count == 0.9 * 2 * STEPS
        assert channels == {"flow", "temp"}


@pytest.mark.parametrize(
    ("ending", "codes"),
    [("_quality", ["GOOD"] * 9 + ["BAD"]), ("_status", [192] * 9 + [0]), ("_q", [192]), ("Valid", [True, True, False])],
)
def test_the_quality_of_one_channel_does_not_rule_the_others(ending: str, codes: list[Any]) -> None:
    """Fields such as temp_quality beside temp are no channels and no quality of the message; the format names them."""
    found, count, channels = read(tables(**{f"flow{ending}": codes, f"temp{ending}": codes}))
    assert not found.format.quality
    assert count == 2 * STEPS
    assert channels == {"flow", "temp"}
    assert f"each of 'flow{ending}', 'temp{ending}' is the quality of one channel, which is not applied" in found.kind


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        ({"d": {"flow": [1.5], "temp": [2.5]}, "ts": "2025-11-30T10:53:20Z"}, "d.flow, d.temp"),
        ({"columns": ["time", "flow"], "rows": [["2025-11-30T10:53:20Z", 1.5]]}, "rows"),
        ({"measurements": [{"series": {"time": [0, 1000], "flow": [1.5, 2.5]}}]}, r"measurements\[\].series.time, "),
    ],
)
def test_arrays_of_plain_values_are_the_cause_of_a_refusal(body: Any, arrays: str) -> None:
    """A refusal names the arrays that hold the values, and the cure."""
    with pytest.raises(UnknownFormat, match=rf"in arrays of plain values, which are not read: {arrays}.*per reading"):
        recognise([run([body] * STEPS)], NOW)


def test_a_senml_pack_is_refused_as_what_it_is() -> None:
    """A refusal of SenML says that its records depend on the first one."""
    packs = [
        [
            {"bn": f"PU-{number % 3}/", "bt": START // 1000 + 5 * number, "bu": "1", "n": "flow", "v": number / 3},
            *({"n": name, "t": after, "v": number / 7 + after} for after in range(3) for name in ("temp", "vib")),
        ]
        for number in range(STEPS)
    ]
    with pytest.raises(UnknownFormat, match=r"SenML packs whose records depend on the first one \(bn, bt\)"):
        recognise([run(packs)], NOW)
