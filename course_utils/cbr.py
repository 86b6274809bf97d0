"""The CBR family: the small networks of Transfusion (Raghu et al. 2019, Section 3 and Appendix A.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize

# Kernel side, channels of the blocks, and after how many of them (from the first) a max-pool follows. Tiny: the
# paper's text says 64-128-256-512, which makes 4.3 million parameters; its Table 1 says 1,076,480, which is 32-…-256.
MEMBERS = {"large_t": (7, (32, 64, 128, 256, 512), 4), "large_w": (7, (64, 128, 256, 512), 4),
           "small": (7, (32, 64, 128, 256), 4), "tiny": (5, (32, 64, 128, 256), 4)}


def block(in_channels: int, out_channels: int, kernel: int, pool: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU and, if asked for, max-pool: [B, in_channels, H, W] -> [B, out_channels, H', W']."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    layers = [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))


class CBR(nn.Module):
    """Blocks of convolution, BatchNorm and ReLU, most with a max-pool behind them, then a global average pool.

    x: float [B, in_channels, H, W] in [0, 1], H and W from 16 px -> [B, D] with D = channels[-1]. kernel: side of all
    filters, odd; "same" padding, for without it 7×7 filters run out of pixels below 90 px. pools: how many blocks are
    followed by a 3×3 max-pool with stride 2. Convolutions have no bias: the BatchNorm behind them would undo it.
    """

    def __init__(self, kernel: int, channels: Sequence[int], pools: int, *, in_channels: int = 3):
        super().__init__()
        grey = [sum(values) / 3 for values in (IMAGENET_MEAN, IMAGENET_STD)]
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if in_channels == 3 else ([v] * in_channels for v in grey)
        self.normalize = Normalize(mean, std)
        self.feature_dim = channels[-1]
        for i, width in enumerate(channels):
            self.add_module(f"block{i + 1}", block(in_channels, width, kernel, pool=i < pools))
            in_channels = width

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps [B, C, h, w] after each block, its max-pool included."""
        x, maps = self.normalize(x), {}
        for name, block in self.named_children():
            if name != "normalize":
                x = maps[name.replace("block", "stage")] = block(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return list(self.stages(x).values())[-1].mean(dim=(2, 3))  # [B, D]


def cbr(name: str, in_channels: int = 3) -> CBR:
    """A CBR of the paper with random weights: "large_t", "large_w", "small" or "tiny".

    Parameters as in the paper's Table 1 (which counts no classifier), to within 0.3 %: 8.5, 8.4, 2.1 and 1.1 million;
    D = 512, 512, 256 and 256. Raises ValueError for another name.
    """
    if name not in MEMBERS:
        raise ValueError(f"unknown CBR {name!r}; there are: {', '.join(MEMBERS)}")
    encoder = CBR(*MEMBERS[name], in_channels=in_channels)
    encoder.config = {"name": f"cbr_{name}", "in_channels": in_channels}
    return encoder
