"""The parts that the kinds of alerts share: a lifecycle that the pipeline can ask, save and load."""

from monitor.core.alerts.lifecycle import Lifecycle
from monitor.core.records import Alert, State
from monitor.core.state import Columns, unfit

_ALERTS = "alerts"  # the array of a lifecycle's state


class AlertStage:
    """Alerts of one kind in one partition, decided by windows: the state is that of their lifecycle."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    @property
    def suppressed(self) -> dict[str, int]:
        """How many pending alerts were dropped, by reason."""
        return self._lifecycle.suppressed

    def open_alerts(self) -> list[Alert]:
        """Return the record published last of every firing and adapted alert. A restart publishes them again."""
        return self._lifecycle.open_alerts()

    def states(self) -> dict[int, str]:
        """Return "adapted", "pending" or "firing" by asset row, the most urgent; normal assets are left out."""
        return self._lifecycle.states()

    def end(self, row: int, end: int, position: int) -> list[Alert]:
        """End all alerts of a row whose asset is off, as of time `end`, ms UTC. Return the records."""
        return self._lifecycle.end(row, end, position)

    def forget(self, row: int) -> None:
        """Clear the row, which has no firing or adapted alert. It is reused for another asset."""
        self._lifecycle.clear(row)

    def save_state(self) -> State:
        """Return the state as arrays, for `load_state`."""
        return self._lifecycle.save_state()

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        self._lifecycle.load_state(state)


def load_with_columns(name: str, state: State, columns: Columns, lifecycle: Lifecycle) -> None:
    """Load the columns and the alerts of a stage that has both. Raises ValueError, and changes nothing, if they differ.

    `name` is the stage's, for messages.
    """
    own = {key: array for key, array in state.items() if key != _ALERTS}
    sizes = columns.check(own)
    lifecycle.load_state({key: array for key, array in state.items() if key == _ALERTS})
    rows = lifecycle.rows()
    if (rows >= sizes["A"]).any():
        raise unfit(name, _ALERTS, f"of row {rows.max()}", f"of rows below {sizes['A']}")
    columns.load(own)
