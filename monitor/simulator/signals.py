"""Random signals that are functions of their seed and step: drawn by block, with lags over a bounded past.

A block is made with the block before it, so a lag may reach back by one block at most.
"""

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def draw(*key: int) -> np.random.Generator:
    """Return the random numbers of a key. Parts of a key are not negative."""
    return np.random.default_rng(key)


def smooth(white: Doubles, lag: int) -> Doubles:
    """Return the second block of a fluctuation with variance 1 and memory `lag`, from two blocks of white noise."""
    weights = np.exp(-np.arange(5 * lag) / lag)
    fluctuation: Doubles = np.convolve(white, weights / np.sqrt((weights**2).sum()), "valid")[-(len(white) // 2) :]
    return fluctuation


def lagged(signal: Doubles, lag: int) -> Doubles:
    """Return the second block of a signal's first-order lag, cut off after 5 lags (1 % left), from two blocks."""
    weights = np.exp(-np.arange(5 * lag) / lag)
    delayed: Doubles = np.convolve(signal, weights / weights.sum(), "valid")[-(len(signal) // 2) :]
    return delayed
