"""Threshold: the limit of each asset's scores, and the margin that holds a budget of alarms.

The doors are `threshold.Threshold`, a rolling percentile of the asset's own scores times a margin, and
`budget.Budget`, which replaces the margin of the settings by one per asset. The kept scores are exact (`ring.Ring`) or
counted in buckets (`histogram.Histogram`, a tenth of the memory).

Promised: limits are a function of an asset's own scores, margins one of the partition's windows, however these are cut
into batches.
"""
