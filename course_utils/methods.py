"""Training methods: a module that joins augmentation, encoder, head and loss, and whose forward returns the loss."""

from __future__ import annotations

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
