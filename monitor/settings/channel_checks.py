"""Settings of one channel that contradict one another. checks.py makes refusals of them."""

from collections.abc import Iterator, Mapping

from monitor.core.decode.select import ANGLE
from monitor.settings.rules import ChannelSection

_OF_VALUES = ("direction", "least", "low", "high")


def channel_problems(sections: Mapping[str, ChannelSection]) -> Iterator[str]:
    """Yield a sentence for each section [channels.NAME] that cannot work."""
    for name, section in sections.items():
        if section.low is not None and section.high is not None and section.low >= section.high:
            limits = f"low = {section.low:g} is not below high = {section.high:g}"
            yield f"{name}: {limits}, so every reading would be a sensor fault"

        given = [key for key in _OF_VALUES if key in section.model_fields_set]
        if section.kind == ANGLE and given:
            consequence = "an angle has no above and below, and is scored by its sine and cosine"
            yield f"{name}: {', '.join(given)} of an angle; {consequence}"
