"""Finds the labels of a message that name the asset and the channel.

Three kinds of evidence, in this order:

1. Repetition. Two readings of one channel of one asset at one time are the same reading. A label under which many
   readings coincide that another label distinguishes is too coarse: it names the gateway, not the machine.
2. Names. "machine_id" is clear; the lists below hold the usual names.
3. Structure. The Kafka key usually names the asset. The values of one channel are alike, those of one asset are not.

Only labels that can become ids are candidates, and the reason says which evidence decided.
"""

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.decode.ids import LONGEST, legal

KEY = ""  # stands for the message's key where a field or tag is named
PRESENT = 0.9  # share of the points that must have a label
COARSE = 0.05  # more points coincide than under the best label by this share: readings would be lost
_SWITCHES = 0.2  # of the points: a label under which another one changes as often merges machines
_ALIKE = 0.1  # of the variance explained; less is no difference

MACHINES = (
    "asset",
    "machine",
    "equipment",
    "device",
    "pump",
    "compressor",
    "turbine",
    "motor",
    "robot",
    "plc",
    "node",
)
_PLACES = ("thing", "station", "source", "host", "hostname", "site", "line")
ASSETS = (*MACHINES, *_PLACES)  # the better first
_SIGNALS = ("channel", "sensor", "signal", "metric", "variable", "parameter", "measurement", "measure", "point", "tag")
CHANNELS = (*_SIGNALS, "name", "item", "field", "key", "quantity")
_NEITHER = {"status", "state", "quality", "unit", "units", "uom", "type", "version", "severity", "mode", "level"}
_NEITHER |= {"message", "batch", "event", "action", "schema", "format", "description", "comment", "q", "timezone"}
# Measurements of Telegraf's plug-ins for the computer it runs on.
COLLECTOR = {"cpu", "disk", "diskio", "docker", "internal", "interrupts", "kernel", "mem", "net", "netstat", "nstat"}
COLLECTOR |= {"processes", "procstat", "swap", "system", "win_cpu", "win_disk", "win_mem", "win_net"}
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One point with its labels; KEY among them if the message has a key that is text."""

    labels: dict[str, str]
    what: Hashable  # its channels, where no label names them
    time: Hashable
    value: float = 0.0  # of a point that is one reading
    fields: int = 1  # with a number


@dataclass(frozen=True, slots=True)
class Choice:
    """A label and the reason to choose it."""

    name: str  # KEY = the message's key
    reason: str
    count: int  # different values


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: `assetId`, `asset_id` -> `asset`, `id`."""
    return [word.lower() for word in _WORDS.findall(name)]


def plain(name: str) -> str:
    """Return a name without case, separators and endings: `assetId`, `asset_name`, `Asset` -> `asset`."""
    words = words_of(name)
    while len(words) > 1 and words[-1] in {"id", "name", "nr", "no", "number", "key", "code"}:
        words.pop()
    return "".join(words)


def rank(name: str, known: Sequence[str]) -> int:
    """Return the place of a name in a list of known names; the list's length for an unknown name."""
    return known.index(plain(name)) if name and plain(name) in known else len(known)


def candidates(points: Sequence[Labelled], known: Sequence[str]) -> dict[str, list[str]]:
    """Return labels that could be ids, with the value of each point ("" = none): nearly always present, repeating."""
    names = dict.fromkeys(name for point in points for name in point.labels)
    found = {}
    for name in names:
        column = [point.labels.get(name, "") for point in points]
        given = [text for text in column if text and len(text) <= LONGEST and legal(text)]
        repeats = 2 * len(set(given)) <= len(given) or rank(name, known) < len(known)
        if len(given) >= PRESENT * len(points) and repeats and plain(name) not in _NEITHER:
            found[name] = column
    return found


def coinciding(points: Sequence[Labelled], *columns: Sequence[str]) -> float:
    """Return the share of points with the same labels and the same time as an earlier one."""
    seen = {(point.what, point.time, *labels) for point, *labels in zip(points, *columns, strict=True)}
    return 1 - len(seen) / len(points)


