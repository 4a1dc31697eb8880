"""Settings that name channels, and conditions over channels, that are refused."""

from collections.abc import Callable, Iterator

from monitor.core.angles import COSINE, SINE, with_parts
from monitor.core.decode.select import ANGLE, IGNORE, RATE, STATE, Globs
from monitor.core.running.condition import Condition, parse
from monitor.core.windows.aggregates import base_of
from monitor.settings.checks.problem import Problems
from monitor.settings.detectors import joined
from monitor.settings.running import ALWAYS
from monitor.settings.sections import Sections

_OF_CALENDAR = {"time zone": "running.timezone", "found holiday": "running.holidays"}
_OF_VALUES = ("direction", "least", "low", "high", "span")


def channel_problems(settings: Sections) -> Problems:
    """Yield the problems of sections [channels.NAME]."""
    for name, section in settings.channels.items():
        if section.low is not None and section.high is not None and section.low >= section.high:
            limits = f"low = {section.low:g} is not below high = {section.high:g}"
            yield f"{name}: {limits}, so every reading would be a sensor fault", "channels"

        if section.texts and "kind" in section.model_fields_set and section.kind != STATE:
            yield f'{name}: a channel with texts is a state, and as = "{section.kind}" contradicts that', "channels"

        if section.read_as == STATE and section.span:
            yield f"{name}: span of a state; its values are names, and none is further off than another", "channels"

        given = [key for key in _OF_VALUES if key in section.model_fields_set]
        if section.kind == ANGLE and given:
            consequence = "an angle has no above and below, and is scored by its sine and cosine"
            yield f"{name}: {', '.join(given)} of an angle; {consequence}", "channels"


def mode_problems(settings: Sections) -> Problems:
    """Yield the problems of [modes]."""
    modes = settings.modes
    if modes.channel and modes.learned:
        yield "the channel gives the modes, and none would be learned", "modes.channel", "modes.learned"
    if modes.channel and settings.channel_kinds().of(modes.channel) in {IGNORE, RATE}:
        yield "a channel that is left out or a rate has no mode", "modes.channel", "channels"
    if modes.channel:
        for keys in _leaving_out(settings, modes.channel):
            yield "a channel that is left out has no mode", "modes.channel", *keys


def running_problems(settings: Sections) -> Problems:
    """Yield the problems of [running]."""
    running = settings.running
    kinds = settings.channel_kinds()
    yield from _of_condition(settings, lambda: running.condition(kinds), "running.when")
    if running.stop_delay_s and running.when == ALWAYS:
        yield "no machine ever stops", "running.stop_delay_s", "running.when"

    try:
        running.calendar()
    except ValueError as unfit:
        key = next((key for word, key in _OF_CALENDAR.items() if word in str(unfit)), "running.expected")
        yield f"the calendar cannot be read: {unfit}", key
    if running.holidays and isinstance(running.expected, str):
        yield "only a calendar has holidays", "running.holidays", "running.expected"


def exclusion_problems(settings: Sections) -> Problems:
    """Yield the problems of the history that training leaves out."""
    training = settings.training
    if training.exclude:
        kinds = settings.channel_kinds()
        yield from _of_condition(settings, lambda: parse(training.exclude, kinds), "training.exclude")
    try:
        training.spans()
    except (OSError, ValueError) as unfit:
        yield f"the times to leave out cannot be read: {unfit}", "training.exclude_spans"


def _of_condition(settings: Sections, read: Callable[[], Condition | None], key: str) -> Problems:
    """Yield the problems of the condition of `key`: it cannot be read, or no message would give one of its channels."""
    try:
        condition = read()
    except ValueError as unfit:
        yield f"the condition cannot be read, {unfit}", key
        return

    kinds, of_history = settings.channel_kinds(), key == "training.exclude"
    for channel in () if condition is None else condition.channels:
        name = base_of(channel, settings.windows.aggregate) if of_history else channel
        consequence = f"the condition needs channel {channel}, which is left out, so it would never be known"
        if kinds.of(name) == IGNORE:
            yield consequence, key, "channels"
        if kinds.of(name) == ANGLE and not name.endswith((SINE, COSINE)):
            yield f"channel {channel} is an angle, which is read as {channel}.sin and {channel}.cos", key, "channels"
        for keys in _leaving_out(settings, name, chosen=of_history):
            yield consequence, key, *keys


def _leaving_out(settings: Sections, name: str, *, chosen: bool = True) -> Iterator[tuple[str, ...]]:
    """Yield keys of settings that leave a channel out; `chosen` = also by the detector's choice of channels."""
    kinds = settings.channel_kinds()
    if not with_parts(settings.select.build().channels, kinds).want(name):
        yield "select.channels", "select.channels_exclude"
    for detector in settings.detectors if chosen else ():
        globs = with_parts(detector.route().channels, kinds)
        if not globs.want(name):
            key = "channels_exclude" if Globs(globs.include).want(name) else "channels"
            yield (joined(detector.name, key),)
