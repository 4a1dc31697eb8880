"""Patterns that could take for ever are refused, and ordinary ones are not."""

import time

import pytest

from monitor.core.decode.backtracking import compiled
from monitor.core.decode.mapped.presets import PRESETS

ENDLESS = [r"^(?P<asset>(\w+\.?)+)-x$", r"(?P<asset>(a*)*b)", r"(?P<asset>(?:(a|b+)+)c)", r"(?P<asset>(?=(x+)+y).*)"]
QUICK = [
    r"^(?P<asset>[^.]+)\.(?P<channel>.+)$",
    r"(?P<asset>(?:\w++\.)+)x",
    r"(?P<asset>(?:\w+\.){1,3})x",
    r"(?P<asset>a+)b*",
]


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_repeat_within_a_repeat_is_refused(pattern: str) -> None:
    """The refusal names the cure, a possessive repeat."""
    with pytest.raises(ValueError, match=r"possessive.*\+\+"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", QUICK)
def test_other_patterns_are_taken(pattern: str) -> None:
    """A pattern that is taken needs no time worth mention for a long text that does not match."""
    begin = time.process_time()
    compiled(pattern).search("aab.bba." * 32 + "!")
    assert time.process_time() - begin < 1.0


def test_patterns_of_presets_are_taken() -> None:
    """No preset is refused."""
    patterns = [each["pattern"] for preset in PRESETS.values() for each in preset.get("patterns", ())]
    assert patterns
    assert all(compiled(pattern) for pattern in patterns)
