"""The models of the store as detectors ready to score, and which one the fleet uses.

A version is loaded once and shared by all partitions; only the KEPT asked for last are kept, since a worker that runs
for a year meets hundreds. The pointer to the current version is read again every
RECHECK_S, so that a model adopted or rolled back by another process is found; reading it at every checkpoint would be a
request per second and worker to an object store. While the store is away, what was in use stays in use. A current model
that is damaged, or made for windows of another length, is passed over for the newest one that can be used: to score
with last week's model beats not to score.
"""

from collections.abc import Callable

from structlog.stdlib import BoundLogger

from monitor.core.model.detector import Detector
from monitor.core.model.model import Model
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid, Models

RECHECK_S = 10.0
KEPT = 4  # the one in use, the one before, and what snapshots of partitions just taken over may name


class ModelRegistry:
    """Detectors by version. Methods raise StoreUnavailable."""

    def __init__(self, models: Models, length: int, now: Callable[[], float], log: BoundLogger) -> None:
        self._models = models
        self._length = length  # of the windows, in steps
        self._now = now  # seconds, monotonic
        self._log = log
        self._detectors: dict[str, Detector] = {}
        self._created: dict[str, int] = {}
        self._unusable: set[str] = set()
        self._in_use: Detector | None = None
        self._checked: float | None = None

    def in_use(self) -> Detector | None:
        """The detector to score with, as last known; None while there is no model."""
        if self._checked is None or self._now() - self._checked >= RECHECK_S:
            try:
                self._in_use = self._look()
            except StoreUnavailable as error:
                if self._checked is None:  # nothing is known yet
                    raise
                self._log.warning("model in use not looked up", store=error.path, reason=error.reason)
            self._checked = self._now()
        return self._in_use

    def set_current(self, version: str) -> None:
        """Make `version` the one in use for everybody. Raises ModelInvalid."""
        self._models.set_current(version)
        self._in_use = self.detector(version)

    def detector(self, version: str) -> Detector:
        """The detector of a version. Raises ModelInvalid if the model is missing, damaged or does not fit."""
        if version not in self._detectors:
            stored = self._models.get(version)
            try:
                model = Model.unpack(version, stored.manifest, stored.tensors)
            except ValueError as error:
                raise ModelInvalid(str(error)) from error
            if model.architecture.length != self._length:
                found = f"windows of {model.architecture.length} steps"
                raise ModelInvalid(f"{version} was made for {found}, here they have {self._length}")
            self._detectors[version] = Detector(model)
            self._created[version] = stored.created_ms
        self._detectors[version] = detector = self._detectors.pop(version)  # to the end: asked for last
        while len(self._detectors) > KEPT:
            del self._detectors[next(iter(self._detectors))]
        return detector

    def created_ms(self, version: str) -> int:
        """When a version was trained, ms UTC; it must have been loaded."""
        return self._created[version]

    def training_begun_ms(self) -> int | None:
        """When the last training of this store began, ms UTC; None = it is not known."""
        return self._models.training_begun_ms()

    def note_training(self, begun_ms: int) -> None:
        """Keep when a training began."""
        self._models.note_training(begun_ms)

    def _look(self) -> Detector | None:
        current = self._models.current()
        if current is None:
            return None
        for version in (current, *self._models.versions()):
            if version in self._unusable:
                continue
            try:
                return self.detector(version)
            except ModelInvalid as error:
                self._unusable.add(version)
                self._log.error("model not usable", model=version, reason=str(error))
        return None
