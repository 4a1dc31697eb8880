"""The network as scoring uses it, against the network as it is trained."""

import numpy as np
import pytest
import torch

from monitor.core.model.architecture import Architecture
from monitor.core.model.forward import BATCH, FUSED, ONEDNN, Reconstruction
from monitor.core.model.vae import VAE

SHAPES = [
    Architecture(8),
    Architecture(1, length=16, hidden=4, latent=1, layers=1, kernel=1),
    Architecture(3, length=32, hidden=8, latent=3, layers=2, kernel=3),
    Architecture(38, length=64, hidden=24, latent=6, layers=4, kernel=7),
]


def network(architecture: Architecture) -> VAE:
    """A network in which no weight is 0, as biases are at first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = VAE(architecture).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def windows(architecture: Architecture, count: int, missing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Windows (count, C, L) with a share of cells not observed."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(count, architecture.channels, architecture.length)).astype(np.float32)
    observed = draw.random(x.shape) >= missing
    x[~observed] = 0
    return x, observed


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("fused", {False, FUSED})
def test_it_is_the_network_at_the_mean_of_the_latent(architecture: Architecture, missing: float, fused: bool) -> None:
    """Scoring reconstructs what the module does from the latent's mean, to 1e-5, for any architecture."""
    made = network(architecture)
    x, observed = windows(architecture, 50, missing)
    with torch.inference_mode():
        mu, _ = made.encode(torch.from_numpy(x), torch.from_numpy(observed))
        expected = made.decode(mu).numpy()
    found = Reconstruction.of(made, fused=fused).reconstruct(x, observed)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("fused", {False, FUSED})
def test_a_window_is_reconstructed_the_same_in_any_company(architecture: Architecture, fused: bool) -> None:
    """Bit for bit, whatever the size of the batch and wherever in it the window stands."""
    made = Reconstruction.of(network(architecture), fused=fused)
    x, observed = windows(architecture, 2 * BATCH + 90)
    whole = made.reconstruct(x, observed)
    for begin, end in ((0, 1), (7, 40), (100, 316), (BATCH - 3, len(x)), (len(x) - 1, len(x))):
        assert np.array_equal(made.reconstruct(x[begin:end], observed[begin:end]), whole[begin:end])


@pytest.mark.skipif(not ONEDNN, reason="this torch is built without oneDNN")
def test_torch_has_the_operators_that_scoring_uses() -> None:
    """A torch that has taken the fused operators away, or changed their weights' layout, is noticed at the upgrade."""
    assert FUSED, f"torch {torch.__version__} has no fused operators: scoring falls back to slower ones"
    made = Reconstruction.of(network(SHAPES[0]))
    assert all(weight.is_mkldnn for weight, _ in (*made.down, *made.up))


def test_no_window_no_reconstruction() -> None:
    """An empty batch gives an empty one."""
    x, observed = windows(SHAPES[0], 0)
    assert Reconstruction.of(network(SHAPES[0])).reconstruct(x, observed).shape == (0, 8, 64)


def test_it_keeps_the_weights_it_was_made_of() -> None:
    """Training on does not change what scores by an earlier state of the same network."""
    made = network(SHAPES[2])
    x, observed = windows(SHAPES[2], 5)
    taken = Reconstruction.of(made)
    before = taken.reconstruct(x, observed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert np.array_equal(taken.reconstruct(x, observed), before)
