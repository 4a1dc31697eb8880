"""The command line. Exit codes: 0 done, 1 refused, 75 try again (EX_TEMPFAIL), 78 configuration error (EX_CONFIG).

A command imports its work when it is called, so that help, check and other commands which compute nothing start without
torch: in 0.3 s of processor time instead of 1.5 s.
"""

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from monitor import __version__
from monitor.options import BacktestOptions, OnboardOptions, Simulation, with_records
from monitor.service.budget_outlook import beforehand
from monitor.service.detector_table import detector_table
from monitor.settings.load import ConfigurationError, load, render
from monitor.settings.notes import notes
from monitor.settings.tree import Role, Settings

BAD_CONFIGURATION = 78
CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


class Example(StrEnum):
    """Configuration files of the program, apart from the reference."""

    PLANT = "plant"
    FLEET = "fleet"
    DEMO = "demo"
    DEMO_MIXED = "demo-mixed"


class DemoKind(StrEnum):
    """Plants that the demo simulates."""

    PUMPS = "pumps"
    MIXED = "mixed"


class Stage(StrEnum):
    """Stages that make dead letters."""

    DECODE = "decode"
    RECORD = "record"
    OUTPUT = "output"


app = typer.Typer(
    help="Streaming anomaly monitor for industrial equipment: Kafka in, explained alerts out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
dead_letters = typer.Typer(help="Show what could not be read, and write it back.", no_args_is_help=True)
app.add_typer(dead_letters, name="dead-letters")
models = typer.Typer(help="List the models, and show what each was learned from.", no_args_is_help=True)
app.add_typer(models, name="models")
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; `monitor config --reference` prints every setting.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a setting: windows.length=32. Repeatable.")
]

Files = Annotated[
    list[Path] | None, typer.Argument(help="Recordings, jsonl, csv, parquet or npz. Default: the configured source.")
]

Detector = Annotated[str, typer.Option(help="The one detector that is meant. Default: the first one.")]
Since = Annotated[str, typer.Option(help="An age (30m, 12h, 7d) or a time in ISO 8601 or ms. Default: the beginning.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Kinds to show, the newest.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Streaming anomaly monitor for industrial equipment: Kafka in, explained alerts out."""
    if show:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    config: Config = None,
    set_: Set = None,
    role: Annotated[Role, typer.Option(help="Part of the work that this process does.")] = Role.ALL,
) -> None:
    """Run the daemon: read, score, alert and learn until SIGTERM or SIGINT."""
    settings = settings_or_exit(config, set_)
    overrides = dict(map(_flag, set_ or []))  # for a reload

    from monitor.observe.logs import configure  # noqa: PLC0415 - see the module
    from monitor.service.run import run_service  # noqa: PLC0415 - see the module

    configure(settings.log.level, settings.log.format, sys.stderr)
    raise typer.Exit(run_service(settings, lambda: load(config, os.environ, overrides), role, config))


@app.command()
def check(
    config: Config = None,
    set_: Set = None,
    connect: Annotated[
        bool,
        typer.Option("--connect", help="Try brokers, topics, rights, database and store instead. Writes no record."),
    ] = False,
) -> None:
    """Print the settings in force, secrets masked, or every mistake in them. With an alarm budget, also a forecast."""
    settings = settings_or_exit(config, set_)
    _refuse_unknown_options(settings)
    if connect:
        from monitor.service.connect import CONNECT_S, try_all, verdict  # noqa: PLC0415 - see the module

        findings = try_all(settings, CONNECT_S)
        for item, ok, text in findings:
            print(f"{'ok' if ok else 'failed':<8}{item}: {text}")
        print(verdict(findings))
        raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)

    print(render(settings) + detector_table(settings) + beforehand(settings), end="")
    for note in notes(settings):
        print(f"\n# note: {note}")


