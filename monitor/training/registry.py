"""The model registry: the models of the store, ready to score, and the version in use.

A version is loaded once and shared by all partitions. Only the KEPT versions requested last stay in memory, since a
worker that runs for a year meets hundreds. The pointer to the current version is read every RECHECK_S, so that a model
adopted or rolled back by another process is noticed. Reading it at every checkpoint would be a request per second and
worker to an object store. While the store is unavailable, the model in use stays in use. A current model that is
damaged, or made for windows of another length, is skipped for the newest usable one: scoring with last week's model is
better than not scoring.
"""

from collections.abc import Callable

from structlog.stdlib import BoundLogger

from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid, Models

RECHECK_S = 10.0
KEPT = 4  # the one in use, the one before, and those that snapshots of newly assigned partitions may name


class ModelRegistry:
    """Scorers by version. Methods raise StoreUnavailable."""

    def __init__(self, models: Models, length: int, monotonic: Callable[[], float], log: BoundLogger) -> None:
        """Store the parts; `length` is that of the windows, in steps."""
        self._models = models
        self._length = length
        self._monotonic = monotonic
        self._log = log
        self._scorers: dict[str, Scorer] = {}  # requested last comes last
        self._created: dict[str, int] = {}  # ms UTC, by version
        self._unusable: set[str] = set()
        self._in_use: Scorer | None = None
        self._checked: float | None = None  # monotonic seconds, when the pointer was read

    def in_use(self) -> Scorer | None:
        """Return the scorer in use, as last known; None while there is no model."""
        if self._checked is None or self._monotonic() - self._checked >= RECHECK_S:
            try:
                self._in_use = self._read_current()
            except StoreUnavailable as error:
                if self._checked is None:  # nothing is known yet
                    raise
                self._log.warning("current model not read", store=error.path, reason=error.reason)
            self._checked = self._monotonic()
        return self._in_use

    def set_current(self, version: str) -> None:
        """Make `version` the one in use for all workers. Raises ModelInvalid."""
        self._models.set_current(version)
        self._in_use = self.scorer(version)

    def scorer(self, version: str) -> Scorer:
        """Return the scorer of a version. Raises ModelInvalid if the model is missing, damaged or does not fit."""
        if version not in self._scorers:
            self._load(version)

        scorer = self._scorers.pop(version)
        self._scorers[version] = scorer  # requested last, so it stays longest
        while len(self._scorers) > KEPT:
            del self._scorers[next(iter(self._scorers))]
        return scorer

    def created_ms(self, version: str) -> int:
        """Return when a version was trained, ms UTC. The version must have been loaded."""
        return self._created[version]

    def training_begun_ms(self) -> int | None:
        """Return when the last training of this store began, ms UTC; None = not known."""
        return self._models.training_begun_ms()

    def note_training(self, begun_ms: int) -> None:
        """Store when a training began."""
        self._models.note_training(begun_ms)

    def _load(self, version: str) -> None:
        stored = self._models.get(version)
        try:
            model = Model.unpack(version, stored.manifest, stored.tensors)
        except ValueError as error:
            raise ModelInvalid(str(error)) from error

        length = model.architecture.length
        if length != self._length:
            raise ModelInvalid(f"{version} was made for windows of {length} steps, here they have {self._length}")
        self._scorers[version] = Scorer(model)
        self._created[version] = stored.created_ms

    def _read_current(self) -> Scorer | None:
        current = self._models.current()
        if current is None:
            return None
        for version in (current, *self._models.versions()):
            if version in self._unusable:
                continue
            try:
                return self.scorer(version)
            except ModelInvalid as error:
                self._unusable.add(version)
                self._log.error("model rejected", model=version, reason=str(error))
        return None
