"""Conditions: what they say of values, and what is said of texts that are none."""

import numpy as np
import pytest

from monitor.core.decode.select import Kinds
from monitor.core.running.condition import parse

NAN = float("nan")


def judged(text: str, *values: float) -> bool | None:
    """Return what the condition says of one step, with values in the order of its channels; None = unknown."""
    truth = parse(text).judge(np.array([values], np.float32))
    assert not (truth.true & truth.false).any()
    return True if truth.true[0] else False if truth.false[0] else None


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("speed > 50", [50], False),
        ("speed >= 50", [50], True),
        ("speed < -1.5e1", [-16], True),
        ("speed <= .5", [0.5], True),
        ("running == 1", [1], True),
        ("running != 1", [1], False),
        ("speed == 0.1", [0.1], True),  # both as windows store them
        ("a > 1 or b > 1 and c > 1", [2, 0, 0], True),  # `and` binds tighter
        ("(a > 1 or b > 1) and c > 1", [2, 0, 0], False),
        ("not a > 1 and b > 1", [0, 2], True),  # `not` binds tightest
        ("not (a > 1 and b > 1)", [0, 2], True),
        ("a > 1 and a < 5", [7], False),
        ("a > 1 and b > 1", [NAN, 0], False),
        ("a > 1 and b > 1", [NAN, 2], None),
        ("a > 1 or b > 1", [NAN, 2], True),
        ("a > 1 or b > 1", [NAN, 0], None),
        ("not a > 1", [NAN], None),
    ],
)
def test_a_condition_is_judged_by_the_values_of_its_channels(
    text: str, values: list[float], expected: bool | None
) -> None:
    """Comparisons are joined by their precedence, and a channel that was never measured decides nothing."""
    assert judged(text, *values) is expected


def test_channels_are_named_as_the_stages_know_them() -> None:
    """A quoted name may hold any characters, and becomes the id that decoding makes of it."""
    condition = parse("""motor.speed > 1 and "Bearing Temp" < 80 or 'drive/rpm-2' > 3 and motor.speed > 0""")
    assert condition.channels == ("motor.speed", "Bearing_Temp", "drive/rpm-2")


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("", 1, "the end"),
        ("speed", 6, "the end"),
        ("speed >", 8, "the end"),
        ("speed = 3", 7, "'='"),
        ("50 > speed", 1, "'50'"),
        ("speed > 5x", 9, "'5x'"),
        ("speed > fast", 9, "'fast'"),
        ("speed > 1e99", 9, "'1e99'"),
        ("speed > 50 current > 1", 12, "'current'"),
        ("a > 1 and or b > 1", 11, "'or'"),
        ("(a > 1", 7, "the end"),
        ("a > 1)", 6, "')'"),
        ('"" > 1', 1, "'\"\"'"),
        ("drive-speed > 1", 6, "'-speed'"),
        ("not " * 30 + "a > 1", 85, "'not'"),
    ],
)
def test_a_text_that_is_no_condition_is_refused_with_the_place(text: str, place: int, found: str) -> None:
    """The refusal counts characters from 1 and says what is there and what was expected."""
    with pytest.raises(ValueError, match=r"expected") as refused:
        parse(text)
    assert str(refused.value).startswith(f"character {place}: found {found}, expected ")


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ('state == "RUN"', 1, True),
        ('state == "RUN"', 0, False),
        ("state != 'RUN'", 0, True),
        ('state != "RUN"', NAN, None),
        ('not (state == "STOP" or state == "RUN")', 2, True),
        ('"Line State" == "SET UP"', 2, True),
        ("state == 1", 1, True),
    ],
)
def test_a_channel_of_texts_is_compared_with_one(text: str, value: float, expected: bool | None) -> None:
    """A text in quotes stands for its place, of a channel that is named as it came or as its id."""
    kinds = Kinds((("*tate", "state"),), (("*tate", ("STOP", "RUN", "SET UP")),))
    truth = parse(text, kinds).judge(np.array([[value]], np.float32))
    assert [truth.true.item(), truth.false.item()] == [expected is True, expected is False]


def test_a_condition_has_a_longest_length() -> None:
    """A text of more than 1000 characters is refused before it is read."""
    with pytest.raises(ValueError, match="1001 characters, expected at most 1000"):
        parse("a" * 1001)
