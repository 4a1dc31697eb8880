"""Figures by which `backtest`, the demo and the benchmarks evaluate alerts and scores against labels.

`matching.match` counts events: labels found, delays, false alerts. `curves.curves` counts windows: precision, recall
and false positive rate at every limit that a score could have. Both only count. Neither has a level that is good
enough.
"""
