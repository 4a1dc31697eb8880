"""Models as they are stored: what is checked without the network."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from monitor.core.model.architecture import Architecture
from monitor.core.model.model import Model
from monitor.core.model.vae import VAE
from tests.core.machines import model


@pytest.mark.parametrize("sizes", [(1, 4, 2, 1, 2, 1), (8, 64, 32, 12, 3, 5), (38, 32, 16, 4, 1, 7)])
def test_weights_have_the_shapes_of_the_network(sizes: tuple[int, ...]) -> None:
    """The shapes that an architecture names are those of the network's parameters, for every size."""
    architecture = Architecture(*sizes)
    network = VAE(architecture)
    assert architecture.weight_shapes() == {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("change", "culprit", "found"),
    [
        ({"noise": None}, "noise", "missing"),
        ({"other": np.zeros(1, np.float32)}, "other", "unknown"),
        ({"mu.bias": np.zeros(7, np.float32)}, "mu.bias", "(7,)"),
        ({"mu.bias": np.zeros(3, np.float64)}, "mu.bias", "float64"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, np.ndarray | None], culprit: str, found: str) -> None:
    """A weight that is missing, unknown, misshapen or no float32 is named, with what was found."""
    weights = {**model().weights, **change}
    made = replace(model(), weights={name: value for name, value in weights.items() if value is not None})
    with pytest.raises(ValueError, match="m-") as refused:
        Model.unpack("m-1", *made.pack())
    assert culprit in str(refused.value)
    assert found in str(refused.value)


def test_a_model_is_read_without_torch() -> None:
    """Neither models, recipes nor the store of models import torch, which costs a second."""
    modules = "monitor.core.model.model, monitor.core.fitting.recipe, monitor.store.models"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert asked.stdout == "False\n"
