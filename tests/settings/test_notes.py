"""Settings that do less than they seem to: what is said about them."""

from typing import Any

import pytest

from monitor.settings.load import load
from monitor.settings.notes import notes

MEMORY = {"source.kind": "memory", "outputs.kind": "memory"}
STATUS = {"training.exclude": "status == 3 or flow < 1"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, []),
        ({"kafka.bootstrap_servers": "broker:9092", "schemas.registry_url": "http://registry"}, []),
        (
            {**MEMORY, "kafka.bootstrap_servers": "broker:9092"},
            [["kafka.bootstrap_servers:", 'source.kind = "memory" and outputs.kind = "memory"', "only kafka"]],
        ),
        ({"source.decimal": "comma"}, [["source.decimal:", 'source.kind = "kafka"', "only files"]]),
        ({"outputs.directory": "out"}, [["outputs.directory:", 'outputs.kind = "kafka"']]),
        (
            {"source.kind": "files", "source.paths": ["-"], "source.topics": ["a"], "schemas.timeout_s": 1},
            [["source.topics, schemas.timeout_s:", 'source.kind = "files"', "only kafka and memory"]],
        ),
        (
            {**STATUS, "channels": {"status": {"as": "state"}, "flow": {"hold_s": 60}}},
            [["channel status", 'hold_s in [channels."status"]']],
        ),
        ({**STATUS, "channels": {"*": {"hold_s": 60}}}, []),
        (
            {"detectors": [{"name": "a", "training": {"exclude": "x > 1"}}, {"name": "b"}]},
            [['training.exclude = "x > 1"', "channel x"]],
        ),
    ],
)
def test_a_note_names_the_settings_and_the_reason(given: dict[str, Any], named: list[list[str]]) -> None:
    """Settings that no kind in use reads are named, and channels of training.exclude that hold no value."""
    found = list(notes(load(None, {}, given)))
    assert len(found) == len(named)
    for note, words in zip(found, named, strict=True):
        assert [word for word in words if word not in note] == []


def test_no_note_shows_a_secret() -> None:
    """Of a setting that is not read, only the key is shown."""
    secret = {**MEMORY, "kafka.sasl_password": "hunter2"}
    (note,) = notes(load(None, {}, secret))
    assert "hunter2" not in note
