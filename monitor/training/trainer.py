"""When to train, and the child process that does it; polling goes on meanwhile.

The first model is trained as soon as the assets have given enough history (the median asset has `first_steps` steps);
later ones every `interval_s`, on the normal part of the history. When the last one began is kept in the store, since
processes may be restarted more often than that. The child gets the history as a file, fits, judges its
own work (core/fitting/gate.py) and stores what passes; only then is the pointer moved here, and the loop adopts at
its next checkpoint. A child that fails, is refused or runs out of time changes nothing.

A group has one trainer: the worker that holds a certain partition, or a process of its own. It learns from what it
holds and from the histories that the other workers keep in the store; they find the model there.

The child is a process of its own, with less priority and a limit on memory and time: training must never cost the
plant its monitoring, and a process can be ended, a thread cannot.
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
from monitor.core.fitting.history import History, median_steps
from monitor.core.fitting.recipe import Recipe
from monitor.core.records import Partition, Times
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid
from monitor.store.tensors import pack
from monitor.training.registry import ModelRegistry

LOOK_S = 60.0  # between two looks at the histories in the store while there is no model
CORPUS_SHARE = 8  # of the child's memory that the corpus may take; fitting takes it five times (docs/performance.md)
RETRY_S = 60.0  # after a training that gave no first model, as there is more history by then; while the store is away


@dataclass(frozen=True, slots=True)
class Job:
    """What the child is told, beside the history."""

    store: str  # URL
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
    """For people."""

    share: float = 0.0  # of the history that the first model needs
    steps: int = 0  # of history that the median asset has given
    needed: int = 0
    eta_s: float | None = None  # until there is enough, at the pace seen so far; None = not known yet
    running: bool = False
    progress: float = 0.0  # of the training that runs
    result: str = ""  # of the last training, a sentence


class Trainer:
    """Decides, starts, watches. All calls on the loop's thread."""

    def __init__(
        self,
        schedule: Schedule,
        job: Job,
        registry: ModelRegistry,
        observer: Observer,
        *,
        leads: Callable[[Collection[Partition]], bool],
        elsewhere: Callable[[Collection[Partition]], Iterator[History]],
    ) -> None:
        """Store what the trainer works with.

        Args:
            schedule: When to train.
            job: What the child works with; the incumbent is filled in at each start.
            registry: Where models are looked up and made current.
            observer: Metrics, log, watchdog and clocks.
            leads: Whether the worker with these partitions is the trainer of its group.
            elsewhere: Histories of the other partitions.
        """
        self._enabled = schedule.enabled
        self._first_steps = schedule.first_steps
        self._interval_s = schedule.interval_s
        self._job = job
        self._registry = registry
        self._metrics = observer.metrics
        self._log = observer.log
        self._monotonic = observer.monotonic
        self._wall_ms = observer.wall_ms
        self._alive = observer.watchdog.alive  # after each history, since many take long
        self._leads = leads
        self._elsewhere = elsewhere
        self._steps_elsewhere: list[Times] = []
        self._look_at = 0.0  # monotonic seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None  # of the child
        self._deadline = 0.0
        self._next = 0.0  # monotonic seconds; when to look whether to train again
        self._known: str | None = None  # the model in use as of the last look; "" = there was none
        self._began: tuple[float, int] | None = None  # clock and steps when history was first seen
        self.learning = schedule.enabled  # whether there is no model yet, as far as is known
        self.first_running = False  # whether the first model is in the making
        self.status = Status(needed=schedule.first_steps)

    def tick(self, histories: Mapping[Partition, History], *, backlog: bool = False) -> None:
        """Look whether a training has ended or is due; about once a second. Raises StoreUnavailable at the first look.

        `backlog` says that there is a partition with more to read which has not given enough yet: the first model waits
        for it, or it would know only the machines of the partitions that happen to be read first.
        """
        if self._child is not None:
            self._watch(self._child)
            return
        if not self._enabled:
            return
        incumbent = self._registry.in_use()
        self.learning = incumbent is None
        version = "" if incumbent is None else incumbent.model.version
        if self._known not in {None, version}:  # by whomever: by hand, rolled back, or another worker was the trainer
            self._next = self._monotonic() + self._interval_s
        self._known = version
        leads = self._leads(histories.keys())
        if incumbent is None:
            if leads and self._monotonic() >= self._look_at:
                self._look(histories.keys())
            self._learn(histories.values())
            due = (
                self.status.share >= 1
                and not backlog
                and self._monotonic() >= (self._next if self.status.result else 0)
            )
        else:
            due = bool(self._interval_s) and leads and self._monotonic() >= self._next and self._over()
        if due and leads:
            self._start(histories, version)

    def close(self) -> None:
        """End the child if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._end()

    def enough(self, history: History) -> bool:
        """Whether a partition has given what the first model needs: its median asset `first_steps` steps."""
        return median_steps([history.steps_seen()]) >= self._first_steps

    def _over(self) -> bool:
        """Whether `interval_s` has passed since the last training of the group began; if not, when to look again."""
        now_ms = self._wall_ms()
        try:
            begun_ms = self._registry.training_begun_ms()
            if begun_ms is None or begun_ms > now_ms:  # a model made by hand; a clock that was wrong
                begun_ms = now_ms
                self._registry.note_training(begun_ms)
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)
            self._next = self._monotonic() + RETRY_S
            return False
        passed = (now_ms - begun_ms) / 1000
        self._next = self._monotonic() + self._interval_s - passed
        return passed >= self._interval_s

    def _look(self, mine: Collection[Partition]) -> None:
        """How much history there is elsewhere. While the store is away, as known before."""
        try:
            self._steps_elsewhere = [history.steps_seen() for history in self._elsewhere(mine)]
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)
        self._look_at = self._monotonic() + LOOK_S

    def _learn(self, histories: Collection[History]) -> None:
        median = median_steps([*(history.steps_seen() for history in histories), *self._steps_elsewhere])
        now = self._monotonic()
        if self._began is None and median:
            self._began = now, median
        eta = None
        if self._began is not None and median > self._began[1]:
            eta = max(0.0, (self._first_steps - median) * (now - self._began[0]) / (median - self._began[1]))
        share = min(1.0, median / self._first_steps)
        self.status = replace(self.status, share=share, steps=median, eta_s=eta)

    def _start(self, histories: Mapping[Partition, History], incumbent: str) -> None:
        self._next = self._monotonic() + self._interval_s
        try:
            self._registry.note_training(self._wall_ms())  # before all: who is ended by it must not begin with it again
            corpus = gather(self._normal(histories), self._job.memory_mb * 2**20 // CORPUS_SHARE)
        except StoreUnavailable as error:
            self._finish("failed", f"the store is away: {error}")
            self._next = self._monotonic() + RETRY_S  # if that it began could not even be noted, it begins then
            return
        if corpus is None:
            self._finish("failed", "there is no normal history to train on")
            return
        try:
            self._child = self._spawn(corpus, replace(self._job, incumbent=incumbent))
        except OSError as error:  # no room for the corpus, or for another process
            self._finish("failed", f"it could not be started: {error}")
            return
        self._deadline = self._monotonic() + self._job.timeout_s
        self.first_running = not incumbent
        self.status = replace(self.status, running=True, progress=0.0)
        self._log.info("training started", blocks=len(corpus), assets=len(corpus.assets), incumbent=incumbent or None)

    def _normal(self, histories: Mapping[Partition, History]) -> Iterator[Corpus]:
        """The normal part of every history of the group. Raises StoreUnavailable."""
        for history in itertools.chain(histories.values(), self._elsewhere(histories.keys())):
            yield history.normal()
            self._alive()

    def _spawn(self, corpus: Corpus, job: Job) -> "subprocess.Popen[bytes]":
        """The child, with all it is told in a folder of its own. Raises OSError."""
        folder = self._folder = Path(tempfile.mkdtemp(prefix="monitor-training-"))
        with (folder / "corpus.safetensors").open("wb") as file:
            file.writelines(pack(corpus.pack(), {}))
        (folder / "job.json").write_text(json.dumps({**asdict(job), "parent": os.getpid()}))
        command = [sys.executable, "-m", "monitor.training.child", str(folder)]
        with (folder / "errors").open("wb") as errors:
            return subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=_environment()
            )

    def _watch(self, child: "subprocess.Popen[bytes]") -> None:
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
            self._finish("failed", f"the process ended with {child.returncode}: {last[-300:] or 'without a word'}")
            return
        answer = json.loads(result.read_text())
        if answer["refused"]:
            self._finish("refused", answer["refused"])
            return
        try:
            self._registry.set_current(answer["version"])
        except (StoreUnavailable, ModelInvalid) as error:
            self._finish("failed", f"{answer['version']} could not be made current: {error}")
            return
        version = self._known = answer["version"]
        self._finish("adopted", version, **answer["figures"])

    def _finish(self, result: str, about: str, **figures: float) -> None:
        self._metrics.add("monitor_training_runs_total", result=result)
        level = self._log.info if result == "adopted" else self._log.warning
        level("training ended", result=result, about=about, **figures)
        if self.learning and result != "adopted":
            self._next = self._monotonic() + RETRY_S
        self._end()
        self.status = replace(self.status, running=False, progress=0.0, result=f"{result}: {about}")

    def _end(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._child = self._folder = None
        self.first_running = False


def _environment() -> dict[str, str]:
    """The child's: without our settings, among which are secrets it has no use for."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