def choose_asset(points: Sequence[Labelled]) -> Choice | None:
    """Choose the label that names the asset of points of several channels; None without a candidate."""
    found = candidates(points, ASSETS)
    if not found:
        return None

    share = {name: coinciding(points, column) for name, column in found.items()}
    best = min(share.values())
    mixed = {name: _mixed(points, column, found) for name, column in found.items()}
    pure = min(mixed.values()) <= COARSE

    def order(name: str) -> tuple[object, ...]:
        same = name != KEY and found[name] == found.get(KEY)
        merges = share[name] > best + COARSE or (pure and mixed[name] > _SWITCHES)
        return (merges, rank(name, ASSETS), not same, name == KEY, -len(set(found[name])))

    name = min(found, key=order)
    coarser = [other for other in found if share[other] > share[name] + COARSE]
    merging = [other for other in found if pure and mixed[name] <= COARSE and mixed[other] > _SWITCHES]
    return Choice(name, _why(name, found, ASSETS, coarser, merging), len(set(found[name]) - {""}))


def _mixed(points: Sequence[Labelled], column: Sequence[str], found: dict[str, list[str]]) -> float:
    """Return the share of points with another value of some label than the point before them of one channel.

    `column` has the asset of each point. Readings that come one by one have no time in common, so this alone shows that
    a label merges machines.
    """
    last: dict[Hashable, tuple[str, ...]] = {}
    switches = 0
    for point, asset, labels in zip(points, column, zip(*found.values(), strict=True), strict=True):
        switches += last.get((point.what, asset), labels) != labels
        last[point.what, asset] = labels
    return switches / len(points)


def choose_measurements(points: Sequence[Labelled], measurements: Sequence[str]) -> tuple[Choice | None, list[str]]:
    """Choose the label that names the asset, also one that only some of the measurements have.

    `measurements` has the name of each point's. Those to read are returned with the label; none = all of them.
    """
    whole = choose_asset(points)
    having = _measurements_by_label(points, measurements)
    every = set(measurements)

    # Parts worth a look: all but the collector's own measurements, and those that have a certain label.
    best: tuple[tuple[int, int], Choice, list[str]] | None = None
    for part in (every - COLLECTOR, *having.values()):
        mine = [point for point, name in zip(points, measurements, strict=True) if name in part]
        choice = choose_asset(mine) if part and part != every else None
        if choice is None or (whole is not None and not _finer(mine, choice, whole, every - part)):
            continue
        order = (rank(choice.name, ASSETS), -len(mine))
        wanted = sorted(part & having.get(choice.name, set()))
        if wanted and (best is None or order < best[0]):
            best = order, choice, wanted
    if best is not None:
        return best[1:]

    # A label of nearly all points may still be missing from whole measurements, which would be dead letters.
    with_label = {
        name for point, name in zip(points, measurements, strict=True) if whole and whole.name in point.labels
    }
    return whole, sorted(with_label) if with_label < every else []


def _finer(points: Sequence[Labelled], choice: Choice, whole: Choice, rest: set[str]) -> bool:
    """Return whether `choice` is worth leaving out the measurements `rest`, where `whole` is a label of all.

    It separates readings that coincide under `whole`, or it is the better name and only the collector lacks it.
    """
    if choice.name == whole.name:
        return False
    if rest <= COLLECTOR and rank(choice.name, ASSETS) < rank(whole.name, ASSETS):
        return True
    by_whole, by_choice = (
        coinciding(points, [point.labels.get(name, "") for point in points]) for name in (whole.name, choice.name)
    )
    return by_whole > by_choice + COARSE


def _measurements_by_label(points: Sequence[Labelled], measurements: Sequence[str]) -> dict[str, set[str]]:
    """Return the measurements, apart from the collector's own, of which nearly all points have a label, by label."""
    count = Counter(measurements)
    pairs = zip(points, measurements, strict=True)
    having = Counter((name, label) for point, name in pairs for label in point.labels)
    found: dict[str, set[str]] = {}
    for (name, label), times in having.items():
        if times >= PRESENT * count[name] and name not in COLLECTOR:
            found.setdefault(label, set()).add(name)
    return found