@app.command("config")
def show_config(
    reference: Annotated[bool, typer.Option("--reference", help="Every setting: meaning, range, default.")] = False,
    example: Annotated[Example | None, typer.Option(help="A configuration to start from.")] = None,
) -> None:
    """Print a configuration file of this version: the reference, or an example."""
    if reference == (example is not None):
        raise typer.BadParameter("give either --reference or --example")

    name = "reference" if example is None else example.value
    print((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"), end="")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for results; each run makes its own in it.")] = Path("demo-output"),
    plant: Annotated[
        DemoKind, typer.Option(help="pumps: one kind of machine. mixed: three kinds, with four detectors.")
    ] = DemoKind.PUMPS,
    assets: Annotated[int, typer.Option(min=4, max=200, help="Simulated pumps, of the plant of pumps.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of plant and faults.")] = 0,
    speed: Annotated[
        float | None,
        typer.Option(min=1, help="Simulated seconds per second of monitoring. Default: 40; mixed: 20000."),
    ] = None,
) -> None:
    """Simulate a plant, learn it and monitor it. Needs neither Kafka nor a database."""
    from monitor.simulator.demo import run_demo  # noqa: PLC0415 - see the module
    from monitor.simulator.demo_plants import mixed_plant, pump_plant  # noqa: PLC0415

    made = pump_plant(assets, seed) if plant is DemoKind.PUMPS else mixed_plant(seed)
    raise typer.Exit(_or_exit(lambda: run_demo(out, made, speed or made.speed)))


@app.command()
def train(
    files: Files = None,
    config: Config = None,
    set_: Set = None,
    detector: Detector = "",
    *,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="As if there were no model: what the one in use finds anomalous is normal now."),
    ] = False,
) -> None:
    """Fit a model on normal history, from files or from the beginning of the topics, and put it into use.

    The model is refused if it is worse than the one in use; then the exit code is 1.
    """
    settings = _detector_or_exit(settings_or_exit(config, [*(set_ or []), *_reading(files)]), detector)
    from monitor.service.offline import train_now  # noqa: PLC0415 - see the module

    with _bar() as bar:
        outcome = _or_exit(lambda: train_now(settings, *_steps(bar), anew=anew))
    print(outcome.text)
    raise typer.Exit(0 if outcome.adopted else 1)


@app.command()
@with_records
def backtest(files: Files = None, config: Config = None, set_: Set = None, *, options: BacktestOptions) -> None:
    """Replay a recording, or the history in the topics, at full speed, and report the alerts of all detectors."""
    # The column of labels is no channel, so it is not read as one.
    ignore = [f"source.ignore={json.dumps([options.label_column])}"] if options.label_column else []
    settings = settings_or_exit(config, [*(set_ or []), *_reading(files), *ignore])
    against = settings_or_exit(Path(options.against), None) if options.against.endswith(".toml") else None
    if options.detector:
        settings = _detector_or_exit(settings, options.detector)
        against = _detector_or_exit(against, options.detector) if against else None
    from monitor.backtest.command import backtest as work  # noqa: PLC0415 - see the module

    with _bar() as bar:
        text = _or_exit(lambda: work(settings, options, against, *_steps(bar)))
    print(text)


@app.command()
def rollback(config: Config = None, set_: Set = None, detector: Detector = "") -> None:
    """Put the previous model back into use. Running workers follow within seconds."""
    settings = _detector_or_exit(settings_or_exit(config, set_), detector)
    from monitor.service.rollback import roll_back  # noqa: PLC0415 - see the module

    print(f"{_or_exit(lambda: roll_back(settings))} in use")


@models.command("list")
def list_models_(config: Config = None, set_: Set = None, detector: Detector = "") -> None:
    """List the models of the store, the newest first."""
    settings = _detector_or_exit(settings_or_exit(config, set_), detector)
    from monitor.service.show_models import list_models  # noqa: PLC0415 - see the module

    print(_or_exit(lambda: list_models(settings)))


@models.command("show")
def show_model_(
    version: Annotated[str, typer.Argument(help="As `monitor models list` prints it.")],
    config: Config = None,
    set_: Set = None,
    detector: Detector = "",
) -> None:
    """Show what a model was learned from, per asset and day, and what was left out and why."""
    settings = _detector_or_exit(settings_or_exit(config, set_), detector)
    from monitor.service.show_models import show_model  # noqa: PLC0415 - see the module

    print(_or_exit(lambda: show_model(settings, version)))


