"""The grid of a recording: `monitor train` and `monitor backtest` take the step from the files unless it is set.

The first readings of each detector are measured as `monitor onboard` measures a sample. Settings that the step
contradicts (how long history is kept, how late a reading may be) follow it, unless they are set.
"""

from collections.abc import Callable, Sequence

from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format
from monitor.core.routing import Router
from monitor.core.windows.aggregates import is_plain
from monitor.observe.clock import wall_ms
from monitor.onboard.settings import grid
from monitor.onboard.survey import LENGTH, Readout, Survey, measured, read
from monitor.service.backends import make_sample
from monitor.settings.base import literal
from monitor.settings.checks.check import check
from monitor.settings.stages import WindowsSection
from monitor.settings.tree import Settings

_SAMPLE = 20_000  # messages, and at most
_SAMPLE_BYTES = 2**24  # of values: some 600 000 readings, which take four seconds
_HOLES = 2  # a period so many times the step leaves at least half of the cells empty
_COARSE = 30  # a step of so many periods delays each score by half a minute where readings come every second


def with_file_steps(detectors: Sequence[Settings], tell: Callable[[str], None]) -> list[Settings]:
    """Return the detectors' settings, each with the step of its own readings in the files.

    They stay as they are where the step is set, and without files. `tell` is called with each step that was taken, and
    with a warning if a step that is set does not fit the files. Raises ValueError if the files cannot be read or other
    settings contradict a step, OSError.
    """
    source = detectors[0].source
    if source.kind != "files" or "-" in source.paths:
        return list(detectors)

    runs, form = make_sample(detectors[0], _SAMPLE, lambda _: None, _SAMPLE_BYTES).runs, detectors[0].message_format()
    if not runs:
        return list(detectors)
    readout = read(runs, form, wall_ms())
    router = Router({each.name: each.route() for each in detectors})
    routed = [router.route(decode(run, form, wall_ms())[0]).readings for run in runs]

    made = []
    for place, each in enumerate(detectors):
        own = {asset for readings in routed for asset in readings[place].assets}.intersection(readout.table.assets)
        with_step, sentence = _with_step(each, readout.of(own), form)
        made.append(with_step)
        if sentence:
            tell(f"{each.name}: {sentence}" if len(detectors) > 1 else sentence)
    return made


def _with_step(settings: Settings, readout: Readout, form: Format) -> tuple[Settings, str]:
    """Return the settings with the step of the readings, and a sentence about it; empty if there is nothing to say."""
    try:
        figures = measured(readout, form, LENGTH)
    except ValueError:
        return settings, ""  # too little to measure, which the command explains when it finds no window
    if "step_s" in settings.windows.model_fields_set:
        return settings, _contradiction(settings.windows, figures)
    return _taken(settings, figures)


def _taken(settings: Settings, figures: Survey) -> tuple[Settings, str]:
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
    values = ", ".join(f"{key} = {literal(value)}" for key, value in found.items())
    sentence = f"{values}: from the period of the readings in the files; set the same where the model runs"
    return made, sentence if found else ""


def _contradiction(windows: WindowsSection, figures: Survey) -> str:
    """Return a warning if the step does not fit the period of the readings; otherwise an empty text.

    A step of many readings fits where it aggregates them.
    """
    step, period = windows.step_s, figures.step_ms / 1000
    if period > _HOLES * step:
        return (
            f"windows.step_s = {step:g}, but a reading comes every {period:g} s, so most steps are empty; "
            f"set windows.step_s = {period:g}, or leave it out"
        )
    if step > _COARSE * period and is_plain(windows.aggregate):
        return (
            f"windows.step_s = {step:g}, but a reading comes every {period:g} s, so a step holds "
            f"{step / period:.0f} readings of a channel; set windows.step_s = {period:g}, or leave it out"
        )
    return ""
