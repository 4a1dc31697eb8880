"""The check of all combinations of settings: one function per subject, and each problem names the consequence.

A combination is refused if something that was asked for could then never happen, or would happen unnoticed. An unusual
combination passes. Local files are looked at; no server is asked.
"""

from collections.abc import Iterator, Sequence

from monitor.settings.checks.channels import channel_problems, mode_problems, running_problems
from monitor.settings.checks.delivery import delivery_problems, health_problems, outputs_problems, store_problems
from monitor.settings.checks.detectors import detector_problems
from monitor.settings.checks.learning import model_problems, threshold_problems, training_problems, windows_problems
from monitor.settings.checks.problem import Problem
from monitor.settings.checks.schemas import schema_problems
from monitor.settings.checks.servers import encryption_problems, login_problems, options_problems, recorder_problems
from monitor.settings.checks.source import (
    files_problems,
    format_problems,
    select_problems,
    source_problems,
    tables_problems,
    topics_problems,
    unread_problems,
)
from monitor.settings.detectors import joined, merged
from monitor.settings.sections import Sections

_SUBJECTS = (
    *(source_problems, files_problems, unread_problems, tables_problems, topics_problems),
    *(outputs_problems, delivery_problems, health_problems, store_problems),
    *(format_problems, schema_problems, select_problems, channel_problems, detector_problems),
    *(options_problems, login_problems, encryption_problems, recorder_problems),
)
_OF_DETECTOR = (
    windows_problems,
    model_problems,
    training_problems,
    threshold_problems,
    mode_problems,
    running_problems,
)


def check(settings: Sections) -> Iterator[Problem]:
    """Return every combination that is refused."""
    for subject in _SUBJECTS:
        for consequence, *keys in subject(settings):
            yield Problem(tuple(keys), consequence)

    told: set[Problem] = set()  # each once, although many detectors may inherit it
    for each in [merged(settings, detector) for detector in settings.detectors] or [settings]:
        found = [
            Problem(_of_detector(each, keys), consequence)
            for subject in _OF_DETECTOR
            for consequence, *keys in subject(each)
        ]
        yield from (one for one in found if one not in told)
        told |= set(found)


def _of_detector(settings: Sections, keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys with the detector's name at the settings that it sets itself."""
    own = {f"{part}.{key}" for each in settings.detectors for part, keys in each.overrides().items() for key in keys}
    return tuple(joined(settings.name, key) if key in own else key for key in keys)
