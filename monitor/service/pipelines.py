"""Make the stages of a partition from the settings, in their first state."""

import hashlib
import json

from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.decode.select import RATE
from monitor.core.fitting.history import History
from monitor.core.model.new_assets import NewAssets
from monitor.core.pipeline import Pipeline
from monitor.core.records import Partition
from monitor.core.sensors.checks import Sensors
from monitor.core.sensors.clocks import Clocks
from monitor.core.threshold.threshold import Threshold
from monitor.core.windows.windows import Windows
from monitor.service.budget_outlook import make_budget
from monitor.settings.live import live_settings
from monitor.settings.tree import Settings

STATE_FORMAT = 6  # of snapshots; raise it when a stage saves other columns, so that older snapshots are refused


def make_pipeline(settings: Settings, partition: Partition) -> Pipeline:
    """Make the stages of one partition, in their first state."""
    windows, sensors = settings.windows, settings.sensors
    options = settings.alerting.options(windows)
    return Pipeline(
        settings.message_format(),
        Windows(windows.options(settings.channel_kinds())),
        Threshold(settings.threshold.options()),
        make_budget(settings),
        MachineAlerts(settings.name, partition, options),
        Sensors(sensors.options(windows)),
        Clocks(sensors.clock_options(windows)),
        SensorAlerts(settings.name, partition, options),
        NewAssets(length=windows.length, step_ms=windows.step_ms),
        live=live_settings(settings),
    )


def make_history(settings: Settings) -> History:
    """Make the sample of one partition's past, empty."""
    return History(settings.training.history_options(settings.windows))


def fingerprint(settings: Settings) -> str:
    """Return the fingerprint of the settings that decide the shape of a state, and of the state's format.

    A change of any other setting leaves snapshots usable.
    """
    windows, threshold = settings.windows, settings.threshold
    shape = [STATE_FORMAT, windows.step_ms, windows.length, threshold.memory, threshold.kind, _rates(settings)]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]


def rates_of(settings: Settings) -> str:
    """Return the sections of channels if one makes a rate, as text, for the file of a history; otherwise nothing."""
    return json.dumps(rates) if (rates := _rates(settings)) else ""


def _rates(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the globs and kinds of channels if one is a rate; others do not change a state."""
    kinds = settings.channel_kinds().globs
    return kinds if RATE in {kind for _, kind in kinds} else ()
