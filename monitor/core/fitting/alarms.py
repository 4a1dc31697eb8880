"""Calibrates the alarm score: at which limits an asset's channels begin, and how clean windows score by them.

A limit begins at the quantile of a clean window's error at which `channel_limits.ChannelLimits` will keep it: errors of
the network and of the level over all clean windows, those of the forecast by weights that were not fitted on the
window. Until an asset has scores of its own, its threshold is borrowed from the alarm scores of the clean windows, held
against limits that follow them as they do at work.

A network that foresees how its channels move needs no limits: its own score is the measure.
"""

import numpy as np

from monitor.core.fitting.errors import Errors
from monitor.core.model.alarm import ERRORS, FORECAST, LEVEL, NETWORK, alarm_scores, foresees
from monitor.core.model.channel_limits import LEAST, QUANTILE, ChannelLimits
from monitor.core.model.model import LEVELS, AlarmCalibration, Calibration
from monitor.core.model.modes import Modes
from monitor.core.records import Floats, Ints


def calibrate_alarms(
    errors: Errors, calibration: Calibration, modes: Modes | None, mode: Ints, network: Floats
) -> AlarmCalibration:
    """Return limits and alarm scores of clean windows, each in `mode` (n,) of the modes, if there are any.

    `network` (n,) are the network's scores of the windows.
    """
    if foresees(calibration.move, calibration.error):
        own = network[errors.usual]
        none = np.empty((len(own), 0, len(calibration.error)), np.float32)
        return AlarmCalibration(none[0], _quantiles(alarm_scores(own, none)))

    channel = _channel_errors(errors, calibration, modes, mode)
    observed = ~np.isnan(channel).all(0)  # (V, C)
    starts = np.full(observed.shape, LEAST, np.float32)
    starts[observed] = np.maximum(LEAST, np.nanquantile(channel[:, observed], QUANTILE, axis=0))

    limits = ChannelLimits()
    limits.use(starts)
    ratios = limits.update(errors.asset.astype(np.int32), channel)
    return AlarmCalibration(starts, _quantiles(alarm_scores(network, ratios, ~np.isnan(channel))))


def _quantiles(scores: Floats) -> Floats:
    result: Floats = np.quantile(scores, LEVELS).astype(np.float32)
    return result


def _channel_errors(errors: Errors, calibration: Calibration, modes: Modes | None, mode: Ints) -> Floats:
    """Return the errors (n, V, C) of the windows, as the scorer gives them."""
    n, C = errors.forecast.shape
    result = np.empty((n, ERRORS, C), np.float32)
    result[:, NETWORK] = np.where(errors.newest, errors.parts[:, -2], np.nan)
    result[:, FORECAST] = errors.forecast
    result[:, LEVEL] = np.where(errors.cells > 0, errors.parts[:, -1], np.nan)
    if modes is not None:
        result[:, NETWORK] *= calibration.error / modes.error[mode]
        result[:, LEVEL] *= (calibration.limits[-1] / modes.limits[mode, -1])[:, None]
    return result
