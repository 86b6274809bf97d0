"""BatchNorm for contrastive learning: statistics of parts of the batch, and passes that leave no trace."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class SplitBatchNorm(_BatchNorm):
    """BatchNorm of `pieces` equal parts of the batch, each by its own statistics, as if each were on a GPU of its own.

    x: [B, C] or [B, C, H, W]. The running statistics take the mean of the pieces' own, as in the CIFAR notebook of
    MoCo's authors; in eval mode it is the layer that it was made from. Made by `convert`. Raises ValueError, in train
    mode, where the pieces would not be equal.
    """

    def __init__(self, layer: _BatchNorm, pieces: int):
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        if not (layer.affine and layer.track_running_stats and layer.momentum):
            raise ValueError(f"needs weights, running statistics and a momentum to split {layer}")
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked, self.pieces = layer.num_batches_tracked, pieces
        self.train(layer.training)

    @classmethod
    def convert(cls, module: nn.Module, pieces: int) -> nn.Module:
        """`module`, with every BatchNorm1d and BatchNorm2d in it replaced in place; they keep their parameters."""
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            return cls(module, pieces)
        for name, child in module.named_children():
            setattr(module, name, cls.convert(child, pieces))
        return module

    def _check_input_dim(self, x: Tensor) -> None:
        pass  # F.batch_norm takes both

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, pieces={self.pieces}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        if len(x) % self.pieces:
            raise ValueError(f"split_bn={self.pieces} needs batches of a multiple of {self.pieces} images, "
                             f"got {len(x)}")
        # One BatchNorm of a small batch with many channels: channel c of piece g is channel (g, c).
        wide = torch.cat(x.chunk(self.pieces), dim=1)  # [B/pieces, pieces·C, …]
        mean, var = (running.new_zeros(wide.shape[1]) for running in (self.running_mean, self.running_var))
        weight, bias = self.weight.repeat(self.pieces), self.bias.repeat(self.pieces)
        wide = F.batch_norm(wide, mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps)
        for running, own in ((self.running_mean, mean), (self.running_var, var)):  # own: by its momentum, of this batch
            running.lerp_(own.view(self.pieces, -1).mean(dim=0), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return torch.cat(wide.chunk(self.pieces, dim=1))  # [B, C, …]


class StatisticsKept:
    """A context in which BatchNorm uses its batch's statistics, as ever in train mode, but does not record them.

    A class, since `checkpoint` enters one context for every backward through the same piece.
    """

    def __init__(self, module: nn.Module):
        self.layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]

    def __enter__(self) -> None:
        self.before = [(layer.momentum, layer.num_batches_tracked) for layer in self.layers]
        for layer in self.layers:
            layer.momentum, layer.num_batches_tracked = 0.0, None

    def __exit__(self, *_) -> None:
        for layer, (momentum, count) in zip(self.layers, self.before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
