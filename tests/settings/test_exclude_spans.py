"""The file of times that training leaves out: read, or refused with line, field and what was expected."""

from pathlib import Path

import pytest

from monitor.core.fitting.exclude import Span
from monitor.settings.exclude_spans import read_spans


def test_times_are_numbers_or_texts(tmp_path: Path) -> None:
    """Start and end are ms UTC or ISO texts with a zone; other fields and empty lines are ignored."""
    path = tmp_path / "spans.jsonl"
    path.write_text(
        '{"asset": "pump-*", "start": 1000, "end": 2000, "why": "wash"}\n\n'
        '{"asset": "a", "start": "1970-01-01T01:00:01+01:00", "end": "1970-01-01T00:00:02.5Z"}\n'
    )
    assert read_spans(path) == (Span("pump-*", 1000, 2000), Span("a", 1000, 2500))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("asset,start", r"line 2: found 'asset,start' .*expected a JSON object"),
        ("[1]", r"line 2: found '\[1\]' .*expected a JSON object"),
        ('{"start": 1, "end": 2}', "line 2: asset: found none, expected a name or a glob"),
        ('{"asset": 7, "start": 1, "end": 2}', "line 2: asset: found 7"),
        ('{"asset": "a", "end": 2}', "line 2: start: found none, expected ms UTC"),
        ('{"asset": "a", "start": 1.5, "end": 2}', "line 2: start: found 1.5"),
        ('{"asset": "a", "start": true, "end": 2}', "line 2: start: found true"),
        ('{"asset": "a", "start": 1, "end": "2026-03-02T06:00:00"}', "line 2: end: found .*a time with its zone"),
        ('{"asset": "a", "start": 1, "end": "noon"}', 'line 2: end: found "noon"'),
        ('{"asset": "a", "start": 2, "end": 2}', "line 2: end: found 2, expected a time after start"),
    ],
)
def test_a_line_that_is_no_span_is_refused(tmp_path: Path, line: str, words: str) -> None:
    """The message names file, line and field, what was found and what was expected."""
    path = tmp_path / "spans.jsonl"
    path.write_text(f'{{"asset": "a", "start": 1, "end": 2}}\n{line}\n')
    with pytest.raises(ValueError, match=rf"spans\.jsonl: {words}"):
        read_spans(path)
