"""The trainer of one detector: decide when to train, start the child process, watch it, and make its model current.

The first model is trained as soon as the assets have given enough history (the median asset has `first_steps` steps);
later ones every `interval_s`, on the normal part of the history. The store keeps when the last training began, since
processes may be restarted more often than that. The child reads the history from a file, fits a candidate, judges it
(core/fitting/gate.py) and stores it if it passes. Only then is the pointer to the current model moved here, and the
loop adopts the model at its next checkpoint. A child that fails, is refused or exceeds its time changes nothing.

A group has one process that trains: the worker with a certain partition, or a process of its own. It learns from its
own partitions and from the histories that the other workers write to the store. They find the model there.
trainers.py decides whose turn it is, since all detectors of a process share one child.

The child is a process of its own, with a lower priority and limits on memory and time: training must never cost the
plant its monitoring, and a process can be killed, a thread cannot.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from monitor.core.fitting.corpus import Corpus, gather
from monitor.core.fitting.exclude import Span
from monitor.core.fitting.history import History, median_steps
from monitor.core.fitting.recipe import Recipe
from monitor.core.records import Partition, Times
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid
from monitor.store.tensors import pack
from monitor.training.registry import ModelRegistry

LOOK_S = 60.0  # between two reads of the other workers' histories while there is no model
CORPUS_SHARE = 8  # of the child's memory that the corpus may take; fitting takes it five times (docs/performance.md)
RETRY_S = 60.0  # after a training without a first model, as there is more history by then; after an unavailable store
_STDERR_CHARS = 300  # of the child's last line, in the log


@dataclass(frozen=True, slots=True)
class Job:
    """Input of the child, apart from the history."""

    store: str  # URL
    detector: str  # name
    recipe: Recipe
    incumbent: str  # version; empty = none
    margin: float  # see gate.refusal
    threads: int
    nice: int
    memory_mb: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to train."""

    enabled: bool
    first_steps: int  # of history, in the median asset, that the first model needs
    interval_s: float  # between two trainings; 0 = only the first


@dataclass(frozen=True, slots=True)
class Status:
    """Progress, for people."""

    share: float = 0.0  # of the history that the first model needs
    steps: int = 0  # of history in the median asset
    needed: int = 0
    eta_s: float | None = None  # until there is enough, at the rate so far; None = not known yet
    running: bool = False
    progress: float = 0.0  # of the running training
    result: str = ""  # of the last training, a sentence


