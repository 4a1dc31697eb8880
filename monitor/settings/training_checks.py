"""Settings of what training leaves out that are refused; checks.py adds them to its own."""

from collections.abc import Iterator

from monitor.core.running.condition import parse
from monitor.settings.running_checks import unread
from monitor.settings.sections import Sections

_CONDITION, _SPANS = "training.exclude", "training.exclude_spans"


def exclusion_problems(settings: Sections) -> Iterator[tuple[str, ...]]:
    """Yield the consequence of each refused value, and its key."""
    training = settings.training
    if training.exclude:
        try:
            condition = parse(training.exclude)
        except ValueError as unfit:
            yield f"the condition cannot be read, {unfit}", _CONDITION
        else:
            for name in condition.channels:
                yield from unread(settings, name, _CONDITION)
    try:
        training.spans()
    except (OSError, ValueError) as unfit:
        yield f"the times to leave out cannot be read: {unfit}", _SPANS
