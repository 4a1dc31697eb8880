"""The reasons of dead letters that docs/troubleshooting.md quotes are what the decoder says."""

import re
from pathlib import Path
from typing import Any

from tests.core.decode.mapped.test_decode_map import T, mapped

PAGE = Path(__file__).parents[4] / "docs/troubleshooting.md"
HEADING = "## JSON messages that become dead letters"
BERLIN = {"timestamp_unit": "iso", "timezone": "Europe/Berlin"}


def table(timestamp: Any = T, **more: Any) -> dict[str, Any]:
    return {"asset": "P1", "timestamp": timestamp, "values": {"c": 1}} | more


CASES: list[tuple[dict[str, Any], Any]] = [
    ({}, [{"asset": "P1"}]),
    ({}, table(values=5)),
    ({}, table(asset=None)),
    ({"asset": "key:9"}, table()),
    ({}, table(None)),
    ({}, table("2026-03-02T06:00:00Z")),
    ({"timestamp_unit": "s"}, table()),
    ({"each": "r[]", "values": ""}, {"r": [{"asset": "P1", "channel": "c", "value": 1, "timestamp": True}]}),
    ({"timestamp_unit": "iso"}, table("2026-03-02T06:00:00")),
    (BERLIN, table("2026-03-29T02:30:00")),
    (BERLIN, table("2025-10-26T02:30:00")),
]


def test_the_page_quotes_the_decoder() -> None:
    """Each quoted reason is given by a message of its kind, in the order of the page, and none is left out."""
    section = re.split(r"^## ", PAGE.read_text().partition(f"{HEADING}\n")[2], flags=re.MULTILINE)[0]
    quoted = [
        line
        for block in re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    said = []
    for form, body in CASES:
        (rejected,) = mapped(body, **form).rejected
        said.append(f"{rejected.field}: {rejected.reason}" if rejected.field else rejected.reason)
    assert quoted == said
