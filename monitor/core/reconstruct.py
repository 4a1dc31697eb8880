"""The network as scoring uses it: windows in, what the mean of their latent says they should be out.

`VAE.encode` and `VAE.decode` are written for training, which needs gradients of the weights as they are kept. This is
the same arithmetic on the same weights, laid out once per model instead of once per batch: channels last from the input
to the last layer, both halves of a `Doubling` in one weight, and no log variance, which only training draws from. A
test holds the two together. Of the 64 x 8 windows of a default model it takes 0.75 of the time.

What a window gives does not depend on which windows share its batch: batches are padded to a multiple of PAD, below
which the matrix kernels round differently (measured: 9e-8), and replay after a crash needs the same bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, linear

from monitor.core.records import Bools, Floats
from monitor.core.vae import VAE, Architecture, Doubling

PAD = 16
BATCH = 256  # windows per forward pass: 64 steps x 32 hidden channels x 256 stay within a core's cache

_Layer = tuple[Tensor, Tensor]  # weight, bias


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A network for `reconstruct`; later changes of the network do not reach it."""

    architecture: Architecture
    down: tuple[_Layer, ...]  # (hidden, channels before, 1, kernel), channels last
    mu: _Layer  # (latent, steps * hidden)
    widen: _Layer  # (steps * hidden, latent)
    up: tuple[_Layer, ...]  # (2 hidden, hidden, 1, taps), channels last
    reading: _Layer  # (1, C, hidden), (1, C, 1)

    @classmethod
    def of(cls, network: VAE) -> "Reconstruction":
        """From the weights as they are now."""
        a = network.architecture
        with torch.no_grad():
            # The network flattens features as (hidden, steps), here they lie as (steps, hidden).
            mu = network.mu.weight.view(a.latent, a.hidden, -1).transpose(1, 2).reshape(a.latent, -1)
            wide, bias = (
                tensor.view(a.hidden, network.shortest, -1).transpose(0, 1).reshape(a.hidden * network.shortest, -1)
                for tensor in (network.widen.weight, network.widen.bias)
            )
            return cls(
                a,
                tuple(
                    (_image(part.weight[:, :, None]), _bias(part).clone())
                    for part in network.encoder
                    if isinstance(part, nn.Conv1d)
                ),
                (mu.contiguous(), network.mu.bias.clone()),
                (wide.contiguous(), bias[:, 0].contiguous()),
                tuple(
                    (_image(part.both()), _bias(part).repeat(2))
                    for part in network.decoder
                    if isinstance(part, Doubling)
                ),
                (network.reading.weight[None, :, :, 0].clone(), _bias(network.reading)[None, :, None].clone()),
            )

    def reconstruct(self, x: Floats, observed: Bools) -> Floats:
        """Windows x (B, C, L) in scaled units, 0 where not observed -> what they should be (B, C, L)."""
        B, C, L = x.shape
        result = np.empty_like(x)
        whole = bool(observed.all())
        with torch.inference_mode():
            for start in range(0, B, BATCH):
                part = x[start : start + BATCH]
                n = len(part)
                steps = np.zeros((-(-n // PAD) * PAD, 1, L, C + 1), np.float32)
                steps[:n, 0, :, :C] = part.transpose(0, 2, 1)
                steps[n:, 0, :, C] = 1
                if not whole:
                    steps[:n, 0, :, C] = 1 - observed[start : start + BATCH].mean(1, dtype=np.float32)
                result[start : start + BATCH] = self._forward(torch.from_numpy(steps))[:n].numpy()
        return result

    def _forward(self, steps: Tensor) -> Tensor:
        """Steps (B, 1, L, C + 1), of which the last column is the share of channels missing -> (B, C, L)."""
        a, B = self.architecture, len(steps)
        features = steps.permute(0, 3, 1, 2)  # torch has channels last for images only: of height 1
        for weight, bias in self.down:
            features = gelu(conv2d(features, weight, bias, stride=(1, 2), padding=(0, a.kernel // 2)))
        z = linear(features.permute(0, 2, 3, 1).reshape(B, -1), *self.mu)
        features = gelu(linear(z, *self.widen)).view(B, 1, -1, a.hidden)
        for weight, bias in self.up:
            both = gelu(conv2d(features.permute(0, 3, 1, 2), weight, bias, padding=(0, weight.shape[3] // 2)))
            features = both.permute(0, 2, 3, 1).reshape(B, 1, -1, a.hidden)
        weight, bias = self.reading
        return torch.baddbmm(bias, weight.expand(B, -1, -1), features[:, 0].transpose(1, 2))


def _image(weight: Tensor) -> Tensor:
    """A weight (out, in, 1, taps) with channels last, as a copy."""
    return weight.detach().clone(memory_format=torch.channels_last)


def _bias(part: nn.Conv1d) -> Tensor:
    assert part.bias is not None, "the network is made with them"
    return part.bias
