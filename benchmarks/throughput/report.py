"""Format the figures as Markdown tables, with the targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.throughput.fleet import CHANNELS
from benchmarks.throughput.product import Run
from benchmarks.throughput.worker import STAGES

Row = Mapping[str, Any]
LONG, WIDE, FLOOR, TWIN, ENGINE = 200_000, 400_000, 0.5, 8.0, 5.0  # readings/s per core; shares of the product's rate
P99_MS, ASSET_KB, GROWTH, SCALE = 1000.0, 60.0, 1.25, 1.7


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(shown, row)) + " |" for row in rows)])


def shown(value: Any) -> str:
    """Format a number with three significant digits and separated thousands."""
    if not isinstance(value, float):
        return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", " ")


def rounded(value: float) -> int:
    """Round to three digits; more would be noise."""
    unit = 10 ** max(0, len(str(int(value))) - 3)
    return int(round(value / unit) * unit)


def throughput(runs: Sequence[Run]) -> str:
    head = ("broker, messages", "channels", "score records", "readings/s per core", "windows/s per core",
            "processor s", "wall s", "checkpoint ms")  # fmt: skip
    rows = [
        (
            f"{run.broker}, {run.kind}", run.assets * CHANNELS, "all" if run.scores else "none",
            rounded(run.readings), rounded(run.per_core), run.cpu_s, run.wall_s, run.checkpoint_ms,
        )
        for run in runs
    ]  # fmt: skip
    return table(head, rows)


def growth(runs: Sequence[Run]) -> str:
    """Format the cost per window of each stage in µs by the loop's clock, and fixed costs."""
    head = ("channels", *(f"{stage} µs" for stage in STAGES), "whole process µs", "last checkpoint s", "snapshots MB",
            "resident MB")  # fmt: skip
    rows = [
        (
            f"{run.assets * CHANNELS:,}".replace(",", " "),
            *(1e6 * run.stage_s[stage] / run.windows for stage in STAGES),
            1e6 * run.cpu_s / run.windows,
            run.snapshot_cpu_s,
            run.snapshot_mb,
            run.rss_mb,
        )
        for run in runs
    ]
    return table(head, rows)


def comparison(product: Sequence[Run], others: Sequence[Row], floors: Sequence[Row]) -> str:
    """Format the rates of the others relative to the product's, on the same messages."""
    rows = []
    for run in product:
        rows.append((f"this monitor, {run.kind}", rounded(run.readings), rounded(run.per_core), 1.0))
        for other in (*others, *({**each, "name": f"floor (batch {each['batch']})"} for each in floors)):
            if other["kind"] == run.kind:
                rate, name = other["windows_per_core_s"], f"{other['name']} {other.get('version', '')}".strip()
                ratio = run.per_core / rate
                rows.append((f"{name}, {run.kind}", rounded(rate * CHANNELS), rounded(rate), ratio))
    return table(("", "readings/s per core", "windows/s per core", "this monitor is … times as fast"), rows)


def latency(row: Row) -> str:
    head = ("assets at 1 s", "channels", "load of the core", "alert records", "p50 ms", "p99 ms", "longest ms")
    names = ("assets", "channels", "load", "alerts", "p50_ms", "p99_ms", "most_ms")
    return table(head, [[row[name] for name in names]])


def scale_out(one: Run, two: Run) -> str:
    head = ("workers", "windows/s per processor second", "windows/s by the wall clock", "times one worker")
    rows = [(str(run.workers), rounded(run.per_core), rounded(run.windows / run.wall_s), speedup(one, run))
            for run in (one, two)]  # fmt: skip
    return table(head, rows)


def speedup(one: Run, many: Run) -> float:
    """Return the rate of several workers with a core each relative to one, by processor time."""
    return many.workers * many.per_core / one.per_core


def training(rows: Sequence[Row]) -> str:
    head = ("assets", "windows of history", "windows cut from it", "gradient steps", "wall s", "processor s",
            "windows/s of processor time")  # fmt: skip
    names = ("assets", "history_windows", "windows", "steps", "wall_s", "cpu_s", "windows_per_cpu_s")
    made = table(head, [[row.get(name, "-") for name in names] for row in rows])
    failed = [f"{row['assets']} assets, no model: {row['failed']}" for row in rows if "failed" in row]
    return "\n\n".join([made, *failed])


def asset_kb(small: Run, large: Run) -> float:
    """Return the memory per asset: the difference between fleets, by asset."""
    return (large.rss_mb - small.rss_mb) * 1024 / (large.assets - small.assets)


def targets(figures: Mapping[str, Any]) -> str:
    """Format each target with the measured value and whether it is met."""
    large: Mapping[str, Run] = {run.kind: run for run in figures["runs"] if run.broker != "memory" and run.scores}
    by_kind = {run.kind: run for run in figures["compared"]}
    rows: list[tuple[str, str, float, bool]] = []

    def least(name: str, wanted: float, found: float) -> None:
        rows.append((name, f">= {shown(wanted)}", found, found >= wanted))

    def most(name: str, wanted: float, found: float) -> None:
        rows.append((name, f"<= {shown(wanted)}", found, found <= wanted))

    least("readings/s per core, json_long", LONG, float(rounded(large["json_long"].readings)))
    least("readings/s per core, json_wide", WIDE, float(rounded(large["json_wide"].readings)))
    for other in figures["floors"]:
        least(
            f"share of the floor, {other['kind']}", FLOOR, by_kind[other["kind"]].per_core / other["windows_per_core_s"]
        )
    for name, wanted, found in _ratios(by_kind, figures["others"]):
        least(name, wanted, found)
    most("alert latency p99 in ms at half load", P99_MS, figures["latency"]["p99_ms"])
    small, *_, largest = figures["growth"]
    most("memory per asset in KB", ASSET_KB, asset_kb(small, largest))
    before = figures["growth"][1]
    most(
        f"cost per window, {largest.assets * CHANNELS} channels over {before.assets * CHANNELS}",
        GROWTH,
        before.per_core / largest.per_core,
    )
    least("2 workers over 1", SCALE, speedup(figures["one"], figures["two"]))
    return table(("", "target", "found", "met"), [(*row[:3], "yes" if row[3] else "NO") for row in rows])


def _ratios(product: Mapping[str, Run], others: Sequence[Row]) -> list[tuple[str, float, float]]:
    """Return the ratios to the twin and to the fastest engine, with and without batches made by hand."""
    found = [
        (f"times the naive twin, {other['kind']}", TWIN, product[other["kind"]].per_core / other["windows_per_core_s"])
        for other in others
        if other["name"] == "naive twin"
    ]
    engines = [other for other in others if other["name"] != "naive twin"]
    plain = [other for other in engines if not other["batched"]]
    for name, of in (("as documented", plain), ("batches made by hand included", engines)):
        if of:
            best = max(of, key=lambda other: float(other["windows_per_core_s"]))
            ratio = product[best["kind"]].per_core / best["windows_per_core_s"]
            found.append((f"times the best engine, {name} ({best['name']})", ENGINE, ratio))
    return found


def page(figures: Mapping[str, Any]) -> str:
    """Format all tables."""
    parts = (
        ("Targets", targets(figures)),
        ("Throughput", throughput(figures["runs"])),
        ("Comparison", comparison(figures["compared"], figures["others"], figures["floors"])),
        ("Cost per stage and growth", growth(figures["growth"])),
        ("Latency of alerts", latency(figures["latency"])),
        ("Two workers", scale_out(figures["one"], figures["two"])),
        ("Training", training(figures["training"])),
    )
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts)
