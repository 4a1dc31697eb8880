"""Turns a sample's format and figures into settings, each with its reason, and writes the configuration file.

The file sets only values that differ from their defaults. Findings that equal a default are comments. Settings that the
user gave are kept, except where the sample contradicts them. Secrets are never copied: they stay where they were given.
"""

import math
import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from monitor.core.decode.mapped.presets import PRESETS
from monitor.core.decode.select import IGNORE, MEASUREMENT, RATE, STATE, first_match
from monitor.core.windows.pace import FACTOR
from monitor.onboard.format.recognise import DetectedFormat
from monitor.onboard.survey import Survey
from monitor.settings.base import about, literal
from monitor.settings.detectors import PER_DETECTOR, DetectorSection
from monitor.settings.load import SECRETS, variable
from monitor.settings.rules import ChannelSection
from monitor.settings.sections import fields, sections
from monitor.settings.tree import Settings

_FORMAT: tuple[str, ...] = (
    "kind",
    "asset",
    "channel",
    "timestamp",
    "value",
    "values",
    "asset_from",
    "asset_tag",
    "channel_name",
    "channel_tag",
    "timestamp_unit",
    "each",
    "ignore",
    "timestamp_nanos",
    "timezone",
    "quality",
    "numbers",
    "group",
)
_LIMITS = ("max_message_bytes", "max_channels")
_ROOM = 1.25  # for channels and assets that are not in the sample
_SCARCE = 0.6  # share of measured cells below which the default (a half) would refuse many windows
_SCORED = 0.8  # of the usual share of measured cells: required of a window to be scored
_CELL = 10  # bytes of a cell of history during a training, as settings/checks/learning.py counts
_BARE = re.compile("[A-Za-z0-9_-]+")  # a name that TOML takes without quotes
_WIDTH = 100


class Chosen(NamedTuple):
    """A setting's value and the reason for it."""

    value: Any
    reason: str
    each: Mapping[str, str] = {}  # reasons of the single members of a list or table


def decide(base: Settings, recognised: DetectedFormat, figures: Survey) -> dict[str, Chosen]:
    """Return settings by key, including those that equal their default."""
    return {**of_format(base, recognised, figures), **of_windows(base, figures)}


def of_windows(base: Settings, figures: Survey) -> dict[str, Chosen]:
    """Decide windows and training. A class of machines may have its own."""
    return {**grid(base, figures), **_holes(base, figures), **_room(base, figures)}


def of_format(base: Settings, recognised: DetectedFormat, figures: Survey) -> dict[str, Chosen]:
    """Decide format, filters and channels."""
    reasons = recognised.reasons
    names = _LIMITS if recognised.format.kind == "csv" else _FORMAT + _LIMITS  # rows of csv files need no field map
    chosen = {f"format.{name}": Chosen(getattr(recognised.format, name), reasons.get(name, "")) for name in names}
    form = recognised.format
    chosen["format.preset"] = Chosen(recognised.preset, reasons.get("preset", ""))
    if form.patterns or "patterns" in PRESETS.get(recognised.preset, {}):
        tables = tuple({"from": each.place, "pattern": each.pattern} for each in form.patterns)
        chosen["format.patterns"] = Chosen(tables, reasons.get("patterns", ""))
    if form.qualities:
        chosen["format.qualities"] = Chosen(dict(form.qualities), reasons.get("qualities", ""))
    for name, globs in (
        ("measurements", form.select.measurements.include),
        ("assets_exclude", form.select.assets.exclude),
    ):
        if globs:
            chosen[f"select.{name}"] = Chosen(globs, reasons.get(f"select.{name}", ""))
    return {**chosen, **_channels(base, recognised, figures)}


def _channels(base: Settings, recognised: DetectedFormat, figures: Survey) -> dict[str, Chosen]:
    """Decide which channels are left out, and which are states or rates, unless their kind was given."""
    kinds = base.channel_kinds()
    new = {name: kind for name, kind in figures.kinds.items() if not kinds.given(name)}
    left = {name: kind.reason for name, kind in new.items() if kind.read_as == IGNORE}
    chosen: dict[str, Chosen] = {}
    if left:
        already = [name for name in base.select.channels_exclude if name not in left]
        reason = "left out, each for its own reason"
        if any(new[name].kind == "counter" for name in left):
            reason += "; a counter can be read as its change a second: see [channels.NAME] in docs/configuration.md"
        chosen["select.channels_exclude"] = Chosen((*already, *left), reason, left)

    # Sections of a format that was recognised, and of the channels seen.
    sections = dict(base.channels)
    sections |= {name: ChannelSection.model_validate({"as": kind}) for name, kind in recognised.format.kinds.globs}
    reasons = {}
    for name, kind in new.items():
        if kind.texts:
            sections[name] = ChannelSection(texts=kind.texts)
            reasons[name] = f"{kind.reason}; used once it is no longer left out" if name in left else kind.reason
            continue
        read_as = STATE if kind.boolean else kind.read_as
        if read_as in {STATE, RATE} and recognised.format.kinds.of(name) == MEASUREMENT:
            sections[name] = ChannelSection.model_validate({"as": read_as})
            reasons[name] = "read as 1 and 0, once it is no longer left out" if name in left else kind.reason
    _hold(sections, reasons, figures)
    if sections != base.channels:
        chosen["channels"] = Chosen(sections, "", reasons)
    return chosen


