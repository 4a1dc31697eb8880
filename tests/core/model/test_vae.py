"""The network's own parts."""

import pytest
import torch
from torch import nn

from monitor.core.model.vae import Doubling


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
def test_doubling_is_upsampling_and_a_convolution(kernel: int) -> None:
    """`Doubling` gives what torch's own upsampling and convolution give one after the other, gradients too."""
    doubling = Doubling(4, kernel)
    plain = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(4, 4, kernel, padding=kernel // 2))
    plain[1].load_state_dict(doubling.state_dict())
    x = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    one, two = doubling(x), plain(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(one, two)
    (one**2).sum().backward()
    (two**2).sum().backward()
    torch.testing.assert_close(doubling.weight.grad, plain[1].weight.grad)
