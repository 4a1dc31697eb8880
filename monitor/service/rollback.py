"""`monitor rollback`: the previous model back in use. Apart from training, since it needs no torch."""

from monitor.observe.metrics import Metrics
from monitor.service.backends import make_blobs, make_models
from monitor.settings.tree import Settings
from monitor.store.models import ModelInvalid


def roll_back(settings: Settings) -> str:
    """Return the version in use from now on. Raises ValueError if there is no earlier one, StoreUnavailable."""
    try:
        return make_models(settings, make_blobs(settings), Metrics()).rollback()
    except ModelInvalid as error:
        raise ValueError(str(error)) from error
