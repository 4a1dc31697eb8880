"""Make the stages of the detectors of a partition from the settings, in their first state."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.mode_alerts import ModeAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.alerts.silence_alerts import SilenceAlerts
from monitor.core.angles import with_parts
from monitor.core.decode.select import IGNORE, RATE, STATE, Globs
from monitor.core.detectors import Detectors
from monitor.core.fitting.history import History
from monitor.core.model.alarm import LEAST_BASE
from monitor.core.model.channel_limits import ChannelLimits
from monitor.core.model.new_assets import NewAssets
from monitor.core.model.ranking import Ranking
from monitor.core.pipeline import LiveSettings, Pipeline
from monitor.core.records import Partition
from monitor.core.routing import Router
from monitor.core.rules import RowRules
from monitor.core.running.not_running import NotRunningAlerts
from monitor.core.running.running import Running
from monitor.core.sensors.checks import Sensors
from monitor.core.sensors.clocks import Clocks
from monitor.core.threshold.threshold import Threshold
from monitor.core.windows.aggregates import base_of, is_plain
from monitor.core.windows.windows import Windows
from monitor.service.budget_outlook import make_budget
from monitor.settings.live import live_settings, rules_of, with_live
from monitor.settings.rules import make_rules
from monitor.settings.tree import Settings
from monitor.training.history_store import Keeping

STATE_FORMAT = 8  # of snapshots; raise it when a stage saves other columns, so that older snapshots are refused


def make_detectors(settings: Sequence[Settings], partition: Partition) -> Detectors:
    """Make the detectors with these settings on one partition, in their first state. They share a message format."""
    router = Router({each.name: each.route() for each in settings})
    pipelines = {each.name: make_pipeline(each, partition) for each in settings}
    return Detectors(settings[0].message_format(), router, pipelines)


def make_pipeline(settings: Settings, partition: Partition, live: LiveSettings | None = None) -> Pipeline:
    """Make the stages of the detector with these settings on one partition, in their first state.

    `live` are the live settings in force, in place of those in `settings`. Raises ValueError if one is out of range.
    """
    usual = live_settings(settings)
    live = {key: (live or usual).get(key, value) for key, value in usual.items()}
    settings = with_live(settings, live)

    name, windows, sensors, modes = settings.name, settings.windows, settings.sensors, settings.modes
    kinds, holds, route = settings.channel_kinds(), settings.channel_holds(), settings.route()
    rules = replace(rules_of(live), kinds=kinds, aggregates=windows.aggregate, mode_channel=modes.channel)
    rows = RowRules(settings.threshold.margin, settings.alerting.alarms_per_day, rules)
    grid = windows.options(kinds, route.watched, holds, route.channels)
    delays = settings.alerting.options(windows)

    return Pipeline(
        name=name,
        fingerprint=fingerprint(settings),
        windows=Windows(replace(grid, mode=modes.channel)),
        channel_limits=ChannelLimits(),
        ranking=Ranking(windows.length),
        threshold=Threshold(settings.threshold.options(), rows, LEAST_BASE),
        budget=make_budget(settings, rows),
        alerting=MachineAlerts(name, partition, delays),
        sensors=Sensors(sensors.options(windows), rules),
        clocks=Clocks(sensors.clock_options(windows)),
        sensor_alerts=SensorAlerts(name, partition, delays),
        mode_alerts=ModeAlerts(name, partition, delays, window_ms=windows.length * windows.step_ms),
        new_assets=NewAssets(length=windows.length, step_ms=windows.step_ms),
        silence=SilenceAlerts(name, partition, settings.alerting.silence_ms(windows)),
        running=Running(settings.running.options(windows, kinds)),
        not_running=NotRunningAlerts(name, partition, settings.running.expected_options(windows)),
        rules=rows,
        live=live,
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


def make_keeping(settings: Settings) -> Keeping:
    """Return what a detector keeps of the past for training, and how."""
    select, kinds, route = settings.select.build(), settings.channel_kinds(), settings.route()
    assets, channels = select.assets.as_ids(), with_parts(select.channels, kinds).as_ids()
    of_kind = {kind: [glob for glob, each in kinds.globs if each == kind] for kind in (STATE, IGNORE)}
    chosen = [select.channels.include, select.channels.exclude, of_kind[IGNORE]]
    rules, running = make_rules(settings.assets, settings.channels), settings.running
    named = Globs((), route.assets.exclude) if route.groups else route.assets
    if route.channels:
        chosen += [route.channels.include, route.channels.exclude]

    def kept(name: str) -> bool:
        base = base_of(name, settings.windows.aggregate)
        return channels.want(base) and route.channels.want(base) and kinds.of(base) != IGNORE

    return Keeping(
        make=lambda: make_history(settings),
        assets=lambda name: assets.want(name) and named.want(name) and not rules.asset(name).off,
        channels=kept,
        shape={"rates and aggregates": json.dumps(rates) if (rates := _rates(settings)) else ""},
        texts=lambda name: kinds.texts_of(base_of(name, settings.windows.aggregate)),
        like={
            "states": json.dumps(of_kind[STATE]) if of_kind[STATE] else "",
            "running": json.dumps([running.when, running.start_delay_s]) if running.when else "",
        },
        groups=json.dumps([route.groups.include, route.assets.include]) if route.groups else "",
        chosen=json.dumps(chosen) if any(chosen) else "",
    )


def _rates(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the globs and kinds of channels if one is a rate, and aggregates; other kinds do not change a state.

    With aggregates, the channel of the modes is another one.
    """
    kinds, aggregates = settings.channel_kinds().deciding().globs, settings.windows.aggregate
    rates = kinds if RATE in {kind for _, kind in kinds} else ()
    if is_plain(aggregates):
        return rates
    mode = (("last", settings.modes.channel),) if settings.modes.channel else ()
    return (*rates, *(("aggregate", each) for each in aggregates), *mode)
