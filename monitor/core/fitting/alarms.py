"""Calibrates the alarm score: at which limits an asset's channels begin, and how clean windows score by them.

A limit begins at the quantile of a clean window's error at which `channel_limits.ChannelLimits` will keep it: errors of
the network and of the level over all clean windows, those of the forecast by weights that were not fitted on the
window. Until an asset has scores of its own, its threshold is borrowed from the alarm scores of the clean windows, held
against limits that follow them as they do at work.
"""

import numpy as np

from monitor.core.fitting.errors import Errors
from monitor.core.model.alarm import FORECAST, LEVEL, NETWORK, WHOLE, alarm_scores, errors_of
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
    channel = _channel_errors(errors, calibration, modes, mode, network)
    observed = ~np.isnan(channel).all(0)  # (V, C)
    starts = np.full(observed.shape, LEAST, np.float32)
    starts[observed] = np.maximum(LEAST, np.nanquantile(channel[:, observed], QUANTILE, axis=0))

    limits = ChannelLimits()
    limits.use(starts)
    scores = alarm_scores(limits.update(errors.asset.astype(np.int32), channel), ~np.isnan(channel))
    return AlarmCalibration(starts, np.quantile(scores, LEVELS).astype(np.float32))


def _channel_errors(
    errors: Errors, calibration: Calibration, modes: Modes | None, mode: Ints, network: Floats
) -> Floats:
    """Return the errors (n, V, C) of the windows, as the scorer gives them."""
    n, C = errors.forecast.shape
    result = np.empty((n, errors_of(modes is not None), C), np.float32)
    result[:, NETWORK] = np.where(errors.newest, errors.parts[:, -2], np.nan)
    result[:, FORECAST] = errors.forecast
    result[:, LEVEL] = np.where(errors.cells > 0, errors.parts[:, -1], np.nan)
    if modes is not None:
        result[:, WHOLE] = np.where(errors.cells > 0, network[:, None], np.nan)
        result[:, NETWORK] *= calibration.error / modes.error[mode]
        result[:, LEVEL] *= (calibration.limits[-1] / modes.limits[mode, -1])[:, None]
    return result