@app.command()
@with_records
def simulate(
    config: Config = None,
    set_: Set = None,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Write to the first topic in source.topics. Default: standard output.")
    ] = False,
    *,
    simulation: Simulation,
) -> None:
    """Write the readings of a simulated plant with labelled faults, in format.kind (json_wide, json_long)."""
    settings = settings_or_exit(config, set_)
    from monitor.simulator.stream import write  # noqa: PLC0415 - see the module

    raise typer.Exit(_or_exit(lambda: write(settings, simulation, to_kafka=kafka)))


@app.command()
@with_records
def onboard(config: Config = None, set_: Set = None, *, options: OnboardOptions) -> None:
    """Sample a topic, report its contents and the cost of monitoring it, and write a configuration for it."""
    if bool(options.topic) == bool(options.file):
        raise typer.BadParameter("give either --topic or --file")
    if options.influx and options.file:
        raise typer.BadParameter("--influx needs --topic: the recorder copies alerts from Kafka to the database")

    # The sample's source wins over the configured one.
    overrides = list(set_ or [])
    if options.file:
        kind = _kind_of(options.file)
        overrides = [
            *([f"source.format={kind}"] if kind else []),
            *overrides,
            "source.kind=files",
            "outputs.kind=files",
        ]
        overrides += [f"source.paths={json.dumps([str(options.file)])}"]
    else:
        overrides += ["source.kind=kafka", f"source.topics={json.dumps([options.topic])}"]
    overrides += [f"kafka.bootstrap_servers={options.bootstrap}"] if options.bootstrap else []
    overrides += [f"schemas.registry_url={options.registry}"] if options.registry else []
    overrides += [f"recorder.url={options.influx}", "recorder.enabled=true"] if options.influx else []

    settings = settings_or_exit(config, overrides)
    from monitor.onboard.command import onboard as look  # noqa: PLC0415 - see the module

    raise typer.Exit(_or_exit(lambda: look(settings, options)))


@app.command()
def topics(
    config: Config = None,
    set_: Set = None,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each new topic.")] = 4,
) -> None:
    """Create the configured topics that do not exist yet."""
    settings = settings_or_exit(config, set_)
    from monitor.service.backends import make_topics  # noqa: PLC0415 - see the module

    for name, outcome in _or_exit(lambda: make_topics(settings, partitions)).items():
        print(f"{name}: {outcome}")


@dead_letters.command("list")
def list_dead_letters(  # noqa: PLR0917 - one option each
    config: Config = None,
    set_: Set = None,
    since: Since = "",
    stage: Annotated[Stage | None, typer.Option(help="Only of this stage. Default: all.")] = None,
    limit: Limit = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per kind and line.")] = False,
) -> None:
    """Show what could not be read: count and first example by stage, class and field. No group is joined."""
    settings = settings_or_exit(config, set_)
    from monitor.observe.clock import wall_ms  # noqa: PLC0415 - see the module
    from monitor.service.dead_letters import count_kinds, since_ms  # noqa: PLC0415 - see the module

    with _bar() as bar:
        read = _read(bar)
        kinds = _or_exit(lambda: count_kinds(settings, since_ms(since, wall_ms()), stage or "", read))
    if as_json:
        print("".join(kind.json() for kind in kinds.newest(limit)), end="")
    else:
        print(f"{kinds.table(limit)}{kinds.sums()}")


@dead_letters.command("replay")
def replay_dead_letters(  # noqa: PLR0917 - one option each
    config: Config = None,
    set_: Set = None,
    since: Since = "",
    stage: Annotated[Stage, typer.Option(help="Stage; only messages that could not be decoded are input.")] = (
        Stage.DECODE
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be done.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also messages that were replayed before.")] = False,
    limit: Limit = 20,
) -> None:
    """Write dead letters that the corrected configuration can read back to the topics that they came from."""
    settings = settings_or_exit(config, set_)
    from monitor.observe.clock import wall_ms  # noqa: PLC0415 - see the module
    from monitor.service.dead_letters import replay, since_ms  # noqa: PLC0415 - see the module

    with _bar() as bar:
        read = _read(bar)
        begin = _or_exit(lambda: since_ms(since, wall_ms()))
        outcome = _or_exit(lambda: replay(settings, begin, stage, read, again=again, dry=dry_run))
    print(outcome.text(limit))


def settings_or_exit(config: Path | None, overrides: list[str] | None) -> Settings:
    """Return the settings in force. Mistakes are printed to stderr, one per line, and the process exits with 78."""
    try:
        return load(config, os.environ, dict(map(_flag, overrides or [])))
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"configuration: {problem}", file=sys.stderr)
        raise typer.Exit(BAD_CONFIGURATION) from None