def choose_pair(points: Sequence[Labelled]) -> tuple[Choice, Choice] | None:
    """Choose the labels that name asset and channel of points with one reading; None without two candidates."""
    assets, channels = candidates(points, ASSETS), candidates(points, CHANNELS)
    channels.pop(KEY, None)
    pairs = [(a, c) for a in assets for c in channels if a != c and assets[a] != channels[c]]
    if not pairs:
        return None

    share = {(a, c): coinciding(points, assets[a], channels[c]) for a, c in pairs}
    best = min(share.values())
    alike = {name: _explained(points, column) for name, column in {**assets, **channels}.items()}

    def order(pair: tuple[str, str]) -> tuple[object, ...]:
        a, c = pair
        named = (rank(a, ASSETS) == len(ASSETS)) + (rank(c, CHANNELS) == len(CHANNELS))
        swapped = (rank(a, CHANNELS) < len(CHANNELS)) + (rank(c, ASSETS) < len(ASSETS))
        same = a != KEY and assets[a] == assets.get(KEY)
        contrast = round((alike[c] - alike[a]) / _ALIKE)
        sizes = -len(set(assets[a])) * len(set(channels[c]))
        ranks = rank(a, ASSETS) + rank(c, CHANNELS)
        return (share[pair] > best + COARSE, named + swapped, not same, a == KEY, -contrast, sizes, ranks)

    a, c = min(pairs, key=order)
    variance = (
        f"{alike[c]:.0%} of the variance of the values lies between its names, {alike[a]:.0%} between the assets'"
    )
    channel = Choice(c, _why(c, channels, CHANNELS, []) + f"; {variance}", len(set(channels[c]) - {""}))
    return Choice(a, _why(a, assets, ASSETS, []), len(set(assets[a]) - {""})), channel


def channel_by_tag(
    points: Sequence[Labelled], measurements: Sequence[str], asset: Choice, wanted: Sequence[str]
) -> tuple[Choice, Choice] | None:
    """Return the labels of asset and channel where no single label separates the readings of one time, but two do.

    `asset` is the best single label, `wanted` has the measurements that are read; empty = all of them. Points of
    several fields have their channels in these: there, two labels are parts of the asset's name, unless one is named as
    channels are.
    """
    mine = [point for point, name in zip(points, measurements, strict=True) if not wanted or name in wanted]
    by_asset = coinciding(mine, [point.labels.get(asset.name, "") for point in mine])
    pair = choose_pair(mine) if by_asset > COARSE else None
    if pair is None:
        return None
    several = any(point.fields > 1 for point in mine)
    if rank(pair[1].name, ASSETS) < len(ASSETS) or (several and rank(pair[1].name, CHANNELS) == len(CHANNELS)):
        return None
    by_pair = coinciding(mine, *([point.labels.get(each.name, "") for point in mine] for each in pair))
    return pair if by_pair + COARSE < by_asset else None


def _why(
    name: str, found: dict[str, list[str]], known: Sequence[str], coarser: Sequence[str], merging: Sequence[str] = ()
) -> str:
    others = sorted(set(found) - {name, KEY})
    said = []
    if name == KEY:
        said.append("no field or tag is as good")
    elif rank(name, known) < len(known):
        said.append("its name")
    if name != KEY and found[name] == found.get(KEY):
        said.append("it equals the message's key")
    if coarser:
        listed = ", ".join(each or "the key" for each in coarser)
        said.append(f"readings of the same time would coincide under {listed}")
    elif merging:
        listed = ", ".join(each or "the key" for each in merging)
        said.append(f"it changes from reading to reading under {listed}, which would merge them")
    if others and not said:
        said.append(f"chosen among {', '.join([name, *others])} by how the readings repeat: check it")
    return "; ".join(said) or "the only label"


def _explained(points: Sequence[Labelled], column: Sequence[str]) -> float:
    """Return the share of the variance of the values' ranks between the groups of a label, 0 to 1."""
    ranks = np.argsort(np.argsort([point.value for point in points], kind="stable"), kind="stable").astype(np.float64)
    _, group = np.unique(column, return_inverse=True)
    count = np.bincount(group)
    mean = np.bincount(group, ranks) / count
    total = float(ranks.var())
    return float((count * (mean - ranks.mean()) ** 2).sum() / len(ranks)) / total if total else 0.0
