"""The examples of docs/field-map.md are read as the page says."""

import re
import tomllib
from pathlib import Path

from monitor.core.decode.decode import decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.names import Names
from monitor.core.records import Message, Partition
from monitor.settings.tree import Settings

NOW = 1_900_000_000_000
PAGE = Path(__file__).parents[2] / "docs/field-map.md"
EXAMPLE = re.compile(r"```json\n(.*?)```\n\n```toml\n(.*?)```", re.DOTALL)
READ = [  # of each example: asset, channel and value, and how many values are bad
    ([("R1", "flow", 12.5), ("R1", "state", 1.0), ("R1", "recipe", 1.0)], 0),
    ([("P1", "flow", 12.5), ("P1", "motor.temp", 61.0)], 0),
    ([("P1", "flow", 12.5)], 1),
    ([("P1", "Flow", 12.5)], 1),
    ([("P1", "flow", 12.5), ("P2", "flow", 11.0)], 0),
]


def test_the_examples_of_the_page_are_read() -> None:
    """Each message of the page, read with the settings below it, gives the readings that the text names."""
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == len(READ)
    for (body, settings), (expected, bad) in zip(examples, READ, strict=True):
        form = Settings.model_validate(tomllib.loads(settings)).message_format()
        decoded = decode_all([Message(Partition("t", 0), 0, None, body.encode(), NOW)], form, NOW, Names())
        batch = decoded.readings
        names = [
            (batch.assets[asset], batch.channels[channel])
            for asset, channel in zip(batch.asset, batch.channel, strict=True)
        ]
        assert [(*name, value) for name, value in zip(names, batch.value.tolist(), strict=True)] == expected
        assert decoded.skipped[Skip.QUALITY] == bad
        assert decoded.rejected == []