class Trainer:
    """Decide, start, watch. Every call happens on the loop's thread."""

    def __init__(
        self,
        schedule: Schedule,
        job: Job,
        registry: ModelRegistry,
        observer: Observer,
        elsewhere: Callable[[Collection[Partition]], Iterator[History]],
        *,
        spans: Callable[[], tuple[Span, ...]] = tuple,
    ) -> None:
        """Store the parts.

        Args:
            schedule: When to train.
            job: Input of the child. The incumbent is filled in at each start.
            registry: Returns the model in use, and makes a new one current.
            observer: Metrics, log, watchdog and clocks.
            elsewhere: Returns the detector's histories of the other partitions.
            spans: Reads the times to leave out of a training. Raises OSError, ValueError.
        """
        self._enabled = schedule.enabled
        self._first_steps = schedule.first_steps
        self._interval_s = schedule.interval_s
        self._job = job
        self._registry = registry
        self._elsewhere = elsewhere
        self._spans = spans

        self._metrics = observer.metrics
        self._log = observer.log
        self._monotonic = observer.monotonic
        self._wall_ms = observer.wall_ms
        self._alive = observer.watchdog.alive  # after each history, since many take long

        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None  # of the child
        self._deadline = 0.0  # monotonic seconds, of the child
        self._check_due = 0.0  # monotonic seconds, of the next check whether to train again
        self._look_due = 0.0  # monotonic seconds, of the next read of the other workers' histories
        self._steps_elsewhere: list[Times] = []
        self._due_since: float | None = None  # monotonic seconds; None = no training is due
        self._known: str | None = None  # model in use at the last look; "" = there was none
        self._first_seen: tuple[float, int] | None = None  # monotonic seconds and steps when history was first seen

        self.learning = schedule.enabled  # there is no model yet, as far as is known
        self.first_running = False  # the first model is in training
        self.status = Status(needed=schedule.first_steps)

    @property
    def running(self) -> bool:
        """Whether the child process lives, or its result was not taken yet."""
        return self._child is not None

    @property
    def made_ms(self) -> int | None:
        """When the model in use was made, ms UTC, as of the last look; None = there is none."""
        return self._registry.created_ms(self._known) if self._known else None

    @property
    def first_attempt(self) -> bool:
        """Whether there is no model, and no training has ended yet."""
        return self.learning and not self.status.result

    def look(self, histories: Mapping[Partition, History], *, leads: bool, backlog: bool = False) -> float | None:
        """Return the seconds for which a training has been due; None = none is. About once a second.

        Args:
            histories: The detector's, of the worker's own partitions.
            leads: Whether this worker is the trainer of its group.
            backlog: A partition with more to read has not given enough history yet. The first model waits for it.
                Otherwise it would know only the machines of the partitions that happen to be read first.

        Raises StoreUnavailable at the first call.
        """
        if not self._enabled:
            return None

        incumbent = self._registry.in_use()
        self.learning = incumbent is None
        version = "" if incumbent is None else incumbent.model.version
        if self._known not in {None, version}:  # set by hand, rolled back, or another worker was the trainer
            self._check_due = self._monotonic() + self._interval_s
            self._due_since = None
        self._known = version

        if incumbent is None:
            if leads and self._monotonic() >= self._look_due:
                self._look(histories.keys())
            self._update_progress(histories.values())
            due = leads and self._first_due() and not backlog
        else:
            due = leads and bool(self._interval_s) and (self._due_since is not None or self._interval_over())

        if not due:
            self._due_since = None
            return None
        now = self._monotonic()
        if self._due_since is None:
            self._due_since = now if incumbent is None else self._check_due
        return now - self._due_since

    def start(self, histories: Mapping[Partition, History]) -> None:
        """Gather the corpus and start the child, after `look` has returned that a training is due."""
        incumbent = self._known or ""
        self._due_since = None
        self._check_due = self._monotonic() + self._interval_s
        try:
            # Note the start first: a process that is killed by the training must not begin with it again.
            self._registry.note_training(self._wall_ms())
            corpus = gather(self._normal(histories), self._job.memory_mb * 2**20 // CORPUS_SHARE)
        except StoreUnavailable as error:
            self._finish("failed", f"the store is away: {error}")
            self._check_due = self._monotonic() + RETRY_S
            return
        if corpus is None or corpus.alerted.all():
            self._finish("failed", "there is no normal history to train on")
            return

        try:
            recipe = replace(self._job.recipe, exclude_spans=self._spans())
            self._child = self._spawn(corpus, replace(self._job, recipe=recipe, incumbent=incumbent))
        except ValueError as error:
            self._finish("failed", str(error))
            return
        except OSError as error:  # no space for the corpus, or for another process
            self._finish("failed", f"it could not be started: {error}")
            return
        self._deadline = self._monotonic() + self._job.timeout_s
        self.first_running = not incumbent
        self.status = replace(self.status, running=True, progress=0.0)
        self._log.info(
            "training started",
            detector=self._job.detector,
            blocks=len(corpus),
            assets=len(corpus.assets),
            incumbent=incumbent or None,
        )

    def watch(self) -> None:
        """Update the progress of the child. Once it has ended, take its result."""
        assert self._child is not None, "a training runs"
        self._watch(self._child)

    def close(self) -> None:
        """Kill the child if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._clean_up()

    def enough(self, history: History, absent_ms: int | None = None) -> bool:
        """Return whether a partition has given enough for the first model: `first_steps` steps in its median asset.

        A partition without any asset of the detector has given enough once as much time of its stream was read.

        Args:
            history: Of the partition.
            absent_ms: Time of the stream that was read without finding an asset. None = there are assets.
        """
        if absent_ms is not None and absent_ms >= self._first_steps * history.step_ms:
            return True
        return median_steps([history.steps_seen()]) >= self._first_steps

    def _first_due(self) -> bool:
        """Return whether there is enough history for the first model, and no attempt has failed just now."""
        if self.status.share < 1:
            return False
        return not self.status.result or self._monotonic() >= self._check_due

    def _interval_over(self) -> bool:
        """Return whether `interval_s` has passed since the group's last training began. If not, set the next check."""
        if self._monotonic() < self._check_due:
            return False
        now_ms = self._wall_ms()
        try:
            begun_ms = self._registry.training_begun_ms()
            if begun_ms is None or begun_ms > now_ms:  # a model made by hand; a clock that was wrong
                begun_ms = now_ms
                self._registry.note_training(begun_ms)
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)
            self._check_due = self._monotonic() + RETRY_S
            return False

        passed = (now_ms - begun_ms) / 1000
        self._check_due = self._monotonic() + self._interval_s - passed
        return passed >= self._interval_s

    def _look(self, own: Collection[Partition]) -> None:
        """Read how much history the other partitions have. While the store is unavailable, keep the last answer."""
        try:
            self._steps_elsewhere = [history.steps_seen() for history in self._elsewhere(own)]
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)
        self._look_due = self._monotonic() + LOOK_S

    def _update_progress(self, histories: Collection[History]) -> None:
        """Update the status with the history for the first model, and the time until there is enough of it."""
        median = median_steps([*(history.steps_seen() for history in histories), *self._steps_elsewhere])
        now = self._monotonic()
        if self._first_seen is None and median:
            self._first_seen = now, median

        eta = None
        if self._first_seen is not None and median > self._first_seen[1]:
            seconds, steps = now - self._first_seen[0], median - self._first_seen[1]
            eta = max(0.0, (self._first_steps - median) * seconds / steps)
        share = min(1.0, median / self._first_steps)
        self.status = replace(self.status, share=share, steps=median, eta_s=eta)

    def _normal(self, histories: Mapping[Partition, History]) -> Iterator[Corpus]:
        """Yield the normal part of every history of the group. Raises StoreUnavailable."""
        for history in itertools.chain(histories.values(), self._elsewhere(histories.keys())):
            yield history.corpus()
            self._alive()

    def _spawn(self, corpus: Corpus, job: Job) -> "subprocess.Popen[bytes]":
        """Start the child with its input in a folder of its own. Raises OSError."""
        folder = self._folder = Path(tempfile.mkdtemp(prefix="monitor-training-"))
        with (folder / "corpus.safetensors").open("wb") as file:
            file.writelines(pack(corpus.pack(), {}))
        (folder / "job.json").write_text(json.dumps({**asdict(job), "parent": os.getpid()}))

        # Errors go to a file, since a pipe that is read only at the end could fill up and block the child.
        command = [sys.executable, "-m", "monitor.training.child", str(folder)]
        with (folder / "errors").open("wb") as errors:
            return subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=_environment()
            )

    def _watch(self, child: "subprocess.Popen[bytes]") -> None:
        """Update the progress of the child. Once it has ended, take its result."""
        assert self._folder is not None, "a child has a folder"
        progress = self._folder / "progress"
        if progress.exists():
            self.status = replace(self.status, progress=float(progress.read_text() or 0))

        if child.poll() is None:
            if self._monotonic() >= self._deadline:
                child.kill()
                child.wait()
                self._finish("failed", f"it took longer than {self._job.timeout_s:g} s")
            return

        result = self._folder / "result.json"
        if child.returncode != 0 or not result.exists():
            last = (self._folder / "errors").read_text(errors="replace").strip().rpartition("\n")[2]
            reason = last[-_STDERR_CHARS:] or "no message"
            self._finish("failed", f"the process ended with {child.returncode}: {reason}")
            return
        answer = json.loads(result.read_text())
        if answer["refused"]:
            self._finish("refused", answer["refused"])
            return

        version = answer["version"]
        try:
            self._registry.set_current(version)
        except (StoreUnavailable, ModelInvalid) as error:
            self._finish("failed", f"{version} could not be made current: {error}")
            return
        self._known = version
        self._finish("adopted", version, **answer["figures"], **answer["learned"])

    def _finish(self, result: str, about: str, **figures: float | str) -> None:
        """Count and log the end of a training, and clean up."""
        self._metrics.add("monitor_training_runs_total", result=result, detector=self._job.detector)
        if result == "adopted":
            self._log.info("training ended", detector=self._job.detector, result=result, about=about, **figures)
        else:
            self._log.warning("training ended", detector=self._job.detector, result=result, about=about)

        if self.learning and result != "adopted":
            self._check_due = self._monotonic() + RETRY_S
        self._clean_up()
        self.status = replace(self.status, running=False, progress=0.0, result=f"{result}: {about}")

    def _clean_up(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._child = None
        self._folder = None
        self.first_running = False


def _environment() -> dict[str, str]:
    """Return the environment of the child: without our settings, which include secrets that it does not need."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
