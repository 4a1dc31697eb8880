"""The demo's terminal: a line of progress, the state of each asset, alerts as they fire, and the summary at the end.

On a terminal, progress and states stay at the bottom and are redrawn. Elsewhere only changes are printed, as lines.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monitor.core.alerts.words import WHOLE, in_words
from monitor.core.published import PublishedAlert, decode_alert
from monitor.core.records import NEW_MODE, NOT_RUNNING, SENSOR, SILENCE
from monitor.evaluation.matching import Evaluation, LabelRow
from monitor.service.run import Service
from monitor.worker.status import Asset, WorkerStatus

STYLES = {"learning": "dim", "warming": "dim", "normal": "green", "unscored": "magenta", "silent": "cyan"}
STYLES |= {"off": "dim", "adapted": "yellow", "pending": "yellow", "firing": "bold red"}
EVENTS = {SILENCE: "silent", NOT_RUNNING: "not running", NEW_MODE: "new mode"}  # kinds of labels that are no faults
COLUMNS = 4  # of the table of assets
SHOWN = 40  # assets; of more, those with the highest ratio are shown


class View:
    """The terminal while the demo runs."""

    def __init__(self, console: Console, service: Service, alerts: Path, messages: int) -> None:
        self._console = console
        self._service = service
        self._alerts = alerts
        self._read = 0  # bytes of the alerts' file
        self._messages = messages  # number that the plant will send in all
        self._live = Live(console=console, refresh_per_second=5, transient=True)
        self._told = ("", "")  # the phase, and the training, that was printed last
        self._twins: set[str] = set()  # assets that several detectors watch

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.refresh()
        self._live.stop()

    def refresh(self) -> None:
        """Show new alerts, the progress and the states."""
        now = None if self._service.daemon is None else self._service.daemon.status
        if now is not None:
            self._twins = _twins(now)
        self._show_alerts()
        if now is None:
            return

        phase, share, about = self._progress(now)
        if self._console.is_terminal:
            self._live.update(Group(_line(phase, share, about), _assets(now)))
        told = (phase, about if phase == "training" else "")  # the sentence of a training does not move
        if told != self._told and not self._console.is_terminal:
            self._console.print(f"{phase}: {about}")
        self._told = told

    def _progress(self, now: WorkerStatus) -> tuple[str, float, str]:
        """Return the phase, its share done (0..1), and a sentence about it."""
        several = len(now.training) > 1
        running = next((name for name, status in now.training.items() if status.running), None)
        if running is not None:
            of = f" of {running}" if several else ""
            text = f"fitting the first model{of}; the broker holds the readings meanwhile"
            return "training", now.training[running].progress, text

        missing = {name: status for name, status in now.training.items() if not now.scores(name)}
        if missing:
            name, training = min(missing.items(), key=lambda item: item[1].share)
            eta = "" if training.eta_s is None else f", {training.eta_s:.0f} s to go"
            of = f" of {name}" if several else ""
            return "learning", training.share, f"{training.steps} of {training.needed} steps of history{of}{eta}"

        done = self._service.metrics.total("monitor_messages_total") / self._messages
        models = f"{len(now.training)} models" if several else f"model {now.model}"
        return "monitoring", done, f"{len({asset.name for asset in now.assets})} assets with {models}"

    def _show_alerts(self) -> None:
        if not self._alerts.exists():
            return
        with self._alerts.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    alert = decode_alert(line)
                    name = _shown(alert.asset, alert.detector, self._twins)
                    self._console.print(_sentence(alert, name), highlight=False, soft_wrap=True)


def _sentence(alert: PublishedAlert, name: str) -> Text:
    """Return an alert of the asset called `name` as a line that a person can act on."""
    head = f"{datetime.fromtimestamp(alert.time / 1000, UTC):%H:%M:%S}"
    if alert.state == "resolved":
        lasted = "" if alert.end is None else f"  after {(alert.end - alert.start) / 1000:.0f} s"
        return Text(f"{head}  resolved  {name}{lasted}", "dim")

    if alert.state == "adapted":
        return Text(f"{head}  adapted   {name}  the limit rose to the alarm score", "yellow")

    head += f"  {'worse' if alert.sequence else 'firing':8}  {name}"
    if alert.fault in WHOLE:
        return Text(f"{head}  {alert.fault if alert.alarm is None else in_words(alert.fault, alert.alarm)}", "cyan")

    if alert.cause == NEW_MODE:
        return Text(f"{head}  new mode {alert.mode or ''}", "cyan")

    top = alert.channels[0]
    channel = f"{top.label()} {top.reading()}"
    if top.contribution is not None:
        channel += f" ({top.contribution:.0%})"
    if alert.cause == SENSOR:
        return Text(f"{head}  sensor {alert.fault}: {channel}", "cyan")

    ratio = "" if alert.ratio is None else f"  alarm score {alert.ratio:.2f} x threshold"
    return Text(f"{head}  {channel}{ratio}", "bold red" if alert.severity == "critical" else "yellow")


def _twins(now: WorkerStatus) -> set[str]:
    """Return the assets that several detectors watch."""
    return {name for name, count in Counter(asset.name for asset in now.assets).items() if count > 1}


def _shown(asset: str, detector: str, twins: set[str]) -> str:
    """Return an asset's name, with the detector's if several watch the asset."""
    return f"{asset} ({detector})" if asset in twins else asset


def _line(phase: str, share: float, about: str) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(phase, "bold"), ProgressBar(100, min(100.0, 100 * share), 30), Text(about))
    return table


def _assets(now: WorkerStatus) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    busiest = sorted(now.assets, key=lambda asset: -(asset.ratio or 0))[:SHOWN]
    twins = _twins(now)
    cells = [_cell(asset, twins) for asset in sorted(busiest, key=lambda asset: (asset.name, asset.detector))]
    for begin in range(0, len(cells), COLUMNS):
        table.add_row(*cells[begin : begin + COLUMNS])
    return table


def _cell(asset: Asset, twins: set[str]) -> Text:
    ratio = "" if asset.ratio is None else f"{asset.ratio:.2f}"
    return Text(f"{_shown(asset.name, asset.detector, twins)}  {asset.state:8} {ratio:>5}", STYLES[asset.state])


def summary(console: Console, found: Evaluation, service: Service, folder: Path, assets: int) -> None:
    """Print the alerts matched with the simulator's labels, and the folder of the results."""
    several = len(service.settings.per_detector()) > 1
    _print_rows(console, found.rows, several)

    kinds = {kind: row for kind, row in found.by_kind().items() if kind not in EVENTS}.values()
    console.print(
        f"{sum(kind.found > 0 for kind in kinds)} of {len(kinds)} kinds of fault found, "
        f"{sum(kind.found for kind in kinds)} of {sum(kind.faults for kind in kinds)} faults; "
        f"{len(found.false)} false alerts on {assets} assets."
    )

    # Events have alerts of their own cause; others may overlap them.
    told = Counter(row.label.kind for row in found.rows if row.cause == row.label.kind)
    labelled = Counter(row.label.kind for row in found.rows)
    events = ", ".join(f"{name} {told[kind]} of {labelled[kind]}" for kind, name in EVENTS.items() if labelled[kind])
    if events:
        console.print(f"Alerts of events as labelled: {events}; {len(found.silent)} of silence without a label.")

    readings = service.metrics.total("monitor_readings_total")
    busy = service.metrics.total("monitor_stage_seconds_total")
    console.print(f"{readings:.0f} readings in {busy:.1f} s of work: {readings / max(busy, 1e-3):.0f} readings/s.")
    console.print(f"Alerts, scores, model and log are in {folder}.")


def _print_rows(console: Console, rows: Sequence[LabelRow], several: bool) -> None:
    """Print a table of what happened; of `several` detectors also the one that found it."""
    table = Table(title="Faults of the simulator and alerts of the monitor", title_justify="left")
    by = ("detector",) if several else ()
    for column in ("kind", "asset", "channel", "length", "found", "after", "cause", "named the channel", *by):
        table.add_column(column)

    for row in rows:
        fault = row.label
        length = f"{(fault.end - fault.start) / 1000:.0f} s"
        after = "" if row.delay_ms is None else f"{row.delay_ms / 1000:.0f} s"
        named = "" if not row.found or not fault.channels else "yes" if row.named else "no"
        yes = "yes" if row.found else "-"
        of = (row.detector,) if several else ()
        table.add_row(fault.kind, fault.asset, ", ".join(fault.channels), length, yes, after, row.cause, named, *of)
    console.print(table)
