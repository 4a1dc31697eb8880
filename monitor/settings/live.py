"""Settings that may change while a worker runs, and why the others may not.

Live are the log's level, `reload.on_change`, the numbers of threshold and alerting that a stage reads with each window,
[assets], and of [channels] the settings that judge. They decide which scores are anomalous, so partitions adopt them
as they adopt a model (rule 5 in docs/delivery.md): at a checkpoint, with a snapshot that names them. A replay uses
those of its snapshot.

A detector may be added and removed while the worker runs, too. To change more than its live settings, restart.

Everything else was used when the process started: clients are open, state has its shape, the trainer has its recipe.
"""

from __future__ import annotations  # the annotations' module imports torch

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from monitor.settings.base import Section, literal, shown
from monitor.settings.detectors import joined, own_fields, split
from monitor.settings.rules import JUDGING, AssetSection, ChannelSection, make_rules
from monitor.settings.sections import fields
from monitor.settings.tree import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from monitor.core.pipeline import LiveSettings
    from monitor.core.rules import Rules

ADOPTED = (  # by each partition, at a checkpoint
    "threshold.percentile",
    "threshold.margin",
    "threshold.clip",
    "threshold.refresh",
    "alerting.alarms_per_day",
    "alerting.on_delay_s",
    "alerting.off_delay_s",
    "alerting.deadband",
    "alerting.critical_ratio",
    "alerting.update_s",
)
RULES = ("assets", "channels")  # adopted, too: tables of sections
LIVE = (*ADOPTED, "assets", *(f"channels.NAME.{name}" for name in JUDGING), "log.level", "reload.on_change")

RESHAPES = (  # a detector's state does not fit other values
    *("windows.step_s", "windows.length", "windows.aggregate"),
    *("threshold.kind", "threshold.memory"),
)
_CLIENTS = "the clients were opened with it"
_STATE = "the state in memory was built with it"
_ROUTES = "earlier readings were given by it"
_REASONS = {  # by setting or section
    "alerting.silence_s": "the pauses of assets were kept with it",
    "": "it is part of the ids of open alerts",
    "channels": "earlier messages were read with it",  # of `as`
    "source": _CLIENTS,
    "kafka": _CLIENTS,
    "schemas": "earlier messages were unpacked with it",
    "outputs": _CLIENTS,
    "recorder": _CLIENTS,
    "format": "earlier messages were decoded with it",
    "select": "earlier messages were decoded with it",
    "windows": _STATE,
    "threshold": _STATE,
    "sensors": _STATE,
    "running": _STATE,
    "model": "the trainer was started with it",
    "modes": "the trainer was started with it",
    "training": "the trainer was started with it",
    "store": "the store was opened with it",
    "delivery": "the loop was started with it",
    "health": "the server was opened with it",
    "log": "the log was opened with it",
}


def live_settings(settings: Settings) -> LiveSettings:
    """Return the values that partitions adopt, as JSON values: numbers by key, and the sections of `RULES`."""
    return {
        **{key: settings.value(key) for key in ADOPTED},
        "assets": {glob: _given(section, AssetSection.model_fields) for glob, section in settings.assets.items()},
        "channels": {glob: _given(section, JUDGING) for glob, section in settings.channels.items()},
    }


def _given(section: Section, names: Iterable[str]) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_unset=True, include=set(names))


def rules_of(live: LiveSettings) -> Rules:
    """Return the rules of live settings. Raises ValueError if a value is out of range."""
    assets, channels = (_table(live.get(name, {}), name) for name in RULES)
    return make_rules(
        {glob: AssetSection.model_validate(given) for glob, given in assets.items()},
        {glob: ChannelSection.model_validate(given) for glob, given in channels.items()},
    )


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {literal(value)}, expected a table of sections")  # noqa: TRY004 - as of all values
    return value


def with_live(settings: Settings, live: LiveSettings) -> Settings:
    """Return the settings with the numbers of `live`; a setting that `live` does not name stays.

    The sections of `RULES` stay, too: `rules_of` gives the rules, which are kept apart from what channels are read as.
    Raises ValueError if a value is out of range.
    """
    new = {}
    for part in ("threshold", "alerting"):
        section = getattr(settings, part)
        keys = [key for key in ADOPTED if key.startswith(f"{part}.") and key in live]
        given = {key.removeprefix(f"{part}."): live[key] for key in keys}
        new[part] = type(section).model_validate({**section.model_dump(), **given})
    return settings.model_copy(update=new)


def changes(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Return the keys of live settings that differ, and a sentence for each other setting that differs.

    A detector that is new or gone is live, and given as `detectors[pumps]`.
    """
    live, refused = [], []
    keys = {key: field for key, field in fields().items() if key != "detectors"} | _shared(old, new)
    for key, field in keys.items():
        before, after = old.value(key), new.value(key)
        if before == after and (key not in RULES or list(before) == list(after)):
            continue  # of tables of sections the order counts, too: the first section that matches
        if key == "channels":
            before, after = _read_as(old), _read_as(new)
            if before == after:
                live.append(key)
                continue
        if key == "recorder.token" and new.recorder.token_file == old.recorder.token_file != "":
            continue  # the recorder reads its token file again by itself

        name, own = split(key)
        routes = bool(name) and own in own_fields()
        if own in LIVE and not routes:
            live.append(key)
        else:
            reason = _ROUTES if routes else _REASONS.get(own) or _REASONS[own.rpartition(".")[0]]
            refused.append(
                f"{key}: {shown(before, field)} is in force, since {reason}; restart for {shown(after, field)}"
                + (", with which the detector begins without state" if own in RESHAPES else "")
            )

    before, after = ([each.name for each in settings.detectors] for settings in (old, new))
    live += [f"detectors[{name}]" for name in sorted({*before} ^ {*after})]
    if bool(before) != bool(after):
        now, then = " ".join(before or [old.name]), " ".join(after or [new.name])
        refused.append(
            f"detectors: {now} is in force, since {_STATE}; restart for {then}. Only a detector of the same name keeps "
            f"its state; without [[detectors]] there is the one named {new.name}"
        )
    return live, refused


def _read_as(settings: Settings) -> str:
    """Return what channels are read as and how long they hold, as text, without sections that change nothing of it."""
    read = settings.channel_kinds()
    kinds = [f"{glob} as {kind}" for glob, kind in read.deciding().globs]
    texts = [f"{glob} of {json.dumps(each, ensure_ascii=False)}" for glob, each in read.texts]
    holds = settings.channel_holds().globs
    given = [f"{glob} for {ms / 1000:g} s" for glob, ms in holds] if any(ms for _, ms in holds) else []
    return ", ".join((*kinds, *texts, *given))


def _shared(old: Settings, new: Settings) -> dict[str, FieldInfo]:
    """Return the settings that detectors of both settings set themselves, by key."""
    own = {each.name: each.overrides() for each in old.detectors}
    found: dict[str, FieldInfo] = {}
    for detector in new.detectors:
        if detector.name not in own:
            continue
        found |= {joined(detector.name, key): field for key, field in own_fields().items()}
        for part, keys in (*own[detector.name].items(), *detector.overrides().items()):
            found |= {joined(detector.name, f"{part}.{key}"): fields()[f"{part}.{key}"] for key in keys}
    return found
