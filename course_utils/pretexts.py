"""Other pretext tasks of the lecture's discussion, beside rotation prediction: jigsaw and masked patches.

Each is a method as in `methods` (an encoder, a head, a forward that returns the loss) and fits a screen; notebook 04
writes both out. Labels come from the images themselves.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import crop_resize
from .encoders import projection_head

PERMUTATIONS = torch.tensor(list(itertools.permutations(range(4))))  # [24, 4]


def shuffle_tiles(images: Tensor, order: Tensor) -> Tensor:
    """Cut images [B, C, H, W] into 2×2 tiles and put tile order[b, i] in place i; order: int64 [B, 4]; H, W even."""
    b, c, h, w = images.shape
    tiles = images.reshape(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B, 4, C, h/2, w/2]
    tiles = tiles[torch.arange(b, device=images.device)[:, None], order]
    return tiles.unflatten(1, (2, 2)).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


class Jigsaw(nn.Module):
    """Which of the 24 orders were the image's four tiles put into? (After Noroozi & Favaro 2016.)

    Each tile is first cut at random and stretched back, so that lines running on across a border do not give the
    answer away. augment: a module on images [B, C, H, W] in [0, 1], or None.
    """

    name = "jigsaw"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module | None = None):
        super().__init__()
        self.encoder = encoder
        self.head = projection_head(encoder.feature_dim, len(PERMUTATIONS), kind="linear")
        self.augment = augment if augment is not None else nn.Identity()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean cross-entropy (a scalar) of one batch; class labels are not looked at."""
        answer = torch.randint(len(PERMUTATIONS), (len(images),), device=images.device)  # [B]
        puzzle = shuffle_tiles(self.augment(images), PERMUTATIONS.to(images.device)[answer])
        return F.cross_entropy(self.head(self.encoder(cut_tiles(puzzle))).float(), answer)


def cut_tiles(images: Tensor, gap: float = 0.25) -> Tensor:
    """Cut the fraction `gap` off each of the 2×2 tiles at a random place and stretch it back to its size."""
    b, c, h, w = images.shape
    side = torch.tensor([h // 2, w // 2], device=images.device)
    tiles = images.unfold(2, h // 2, h // 2).unfold(3, w // 2, w // 2)  # [B, C, 2, 2, h/2, w/2]
    tiles = tiles.permute(0, 2, 3, 1, 4, 5).reshape(4 * b, c, h // 2, w // 2)
    kept = ((1 - gap) * side).expand(4 * b, 2)
    corner = torch.rand(4 * b, 2, device=images.device) * (side - kept)
    tiles = crop_resize(tiles, torch.cat([corner, kept], dim=1), (h // 2, w // 2))
    return tiles.view(b, 2, 2, c, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


class MaskedPatches(nn.Module):
    """Guess the pixels of patches that were painted grey (a convolutional cousin of MAE, He et al. 2022).

    augment: a module on images [B, C, H, W] in [0, 1], or None. patch: side of a patch in pixels; share: how many of
    them are hidden. cell: image pixels to a cell of the encoder's last map; the head is one linear layer for each cell.
    """

    name = "masked"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module | None = None, patch: int = 4, share: float = 0.5,
                 cell: int = 16):
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.encoder, self.patch, self.share = encoder, patch, share
        self.head = nn.Sequential(nn.Conv2d(encoder.feature_dim, 3 * cell**2, 1), nn.PixelShuffle(cell))
        self.augment = augment if augment is not None else nn.Identity()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean squared error (a scalar) over the hidden pixels of one batch; class labels are not looked at."""
        x = self.augment(images)
        hidden = patch_mask(x, self.patch, self.share)  # [B, 1, H, W]
        *_, last_map = self.encoder.stages(torch.where(hidden, 0.5, x)).values()  # [B, D, h, w]
        error = (self.head(last_map).float() - x.float()).square()  # [B, 3, H, W]
        return torch.where(hidden, error, 0).sum() / (3 * hidden.sum()).clamp_min(1)


def patch_mask(images: Tensor, patch: int, share: float) -> Tensor:
    """A mask, bool [B, 1, H, W], that hides each patch×patch square of images [B, C, H, W] with probability `share`."""
    b, _, h, w = images.shape
    if h % patch or w % patch:
        raise ValueError(f"patches of {patch} pixels do not tile images of {h}×{w}")
    coarse = torch.rand(b, 1, h // patch, w // patch, device=images.device) < share
    return coarse.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