def _detector_or_exit(settings: Settings, name: str) -> Settings:
    """Return the settings of a detector. If there is none of this name, print those there are and exit with 78."""
    try:
        return settings.of_detector(name)
    except ValueError as error:
        print(f"monitor: --detector: {error}", file=sys.stderr)
        raise typer.Exit(BAD_CONFIGURATION) from None


def _refuse_unknown_options(settings: Settings) -> None:
    """Print each option in `kafka.options` that librdkafka refuses, and exit with 78. Connects to nothing.

    Also print why files with schemas cannot be read.
    """
    if not settings.kafka.options and not settings.schemas.files:
        return
    from monitor.service.backends import make_resolver, refused_kafka_options  # noqa: PLC0415 - see the module

    problems = [f"kafka.options: {problem}" for problem in refused_kafka_options(settings)]
    try:
        make_resolver(settings)
    except ValueError as error:
        problems.append(str(error))
    for problem in problems:
        print(f"configuration: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(BAD_CONFIGURATION)


def _flag(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigurationError([f"--set {text}: expected key=value"])
    return key, value


def _or_exit(work: Callable[[], T]) -> T:
    """Return the result of `work`. If something cannot be reached or used, print why and exit with 1."""
    from monitor.connectors.base import Unavailable  # noqa: PLC0415 - see the module
    from monitor.store.base import StoreUnavailable  # noqa: PLC0415 - see the module
    from monitor.store.models import ModelInvalid  # noqa: PLC0415 - see the module

    try:
        return work()
    except (Unavailable, StoreUnavailable, ModelInvalid, OSError, ValueError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _reading(files: list[Path] | None) -> list[str]:
    """Return settings that read these files as fast as possible; none without files."""
    if not files:
        return []
    paths = json.dumps([str(path) for path in files])
    return [
        "source.kind=files",
        f"source.paths={paths}",
        f"source.format={_kind_of(files[0]) or files[0].suffix[1:]}",
        "source.speed=0",
    ]


def _kind_of(file: Path) -> str:
    """Return the format that a file's ending says; empty for an unknown one."""
    kinds = {"csv": "csv", "tsv": "csv", "parquet": "parquet", "pq": "parquet", "npz": "npz"}
    kinds |= dict.fromkeys(("json", "jsonl", "ndjson", "lp"), "jsonl")
    return kinds.get(file.suffix[1:].lower(), "")


def _read(bar: Progress) -> Callable[[int], None]:
    """Return the callback of reading to an end that is not known before."""
    reading = bar.add_task("reading", total=None)
    return lambda done: bar.update(reading, completed=done)


def _steps(bar: Progress) -> tuple[Callable[[int, int], None], Callable[[int, int, float], None]]:
    """Return the callbacks of reading and fitting that move the progress bar."""
    reading, fitting = bar.add_task("reading", total=None), bar.add_task("fitting", total=None, visible=False)

    def read(done: int, left: int) -> None:
        bar.update(reading, completed=done, total=done + left)

    def fitted(step: int, steps: int, loss: float) -> None:
        about = f"fitting, held-out loss {loss:.3f}"
        bar.update(fitting, completed=step, total=steps, visible=True, description=about)

    return read, fitted


def _bar() -> Progress:
    # On stderr: a report or a model's version may be read from stdout.
    words = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}"), TimeElapsedColumn()
    return Progress(*words, console=Console(stderr=True))


def main() -> None:
    """Entry point of the console script."""
    app()
