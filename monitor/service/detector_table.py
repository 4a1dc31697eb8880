"""The detectors as a table, which `monitor check` prints as comments in TOML."""

from collections.abc import Sequence

from monitor.settings.base import literal
from monitor.settings.detectors import DetectorSection
from monitor.settings.tree import Settings

_HEADS = ("detector", "watches", "channels", "step x length = window", "aggregate", "differs in")
_COLUMNS = {"windows.step_s", "windows.length", "windows.aggregate"}  # have columns of their own
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def detector_table(settings: Settings) -> str:
    """Return a row for each of [[detectors]]; empty without any."""
    if not settings.detectors:
        return ""
    rows = [_HEADS, *(_row(each) for each in settings.per_detector())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = ["   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n" + "".join(f"# {line}\n" for line in lines)


def _row(settings: Settings) -> tuple[str, ...]:
    (detector,), windows = settings.detectors, settings.windows
    watches = [_globs(detector.assets, detector.assets_exclude)]
    if detector.groups:
        watches = [*(watches if detector.assets or detector.assets_exclude else ()), f"groups {_list(detector.groups)}"]
    window = f"{windows.step_s:g} s x {windows.length} = {_span(windows.step_s * windows.length)}"
    channels = _globs(detector.channels, detector.channels_exclude)
    return detector.name, ", ".join(watches), channels, window, _list(windows.aggregate), _differences(detector)


def _globs(wanted: Sequence[str], left: Sequence[str]) -> str:
    return (_list(wanted) or "all") + (f" but {_list(left)}" if left else "")


def _list(texts: Sequence[str]) -> str:
    return ", ".join(texts)


def _differences(detector: DetectorSection) -> str:
    """Return what the detector overrides, apart from what has a column."""
    own = {f"{part}.{key}": value for part, keys in detector.overrides().items() for key, value in keys.items()}
    return _list([f"{key} = {literal(value)}" for key, value in own.items() if key not in _COLUMNS]) or "-"


def _span(seconds: float) -> str:
    """Return a time in its two largest units, such as 1 h 4 min."""
    parts: list[str] = []
    left = seconds
    for unit, size in _UNITS:
        count = left / size if unit == "s" else left // size
        if count and len(parts) < 2:
            parts.append(f"{count:g} {unit}")
        left %= size
    return " ".join(parts)
