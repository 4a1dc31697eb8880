"""Settings of [[detectors]] that are refused."""

from monitor.settings.checks.problem import Problems
from monitor.settings.detectors import MOST, joined
from monitor.settings.sections import Sections


def detector_problems(settings: Sections) -> Problems:
    """Yield the problems of [[detectors]]."""
    names = [each.name for each in settings.detectors]
    if len(names) > MOST:
        yield f"a snapshot would not hold them; at most {MOST} fit", "detectors"
    for place, name in enumerate(names):
        if not name:
            yield f"detectors[{place}] has no name; its alerts and models could not be told apart", "detectors"
        elif name in names[:place]:
            yield f"two detectors are named {name!r}; their states would be mixed up", "detectors"

    for each in settings.detectors:
        if each.groups and not settings.format.group:
            consequence = "readings have no group, so the detector would get none; say where the messages name it"
            yield consequence, joined(each.name, "groups"), "format.group"
        for key, left in (("assets", each.assets_exclude), ("channels", each.channels_exclude)):
            if names.count(each.name) == 1 and ("*" in left or set(getattr(each, key) or ("*",)) <= set(left)):
                yield "the detector would get no reading", joined(each.name, key), joined(each.name, f"{key}_exclude")
