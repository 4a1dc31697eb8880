"""The network as it scores: windows in, their reconstruction from the mean of the latent out.

`VAE.encode` and `VAE.decode` are written for training, which needs gradients of the weights as they are stored. This is
the same arithmetic on the same weights, laid out once per model instead of once per batch: channels last from the input
to the last layer, both halves of a `Doubling` in one weight, and no log variance, which only training draws from. A
test compares the two. Where torch has oneDNN, a convolution and its GELU are computed in one operator, with the weights
in oneDNN's own order. torch keeps these operators for its compiler (docs/decisions/0008-forward.md says why they are
used, and how a torch without them is noticed).

A window's reconstruction does not depend on which windows share its batch: batches are padded to a multiple of PAD,
below which the matrix kernels round differently (measured: 9e-8), and replay after a crash needs the same bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, linear

from monitor.core.model.architecture import Architecture
from monitor.core.model.vae import VAE, Doubling
from monitor.core.records import Bools, Floats

# Whether torch has oneDNN (on x86-64 and ARM it has), and in it the operators that compute both in one.
ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
FUSED = ONEDNN and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
PAD = 16
BATCH = 256  # windows per forward pass: 64 steps x 32 hidden channels x 256 stay within a core's cache

_Layer = tuple[Tensor, Tensor]  # weight, bias


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A network laid out for `reconstruct`. Later changes of the network do not reach it."""

    architecture: Architecture
    down: tuple[_Layer, ...]  # (hidden, channels before, 1, kernel), channels last
    mu: _Layer  # (latent, steps * hidden)
    widen: _Layer  # (steps * hidden, latent)
    up: tuple[_Layer, ...]  # (2 hidden, hidden, 1, taps), channels last
    reading: _Layer  # (1, C, hidden), (1, C, 1)

    @classmethod
    def of(cls, network: VAE, *, fused: bool = FUSED) -> "Reconstruction":
        """Return the layout of a network's weights as they are now; `fused` as FUSED."""
        a = network.architecture
        with torch.no_grad():
            # The network flattens features as (hidden, steps). Here they are (steps, hidden).
            mu = network.mu.weight.view(a.latent, a.hidden, -1).transpose(1, 2).reshape(a.latent, -1)
            wide, bias = (
                tensor.view(a.hidden, a.shortest, -1).transpose(0, 1).reshape(a.hidden * a.shortest, -1)
                for tensor in (network.widen.weight, network.widen.bias)
            )

            down = tuple(
                (_image(part.weight[:, :, None], 2, fused), _bias(part).clone())
                for part in network.encoder
                if isinstance(part, nn.Conv1d)
            )
            up = tuple(
                (_image(part.both(), 1, fused), _bias(part).repeat(2))
                for part in network.decoder
                if isinstance(part, Doubling)
            )
            return cls(
                a,
                down,
                (mu.contiguous(), network.mu.bias.clone()),
                (wide.contiguous(), bias[:, 0].contiguous()),
                up,
                (network.reading.weight[None, :, :, 0].clone(), _bias(network.reading)[None, :, None].clone()),
            )

    def reconstruct(self, x: Floats, observed: Bools) -> Floats:
        """Return the reconstruction (B, C, L) of windows x (B, C, L), in scaled units; x is 0 where not observed."""
        return self.reconstruct_latent(x, observed)[0]

    def reconstruct_latent(self, x: Floats, observed: Bools) -> tuple[Floats, Floats]:
        """Return the reconstruction as `reconstruct`, and the mean of the latent (B, latent)."""
        B, C, L = x.shape
        result, means = np.empty_like(x), np.empty((B, self.architecture.latent), np.float32)
        whole = bool(observed.all())
        with torch.inference_mode():
            for start in range(0, B, BATCH):
                part = x[start : start + BATCH]
                n = len(part)

                # The last column is the share of channels missing at each step, 1 in the padding.
                steps = np.zeros((-(-n // PAD) * PAD, 1, L, C + 1), np.float32)
                steps[:n, 0, :, :C] = part.transpose(0, 2, 1)
                steps[n:, 0, :, C] = 1
                if not whole:
                    steps[:n, 0, :, C] = 1 - observed[start : start + BATCH].mean(1, dtype=np.float32)

                windows, z = self._forward(torch.from_numpy(steps))
                result[start : start + BATCH] = windows[:n].numpy()
                means[start : start + BATCH] = z[:n].numpy()
        return result, means

    def _forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows (B, C, L), and the latent means that they come from, for steps (B, 1, L, C + 1)."""
        a, B = self.architecture, len(steps)
        features = steps.permute(0, 3, 1, 2)  # torch has channels last for images only: of height 1
        for layer in self.down:
            features = _convolved(features, layer, stride=2)

        z = linear(features.permute(0, 2, 3, 1).reshape(B, -1), *self.mu)
        features = gelu(linear(z, *self.widen)).view(B, 1, -1, a.hidden)

        for layer in self.up:
            both = _convolved(features.permute(0, 3, 1, 2), layer, stride=1)
            features = both.permute(0, 2, 3, 1).reshape(B, 1, -1, a.hidden)

        weight, bias = self.reading
        return torch.baddbmm(bias, weight.expand(B, -1, -1), features[:, 0].transpose(1, 2)), z


def _image(weight: Tensor, stride: int, fused: bool) -> Tensor:
    """Return a copy of a weight (out, in, 1, taps) with channels last, or in oneDNN's own order."""
    copy = weight.detach().clone(memory_format=torch.channels_last)
    if not fused:
        return copy

    padding, size = [0, weight.shape[3] // 2], [BATCH, weight.shape[1], 1, 64]  # of an input; it may have another one
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(copy, padding, [1, stride], [1, 1], 1, size)  # noqa: SLF001
    return packed


def _convolved(features: Tensor, layer: _Layer, *, stride: int) -> Tensor:
    """Return convolution and GELU: features (B, channels, 1, steps) -> (B, channels, 1, steps / stride)."""
    weight, bias = layer
    half = weight.shape[3] // 2
    if not weight.is_mkldnn:
        return gelu(conv2d(features, weight, bias, stride=(1, stride), padding=(0, half)))

    fused = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - see the head of this file
    result: Tensor = fused(features, weight, bias, [0, half], [1, stride], [1, 1], 1, "gelu", [], "none")
    return result


def _bias(part: nn.Conv1d) -> Tensor:
    assert part.bias is not None, "the network is made with them"
    return part.bias
