"""The network: a 1-D convolutional variational autoencoder over windows, in one file.

Encoder: strided convolutions over time -> (mu, log variance) of a diagonal Gaussian latent. Decoder: the mirror image,
nearest-neighbour upsampling before each convolution (transposed convolutions leave a checkerboard of period 2 in the
reconstruction). Trained by maximising the evidence lower bound of Kingma & Welling 2014 (arXiv:1312.6114) in the
masked form of Donut (Xu et al., WWW 2018, "M-ELBO"): cells that were not observed count neither in the reconstruction
nor, by their share, in the KL term.

The likelihood is Gaussian with ONE learned log variance per channel. A variance per cell would let the model explain an
anomaly away as noise, which costs detection quality.

Scaling, scoring and fitting are elsewhere (scaling.py, scorer.py, fitting/fit.py).
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from monitor.core.model.architecture import Architecture
from monitor.core.model.model import Model


class Doubling(nn.Conv1d):
    """Nearest-neighbour upsampling by 2, then a convolution (odd kernel): (B, L, hidden) -> (B, 2 L, hidden).

    Every input step meets two neighbouring taps of the kernel. So the even and the odd steps of the output are each a
    convolution over the input, with about half as many taps. Both are computed at once, with 0.6 of the
    multiplications at a kernel of 5. With channels last, their outputs are already in the order of the steps.
    """

    def __init__(self, hidden: int, kernel: int) -> None:
        super().__init__(hidden, hidden, kernel)
        half = kernel // 2
        self.reach = (half + 1) // 2  # input steps before and after its own that an output step depends on
        steps = range(-self.reach, self.reach + 1)
        # Taps [first, last) of the kernel that meet input step `step` at an even (0) and at an odd (1) output step.
        self.taps = [[_within(2 * step - odd + half, kernel) for step in steps] for odd in (0, 1)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of upsampled x, with zeros beyond both ends."""
        B, L, hidden = x.shape
        weight = self.both().contiguous(memory_format=torch.channels_last)
        assert self.bias is not None, "made with one above"

        image = x.view(B, 1, L, hidden).permute(0, 3, 1, 2)  # torch has channels last for images only: of height 1
        both = nn.functional.conv2d(image, weight, self.bias.repeat(2), padding=(0, self.reach))
        return both.permute(0, 2, 3, 1).reshape(B, 2 * L, hidden)

    def both(self) -> Tensor:
        """Return the weights of the even and of the odd steps (2 hidden, hidden, 1, taps)."""
        phases = [torch.stack([self.weight[:, :, first:last].sum(2) for first, last in taps], 2) for taps in self.taps]
        return torch.cat(phases)[:, :, None]


def _within(first: int, kernel: int) -> tuple[int, int]:
    """Return the part of the two taps from `first` on that is within the kernel."""
    return max(first, 0), max(min(first + 2, kernel), 0)


class VAE(nn.Module):
    """1-D convolutional variational autoencoder; x (B, C, L) in scaled units, observed (B, C, L) bool."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        widths = [a.channels + 1] + [a.hidden] * a.layers  # + 1: share of channels missing at each step
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in pairwise(widths):
            down += [nn.Conv1d(before, after, a.kernel, stride=2, padding=a.kernel // 2), nn.GELU()]
            up += [Doubling(a.hidden, a.kernel), nn.GELU()]

        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mu = nn.Linear(a.hidden * a.shortest, a.latent)
        self.log_variance = nn.Linear(a.hidden * a.shortest, a.latent)
        self.widen = nn.Linear(a.latent, a.hidden * a.shortest)
        self.decoder = nn.Sequential(*up)
        self.reading = nn.Conv1d(a.hidden, a.channels, 1)
        self.noise = nn.Parameter(torch.zeros(a.channels))  # log variance of each channel's likelihood

        # He et al. 2015 (arXiv:1502.01852). torch's default shrinks the signal by sqrt(3) in each layer; with it, an
        # oscillation of unknown phase in one of eight channels was never learned (docs/model.md).
        for part in self.modules():
            if isinstance(part, nn.Conv1d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    @classmethod
    def of(cls, model: Model) -> "VAE":
        """Return the network of a model, with the model's weights and in evaluation mode."""
        # On "meta", weights that are replaced at once take no memory and draw no random numbers.
        with torch.device("meta"):
            network = cls(model.architecture)

        tensors = {name: torch.from_numpy(np.array(value)) for name, value in model.weights.items()}
        network.load_state_dict(tensors, assign=True)
        return network.eval()

    def encode(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latent, each (B, latent). Cells without a value hold 0 in `x`."""
        missing = 1 - observed.to(x.dtype).mean(1, keepdim=True)  # (B, 1, L)
        features = self.encoder(torch.cat([x, missing], 1))  # (B, hidden * L / 2**layers)
        return self.mu(features), self.log_variance(features).clamp(-8, 4)  # a variance below e-8 only costs precision

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstruction (B, C, L) of latent z (B, latent)."""
        a = self.architecture
        features: Tensor = nn.functional.gelu(self.widen(z))
        features = features.view(-1, a.hidden, a.shortest).transpose(1, 2).contiguous()
        steps: Tensor = self.decoder(features)  # (B, L, hidden)

        weight, bias = self.reading.weight[:, :, 0], self.reading.bias
        assert bias is not None, "made with one above"
        return torch.baddbmm(bias[None, :, None], weight.expand(len(z), -1, -1), steps.transpose(1, 2))

    def loss(self, x: Tensor, observed: Tensor, kl_weight: float, generator: torch.Generator) -> Tensor:
        """Return the negative masked evidence lower bound per cell and window, (B,).

        Reconstruction: Gaussian negative log-likelihood over observed cells. KL: closed form against N(0, I)
        (Kingma & Welling 2014, appendix B), scaled by the share of cells observed (Donut, equation 3).
        """
        mu, log_variance = self.encode(x, observed)
        epsilon = torch.randn(mu.shape, generator=generator)
        reconstruction = self.decode(mu + epsilon * torch.exp(0.5 * log_variance))

        # The noise is one number per channel, so it comes after the sum over steps.
        noise = self.noise.clamp(-6, 3)  # e-6: a constant channel must not swallow the whole loss
        seen = observed.to(x.dtype)
        squared = ((x - reconstruction) ** 2 * seen).sum(2)  # (B, C)
        likelihood = 0.5 * (squared * torch.exp(-noise) + seen.sum(2) * (noise + math.log(2 * math.pi)))

        divergence = 0.5 * (mu**2 + log_variance.exp() - 1 - log_variance).sum(1)
        cells = x.shape[1] * x.shape[2]
        return (likelihood.sum(1) + kl_weight * seen.mean((1, 2)) * divergence) / cells
