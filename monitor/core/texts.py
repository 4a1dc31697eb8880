"""States that are texts: the value of a channel is the place of a text among its texts, and people see the text."""

from collections.abc import Sequence

_NEAR = 0.01  # of a place


def text_at(value: float | None, texts: Sequence[str]) -> str:
    """Return the text at a place; empty if there is none."""
    if value is None or not -_NEAR < value < len(texts) - 1 + _NEAR or abs(value - round(value)) > _NEAR:
        return ""
    return texts[round(value)]


def nearest_text(value: float, texts: Sequence[str]) -> str:
    """Return the text that is nearest to a value; empty without texts or for a value that is no number."""
    if not texts or value != value:  # noqa: PLR0124 - NaN
        return ""
    return texts[round(min(max(value, 0.0), len(texts) - 1.0))]
