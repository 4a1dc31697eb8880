"""Sizes of the network, which determine the shape of every weight. Known without torch, so that settings can check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """What determines the shape of every weight.

    Raises ValueError (from `__post_init__`) where the numbers do not fit together.
    """

    channels: int  # C
    length: int = 64  # L: 64 steps found slow faults better than 32 at the same cost per step; 32..256
    hidden: int = 32  # width of every convolution; 16..64
    latent: int = 12  # size of the bottleneck; 4..16. Larger copies the input, anomalies included
    layers: int = 3  # each halves the time axis; 2..4
    kernel: int = 5  # odd, in steps; 3..7

    def __post_init__(self) -> None:
        if min(self.channels, self.length, self.hidden, self.latent, self.layers, self.kernel) < 1:
            raise ValueError(f"every size must be at least 1: {self}")
        if self.length % 2**self.layers:
            raise ValueError(f"length {self.length} is not divisible by 2**layers = {2**self.layers}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is even; the output would be shifted by half a step")

    @property
    def shortest(self) -> int:
        """Return how many steps of a window are left after the last layer of the encoder."""
        steps: int = self.length // 2**self.layers
        return steps

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by its name in `vae.VAE`. A test compares the two."""
        shapes: dict[str, tuple[int, ...]] = {}

        def layer(name: str, *weight: int) -> None:
            shapes[f"{name}.weight"] = weight
            shapes[f"{name}.bias"] = weight[:1]

        # Every second part of encoder and decoder is a GELU, which has no weights.
        for number in range(self.layers):
            width = self.hidden if number else self.channels + 1
            layer(f"encoder.{2 * number}", self.hidden, width, self.kernel)
            layer(f"decoder.{2 * number}", self.hidden, self.hidden, self.kernel)

        features = self.hidden * self.shortest
        layer("mu", self.latent, features)
        layer("log_variance", self.latent, features)
        layer("widen", features, self.latent)

        layer("reading", self.channels, self.hidden, 1)
        shapes["noise"] = (self.channels,)
        return shapes