def _hold(sections: dict[str, ChannelSection], reasons: dict[str, str], figures: Survey) -> None:
    """Add to the sections for how long channels that come more slowly than the step hold, unless it was given."""
    globs = tuple(sections)
    for name, each in figures.channels.items():
        at = first_match(globs, name)
        if not each.hold_ms or (at >= 0 and (globs[at] != name or sections[name].hold_s)):
            continue
        known = sections.get(name, ChannelSection())
        seconds = min(each.hold_ms / 1000, float(about(ChannelSection.model_fields["hold_s"])["high"]))
        sections[name] = known.model_copy(update={"hold_s": seconds})
        reason = f"a value holds until the next one, for {FACTOR} times its longest usual silence in the sample"
        reasons[name] = f"{reasons[name]}; {reason}" if reasons.get(name) else reason


def _holes(base: Settings, figures: Survey) -> dict[str, Chosen]:
    """Decide which hole restarts a window, where assets send less often than steps end."""
    chosen: dict[str, Chosen] = {}
    gap = min(figures.hole_ms // figures.step_ms, base.windows.length - 1)
    if gap > base.windows.max_gap:
        reason = f"an asset may send nothing for {figures.hole_ms / 1000:g} s, as seen in the sample"
        chosen["windows.max_gap"] = Chosen(gap, reason)
    return chosen


def grid(base: Settings, figures: Survey) -> dict[str, Chosen]:
    """Decide step, lateness, idle, and the horizon of the history."""
    step = figures.step_ms / 1000
    regular = f"{figures.regular:.1%} of the times of a channel follow one another at its usual distance"
    chosen = {"windows.step_s": Chosen(step, f"the period of the readings; {regular}")}

    # Lateness: as late as 99.9 % of the readings; shorter where the default would outlast `idle` steps.
    lateness, idle = base.windows.lateness_s, base.windows.idle
    behind = f"{figures.disorder:.2%} of the readings come late, 99.9 % at most by {figures.late_ms / 1000:g} s"
    steps = math.ceil(figures.late_ms / figures.step_ms)
    chosen["windows.lateness_s"] = Chosen(lateness, behind)
    if figures.late_ms / 1000 > lateness:
        # In whole steps, unless only the rounding exceeds the setting's limit of a day.
        longest = max(float(about(fields()["windows.lateness_s"])["high"]), figures.late_ms / 1000)
        lateness = min(steps * figures.step_ms / 1000, longest)
        chosen["windows.lateness_s"] = Chosen(lateness, behind)
    elif idle * step < lateness and base.windows.lateness_s == fields()["windows.lateness_s"].default:
        lateness = max(2, steps) * figures.step_ms / 1000
        chosen["windows.lateness_s"] = Chosen(lateness, f"a shorter one is enough at this step: {behind}")

    if idle * step < lateness:
        idle = math.ceil(lateness / step)
        idle += idle * step < lateness  # of 0.009 s, six are less than 0.054 s
        reason = "an asset counts as silent only when no reading of it can still be accepted"
        chosen["windows.idle"] = Chosen(idle, reason)

    # The horizon must hold the first model's history.
    needed = base.training.first_steps * step
    if base.training.horizon_s < needed:
        reason = f"the first model needs {base.training.first_steps} steps, which take {needed:g} s"
        chosen["training.horizon_s"] = Chosen(2 * needed, reason)
    return chosen


def _room(base: Settings, figures: Survey) -> dict[str, Chosen]:
    """Decide the numbers of assets and channels, the least share of measured cells, and the length of the history."""
    chosen: dict[str, Chosen] = {}
    channels = base.windows.max_channels
    if len(figures.channels) * _ROOM > channels:
        channels = _more(len(figures.channels), "windows.max_channels")
        chosen["windows.max_channels"] = Chosen(channels, f"{len(figures.channels)} channels were seen")

    if len(figures.assets) * _ROOM > base.windows.max_assets:
        most = _more(len(figures.assets), "windows.max_assets")
        chosen["windows.max_assets"] = Chosen(most, f"{len(figures.assets)} assets were seen")

    # The share of measured cells that nine of ten assets reach.
    usual = float(sorted(figures.observed.tolist())[len(figures.observed) // 10])
    if usual < _SCARCE and base.windows.min_observed > _SCORED * usual:
        least = max(0.01, math.floor(100 * _SCORED * usual) / 100)
        reason = (
            f"nine assets of ten have at least {usual:.0%} of all cells measured; the default would refuse most windows"
        )
        chosen["windows.min_observed"] = Chosen(least, reason)

    full = most_history(base, channels)
    if base.training.history_windows > full:
        reason = f"{channels} channels: more would not fit into a training's {base.training.memory_mb} MiB"
        chosen["training.history_windows"] = Chosen(full, reason)
    return chosen


def most_history(base: Settings, channels: int) -> int:
    """Return how many windows of history fit into the memory of a training."""
    return int(base.training.memory_mb * 2**20 / (base.windows.length * channels * _CELL))


def _more(seen: int, key: str) -> int:
    """Return a quarter more than was seen, or the setting's upper limit."""
    return max(seen, min(math.ceil(seen * _ROOM), int(about(fields()[key])["high"])))


def merged(base: Settings, chosen: Mapping[str, Chosen]) -> dict[str, Any]:
    """Return values by key that differ from the preset's and the defaults, without secrets and derived values."""
    values = {key: chosen[key].value if key in chosen else base.value(key) for key in fields()}
    derived = {*SECRETS.values()}
    if values["recorder.group"] == f"{base.source.group}-recorder":
        derived.add("recorder.group")
    preset = PRESETS.get(values["format.preset"], {})
    usual = {key: field.default for key, field in fields().items()}
    usual |= {f"format.{name}": value for name, value in preset.items()}
    return {key: value for key, value in values.items() if key not in derived and value != usual[key]}


def written(base: Settings, chosen: Mapping[str, Chosen], head: str, tail: Sequence[str] = ()) -> str:
    """Return the configuration file: `head`, what differs from the defaults, each with its reason, and `tail`."""
    values = merged(base, chosen)
    lines = commented(f"{head} Settings that are not in this file have their defaults: see configs/reference.toml.")
    for key in ("name",):
        lines += [f"{key} = {literal(values[key])}"] if key in values else []

    for part in sections():
        mine = {key: value for key, value in values.items() if key.startswith(f"{part}.")}
        absent = _as_default(chosen, part) + _secrets(base, part)
        if not mine and not absent:
            continue
        lines += ["", f"[{part}]"]
        for key, value in mine.items():
            why = chosen.get(key, Chosen(value, ""))
            lines += commented(why.reason)
            lines += _assigned(key.rpartition(".")[2], value, why.each)
        lines += absent

    lines += _sections(values, chosen)
    for each in values.get("detectors", ()):
        lines += detector_table(each, chosen["detectors"].each if "detectors" in chosen else {})
    return "\n".join([*lines, *tail]) + "\n"


def detector_table(detector: DetectorSection, reasons: Mapping[str, str]) -> list[str]:
    """Return a detector as TOML, with reasons by "NAME" and "NAME.KEY"."""
    own = detector.model_dump(exclude_defaults=True)
    lines = ["", *commented(reasons.get(detector.name, "")), "[[detectors]]"]
    for key, value in own.items():
        if key not in PER_DETECTOR:
            lines += [*commented(reasons.get(f"{detector.name}.{key}", "")), f"{key} = {literal(value)}"]
    for part, values in detector.overrides().items():
        lines.append(f"[detectors.{part}]")
        for key, value in values.items():
            reason = reasons.get(f"{detector.name}.{part}.{key}", "")
            lines += [*commented(reason), f"{key} = {literal(value)}"]
    return lines


def _assigned(name: str, value: Any, reasons: Mapping[str, str]) -> list[str]:
    """Return a setting as TOML, a list with reasons of its members with one of them a line."""
    if not reasons:
        return [f"{name} = {literal(value)}"]
    lines = [f"{name} = ["]
    for each in value:
        lines += [f"    {line}" for line in commented(reasons.get(each, ""))]
        lines.append(f"    {literal(each)},")
    return [*lines, "]"]


def _sections(values: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[str]:
    """Return the sections of channels as TOML, each with its reason."""
    reasons = chosen["channels"].each if "channels" in chosen else {}
    lines = []
    for name, section in values.get("channels", {}).items():
        plain = name if _BARE.fullmatch(name) else literal(name)
        lines += ["", f"[channels.{plain}]", *commented(reasons.get(name, ""))]
        given = section.model_dump(by_alias=True, exclude_defaults=True) or {"as": section.kind}
        lines += [f"{key} = {literal(value)}" for key, value in given.items()]
    return lines


def _as_default(chosen: Mapping[str, Chosen], part: str) -> list[str]:
    """Return comments for findings that equal the default."""
    lines = []
    for key, (value, reason, _) in chosen.items():
        if key.startswith(f"{part}.") and reason and value == fields()[key].default:
            lines += commented(f"{key.rpartition('.')[2]} is {literal(value)}, the default: {reason}")
    return lines


def _secrets(base: Settings, part: str) -> list[str]:
    """Return comments for secrets that were given directly and are not copied into the file."""
    lines = []
    for file_key, key in SECRETS.items():
        if key.startswith(f"{part}.") and base.value(key).get_secret_value() and not base.value(file_key):
            leaf = file_key.rpartition(".")[2]
            lines += commented(f"{key} is a secret and not copied: set {variable(key)}, or name a file with {leaf}.")
    return lines


def commented(text: str) -> list[str]:
    """Return `text` as lines of TOML comment, control characters escaped."""
    clean = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return [f"# {line}" for line in wrap(clean, _WIDTH, break_long_words=True, break_on_hyphens=False)]
