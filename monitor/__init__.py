"""Streaming anomaly monitor for industrial equipment.

Three rings, one direction: `core` computes and knows nothing of the outside, `connectors` and `store` each wrap one
technology, `service` is the shell that owns clock, threads, settings and signals. docs/walkthrough.md follows one
reading through all of them.
"""

from importlib.metadata import version

__version__ = version("plant-monitor")
