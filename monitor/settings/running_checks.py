"""Combinations of the settings in [running] that are refused; checks.py adds them to its own."""

from collections.abc import Iterator

from monitor.core.decode.select import IGNORE, Kinds
from monitor.settings.sections import Sections


def running_problems(settings: Sections) -> Iterator[tuple[str, ...]]:
    """Yield the consequence of each refused combination, and its keys."""
    running = settings.running
    try:
        condition = running.condition()
    except ValueError as unfit:
        yield f"the condition cannot be read, {unfit}", "running.when"
    else:
        for name in () if condition is None else condition.channels:
            yield from unread(settings, name, "running.when")
    if running.stop_delay_s and not running.when:
        yield "without a condition no machine stops", "running.stop_delay_s", "running.when"

    try:
        running.calendar()
    except ValueError as unfit:
        keys = ("running.timezone",) if "zone" in str(unfit) else ("running.expected",)
        yield f"the calendar cannot be read: {unfit}", *keys


def unread(settings: Sections, name: str, key: str) -> Iterator[tuple[str, ...]]:
    """Yield the problem of a channel in the condition of `key` that no message would give."""
    consequence = f"the condition needs channel {name}, which is left out, so it would never be known"
    if Kinds(tuple((glob, each.kind) for glob, each in settings.channels.items())).of(name) == IGNORE:
        yield consequence, key, "channels"
    if not settings.select.build().channels.want(name):
        yield consequence, key, "select.channels", "select.channels_exclude"
