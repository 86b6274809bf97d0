"""Training methods: a module that joins augmentation, encoder, head and loss, and whose forward returns the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoders import projection_head


class Supervised(nn.Module):
    """Classification with labels: one linear layer on the encoder's features, trained by cross-entropy.

    augment: a module on images [B, C, H, W] in [0, 1], or None. Multi-label targets get binary cross-entropy.
    """

    name = "supervised"

    def __init__(self, encoder: nn.Module, num_classes: int, *, augment: nn.Module | None = None):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, got {num_classes}")
        self.encoder = encoder
        self.head = projection_head(encoder.feature_dim, num_classes, kind="linear")
        self.augment = augment if augment is not None else nn.Identity()

    def logits(self, images: Tensor) -> Tensor:
        """Class scores [B, num_classes] of images in [0, 1], without augmentation."""
        return self.head(self.encoder(images))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean loss (a scalar) of one batch; labels: int64 [B], or float [B, num_classes] for multi-label."""
        if labels is None:
            raise ValueError("supervised training needs labels")
        logits = self.logits(self.augment(images)).float()  # [B, num_classes]
        if labels.is_floating_point():
            return F.binary_cross_entropy_with_logits(logits, labels)
        return F.cross_entropy(logits, labels)


class RotationPrediction(nn.Module):
    """Predict by which of 0, 90, 180, 270 degrees an image was turned (RotNet, Gidaris et al. 2018, Section 3.1).

    Every image of the batch is seen in all four rotations, as in the paper, so the labels are free and balanced.
    """

    name = "rotation"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module | None = None):
        super().__init__()
        self.encoder = encoder
        self.head = projection_head(encoder.feature_dim, 4, kind="linear")
        self.augment = augment if augment is not None else nn.Identity()

    def logits(self, images: Tensor) -> Tensor:
        """Scores [B, 4] of the four rotations (quarter turns counter-clockwise) of images in [0, 1]."""
        return self.head(self.encoder(images))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean cross-entropy (a scalar) over all four rotations of one batch; class labels are not looked at."""
        turned = all_rotations(self.augment(images))  # [4B, C, H, W]
        turns = torch.arange(4, device=images.device).repeat_interleave(len(images))  # [4B]
        return F.cross_entropy(self.logits(turned).float(), turns)


def all_rotations(images: Tensor) -> Tensor:
    """The batch [B, C, H, W] turned counter-clockwise by 0, 90, 180, 270 degrees, stacked: [4B, C, H, W]."""
    if images.shape[-1] != images.shape[-2]:
        raise ValueError(f"quarter turns need square images, got {list(images.shape)}")
    return torch.cat([images.rot90(turns, dims=(2, 3)) for turns in range(4)])
