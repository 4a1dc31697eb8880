"""The grid of a recording: `monitor train` and `monitor backtest` take the step from the files unless it is set.

The first readings are measured as `monitor onboard` measures a sample. Settings that the step contradicts (how long
history is kept, how late a reading may be) follow it, unless they are set.
"""

from collections.abc import Callable

from monitor.observe.clock import wall_ms
from monitor.onboard.settings import grid
from monitor.onboard.survey import Survey, survey
from monitor.service.backends import make_sample
from monitor.settings.base import literal
from monitor.settings.checks.check import check
from monitor.settings.tree import Settings

_SAMPLE = 20_000  # messages
_HOLES = 2  # a period so many times the step leaves at least half of the cells empty
_COARSE = 30  # a step of so many periods delays each score by half a minute where readings come every second


def with_file_step(settings: Settings, tell: Callable[[str], None]) -> Settings:
    """Return the settings with the step of the files, or as they are if the step is set or there are no files.

    `tell` is called with the step that was taken, or with a warning if the step that is set does not fit the files.
    Raises ValueError if the files cannot be read or other settings contradict the step, OSError.
    """
    source = settings.source
    if source.kind != "files" or "-" in source.paths:
        return settings

    sample = make_sample(settings, _SAMPLE, lambda _: None)
    try:
        figures = survey(sample.runs, settings.message_format(), wall_ms())
    except ValueError:
        return settings  # too little to measure, which the command explains when it finds no window
    if "step_s" in settings.windows.model_fields_set:
        if warning := _contradiction(settings.windows.step_s, figures):
            tell(warning)
        return settings
    return _taken(settings, figures, tell)


def _taken(settings: Settings, figures: Survey, tell: Callable[[str], None]) -> Settings:
    found = {}
    for key, (value, *_) in grid(settings, figures).items():
        part, _, leaf = key.partition(".")
        if leaf not in settings.value(part).model_fields_set and value != settings.value(key):
            found[key] = value

    made = settings
    for key, value in found.items():
        part, _, leaf = key.partition(".")
        made = made.model_copy(update={part: made.value(part).model_copy(update={leaf: value})})
    if problems := list(check(made)):
        keys, consequence = problems[0]
        raise ValueError(
            f"the readings come every {figures.step_ms / 1000:g} s, but {', '.join(keys)}: {consequence}; "
            "set windows.step_s, or these"
        )
    if found:
        values = ", ".join(f"{key} = {literal(value)}" for key, value in found.items())
        tell(f"{values}: from the period of the readings in the files; set the same where the model runs")
    return made


def _contradiction(step: float, figures: Survey) -> str:
    """Return a warning if the step does not fit the period of the readings; otherwise an empty text."""
    period = figures.step_ms / 1000
    if period > _HOLES * step:
        return (
            f"windows.step_s = {step:g}, but a reading comes every {period:g} s, so most steps are empty; "
            f"set windows.step_s = {period:g}, or leave it out"
        )
    if step > _COARSE * period:
        return (
            f"windows.step_s = {step:g}, but a reading comes every {period:g} s, so a step holds "
            f"{step / period:.0f} readings of a channel; set windows.step_s = {period:g}, or leave it out"
        )
    return ""
