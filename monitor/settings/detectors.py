"""One detector of several: which assets and channels it gets, and what differs from the sections of the file.

The sections named in PER_DETECTOR are the defaults of all detectors. A detector overrides single settings of them. The
result has the form of the settings of a monitor with one detector, so all that makes parts of a detector takes those.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from monitor.core.decode.select import Globs
from monitor.core.routing import Route
from monitor.settings.base import Glob, Section, globs, setting

Override = dict[str, Any]
MOST = 64  # detectors: the header of a snapshot names each of their arrays
NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"  # it is a folder of the store, so not ".."
NAME_FORM = "1 to 64 of the characters A-Z a-z 0-9 . _ -, a dot not first"

AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _override(part: str) -> Any:
    return setting({}, f"What differs from [{part}].", form=f"a section, [detectors.{part}]")


class DetectorSection(Section):
    """A detector of several. It takes the sections of the file, except for the settings of its own.

    For instance its `windows.step_s` is set in `[detectors.windows]`, below its `[[detectors]]`. An asset may be wanted
    by several detectors: a second one with a longer step finds slower faults of the same machines.
    """

    name: str = setting(
        "",
        "Name of the detector, in its alerts and their ids, models, histories, metrics and the database.",
        pattern=NAME,
        form=NAME_FORM,
    )
    assets: tuple[Glob, ...] = globs("Assets that the detector watches. Without any, all that `groups` allows.")
    assets_exclude: tuple[Glob, ...] = globs("Assets that the detector does not watch.")
    groups: tuple[Glob, ...] = globs("Groups of assets, as the messages name them, that the detector watches.")
    channels: tuple[Glob, ...] = globs("Channels that the detector reads.")
    channels_exclude: tuple[Glob, ...] = globs("Channels that the detector leaves out.")

    # Sections that it may override, one line each; PER_DETECTOR follows from them.
    windows: Override = _override("windows")
    model: Override = _override("model")
    modes: Override = _override("modes")
    training: Override = _override("training")
    threshold: Override = _override("threshold")
    alerting: Override = _override("alerting")
    sensors: Override = _override("sensors")
    running: Override = _override("running")

    def route(self) -> Route:
        """Return which readings the detector gets."""
        return Route(
            Globs(self.assets, self.assets_exclude).as_ids(),
            Globs(self.groups).as_ids(),
            Globs(self.channels, self.channels_exclude).as_ids(),
        )

    def overrides(self) -> dict[str, Mapping[str, Any]]:
        """Return what the detector sets itself, by section; only sections in which it sets something."""
        return {part: own for part in PER_DETECTOR if (own := getattr(self, part))}


PER_DETECTOR = tuple(name for name, field in DetectorSection.model_fields.items() if field.annotation == Override)


def merged(settings: AnySettings, detector: DetectorSection) -> AnySettings:
    """Return the settings of one detector. Raises pydantic's ValidationError if it sets a value that does not fit."""
    new: dict[str, Any] = {"name": detector.name, "detectors": (detector,)}
    for part, own in detector.overrides().items():
        new[part] = overridden(getattr(settings, part), own)
    return settings.model_copy(update=new)


def overridden(section: Section, own: Mapping[str, Any]) -> Section:
    """Return the section with the values of `own`; what neither sets stays unset. Raises pydantic's ValidationError."""
    return type(section).model_validate({**section.model_dump(by_alias=True, exclude_unset=True), **own})


def split(key: str) -> tuple[str, str]:
    """Return name and key of "detectors[pumps].windows.step_s"; the name is empty for any other key."""
    head, found, own = key.partition("].")
    return (head.removeprefix("detectors["), own) if found and key.startswith("detectors[") else ("", key)


def joined(name: str, key: str) -> str:
    """Return the key of a detector's setting."""
    return f"detectors[{name}].{key}"


def own_fields() -> dict[str, FieldInfo]:
    """Return the settings that only a detector has."""
    return {name: field for name, field in DetectorSection.model_fields.items() if name not in PER_DETECTOR}
