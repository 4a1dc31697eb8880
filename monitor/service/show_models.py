"""`monitor models`: the models of a store, and what each was learned from."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from monitor.observe.metrics import Metrics
from monitor.service.backends import make_blobs, make_models
from monitor.settings.tree import Settings

MOST = 1000  # rows of assets and days that are printed


def list_models(settings: Settings) -> str:
    """Return a line for each model, newest first. Raises StoreUnavailable."""
    models = make_models(settings, make_blobs(settings), Metrics())
    current = models.current()
    lines = [f"{version}{'  in use' if version == current else ''}" for version in models.versions()]
    return "\n".join(lines) or "no models yet"


def show_model(settings: Settings, version: str) -> str:
    """Return the history of a model: learned, and left out. Raises ModelInvalid, StoreUnavailable."""
    models = make_models(settings, make_blobs(settings), Metrics())
    about, report = models.get(version).manifest, models.learned(version)
    lines = [f"{version}, after {about.get('training', {}).get('parent') or 'no other model'}"]
    if report is None:
        return "\n".join([*lines, "There is no report of its training: an older version made the model."])
    return "\n".join([*lines, *_report(report)])


def _report(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"channels: {', '.join(report['channels'])}"
    for name, why in report["dropped_channels"].items():
        yield f"  without {name}: {why}"
    yield f"history: {_hours(report['hours'])}"
    for row in report["days"][:MOST]:
        yield f"  {row['day']}  {row['asset']}  {_hours(row['hours'])}"
    if (left := len(report["days"]) - MOST) > 0:
        yield f"  and {left} more; learned.json in the store has all"
    if worst := report.get("fits_worst"):  # older models lack it
        yield "fits worst; if one was an incident, put its line into the file training.exclude_spans and train anew:"
        yield from (f"  {json.dumps(span)}" for span in worst)


def _hours(hours: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.3g} h" for name, share in hours.items()) or "none"
