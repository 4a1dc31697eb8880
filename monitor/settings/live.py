"""Settings that may change while a worker runs, and why the others may not.

Live are the log's level, `reload.on_change`, and the numbers of threshold and alerting that a stage reads with each
window. The numbers decide which scores are anomalous, so partitions adopt them as they adopt a model (rule 5 in
docs/delivery.md): at a checkpoint, with a snapshot that names them. A replay uses the numbers of its snapshot.

Everything else was used when the process started: clients are open, state has its shape, the trainer has its recipe.
"""

from __future__ import annotations  # the annotations' module imports torch

from typing import TYPE_CHECKING

from monitor.settings.base import shown
from monitor.settings.sections import fields
from monitor.settings.tree import Settings

if TYPE_CHECKING:
    from monitor.core.pipeline import LiveSettings

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
LIVE = (*ADOPTED, "log.level", "reload.on_change")

_CLIENTS = "the clients were opened with it"
_STATE = "the state in memory was built with it"
_REASONS = {  # by setting or section
    "alerting.silence_s": "the pauses of assets were kept with it",
    "": "it is part of the ids of open alerts",
    "channels": "earlier messages were read with it",
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
    "training": "the trainer was started with it",
    "store": "the store was opened with it",
    "delivery": "the loop was started with it",
    "health": "the server was opened with it",
    "log": "the log was opened with it",
}


def live_settings(settings: Settings) -> LiveSettings:
    """Return the values that partitions adopt."""
    return {key: settings.value(key) for key in ADOPTED}


def with_live(settings: Settings, live: LiveSettings) -> Settings:
    """Return the settings with the values of `live`; a setting that `live` does not name stays.

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
    """Return the keys of live settings that differ, and a sentence for each other setting that differs."""
    live, refused = [], []
    for key, field in fields().items():
        before, after = old.value(key), new.value(key)
        if before == after:
            continue
        if key == "recorder.token" and new.recorder.token_file == old.recorder.token_file != "":
            continue  # the recorder reads its token file again by itself

        if key in LIVE:
            live.append(key)
        else:
            reason = _REASONS.get(key) or _REASONS[key.rpartition(".")[0]]
            refused.append(
                f"{key}: {shown(before, field)} is in force, since {reason}; restart for {shown(after, field)}"
            )
    return live, refused
