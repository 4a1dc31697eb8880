"""Combinations of the settings in [modes] that are refused; checks.py adds them to its own."""

from collections.abc import Iterator

from monitor.core.decode.select import IGNORE, RATE, Kinds
from monitor.settings.sections import Sections


def mode_problems(settings: Sections) -> Iterator[tuple[str, ...]]:
    """Yield the consequence of each refused combination, and its keys."""
    modes = settings.modes
    if modes.channel and modes.learned:
        yield "the channel gives the modes, and none would be learned", "modes.channel", "modes.learned"
    kind = Kinds(tuple((glob, each.kind) for glob, each in settings.channels.items())).of(modes.channel)
    if modes.channel and kind in {IGNORE, RATE}:
        yield "a channel that is left out or a rate has no mode", "modes.channel", "channels"
