"""`ImageSet`: a whole labelled image set as tensors, so that a batch is one indexing operation on any device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)  # == on tensors has no single truth value
class ImageSet:
    """Images, labels and where they came from, in memory and on one device.

    images: uint8 [N, C, H, W]. labels: int64 [N], or float [N, L] for multi-label sets. classes: the L names.
    source: one line that says where these bytes came from. factors: ground-truth factors of synthetic sets, each
    [N, ...]; empty for real sets. Raises ValueError where images, labels and factors disagree.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    source: str
    factors: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.ndim not in (1, 2):
            raise ValueError(f"labels must be int64 [N] or float [N, L], got shape {list(self.labels.shape)}")
        if len(self.labels) != len(self.images):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels in set {self.name!r}")
        if self.labels.ndim == 1 and self.labels.dtype != torch.int64:
            raise ValueError(f"single-label targets must be int64 [N], got {self.labels.dtype}")
        if self.labels.ndim == 2 and (not self.labels.is_floating_point() or self.labels.shape[1] != len(self.classes)):
            raise ValueError(f"multi-label targets must be float [N, {len(self.classes)}], "
                             f"got {self.labels.dtype} {list(self.labels.shape)}")
        # Only on the CPU, where every set starts: on a GPU this look at the values would stall every batch.
        if self.labels.ndim == 1 and len(self.labels) and self.labels.device.type == "cpu":
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.classes):
                raise ValueError(f"labels run from {low} to {high}, but set {self.name!r} "
                                 f"has {len(self.classes)} classes")
        for key, value in self.factors.items():
            if len(value) != len(self.images):
                raise ValueError(f"factor {key!r} has {len(value)} rows for {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        return f"ImageSet({self.name!r}, {n:,} images {c}×{h}×{w}, {len(self.classes)} classes, {self.source})"

    def __getitem__(self, index: Tensor | slice | int) -> ImageSet:
        """The subset at `index`: an int64 tensor, a bool mask [N], a slice, or one position (a set of one)."""
        if not isinstance(index, slice):  # [1] for one position, so that shapes never change
            index = torch.atleast_1d(torch.as_tensor(index, device=self.images.device))
        return replace(self, images=self.images[index], labels=self.labels[index],
                       factors={key: value[index] for key, value in self.factors.items()})

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device),
                       factors={key: value.to(device) for key, value in self.factors.items()})

    def float_images(self) -> Tensor:
        """All images as float32 [N, C, H, W] in [0, 1]."""
        return self.images.float() / 255

    def few(self, per_class: int, seed: int = 0) -> ImageSet:
        """A seeded subset with exactly `per_class` images of each class; ValueError where a class has fewer."""
        return self[balanced_indices(self.labels, per_class, len(self.classes), seed)]


def concat(first: ImageSet, second: ImageSet) -> ImageSet:
    """The images of `first`, then those of `second`; both of the same image size, classes and factors."""
    return replace(first, images=torch.cat([first.images, second.images]),
                   labels=torch.cat([first.labels, second.labels]),
                   factors={key: torch.cat([value, second.factors[key]]) for key, value in first.factors.items()})


def balanced_indices(labels: Tensor, per_class: int, num_classes: int, seed: int) -> Tensor:
    """`per_class` random positions of each class, in a random order; int64 [per_class * num_classes], on the CPU.

    The same seed gives nested subsets: a larger draw holds every position of a smaller one. Raises ValueError for
    multi-label targets and where a class has fewer than `per_class` images.
    """
    if labels.ndim != 1:
        raise ValueError("a class-balanced subset needs one label per image; this set is multi-label")
    counts = torch.bincount(labels.cpu(), minlength=num_classes)
    if per_class < 1 or per_class > int(counts.min()):
        raise ValueError(f"per_class must lie between 1 and {int(counts.min())}, the size of the smallest class, "
                         f"got {per_class}")
    return _draw(labels.cpu(), torch.full_like(counts, per_class), seed)


def limited_indices(labels: Tensor, limit: int, seed: int, *, balanced: bool = True) -> Tensor:
    """At most `limit` random positions, spread over the classes; int64 [min(limit, N)], on the CPU, random order.

    balanced: class sizes differ by one at most; where a class is too small for that, or with `balanced=False`, the
    draw keeps the proportions of the set, with one image of each class at least if `limit` allows. Multi-label
    targets [N, L]: plain random positions. Raises ValueError unless `limit` is a whole number of 1 or more.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit must be a whole number of 1 or more, got {limit!r}")
    limit, labels = min(limit, len(labels)), labels.cpu()
    if labels.ndim != 1:
        return torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:limit]
    counts = torch.bincount(labels)
    shares = _even_shares(counts, limit, seed)
    if not balanced or bool((shares > counts).any()):
        shares = _proportional_shares(counts, limit)
    return _draw(labels, shares, seed)


def _even_shares(counts: Tensor, total: int, seed: int) -> Tensor:
    """`total` split over the classes that occur; which of them get one more is drawn. int64 [classes]."""
    present = counts.nonzero().flatten()
    base, extra = divmod(total, len(present))
    shares = torch.zeros_like(counts)
    shares[present] = base
    lucky = torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))[:extra]
    shares[present[lucky]] += 1
    return shares


def _proportional_shares(counts: Tensor, total: int) -> Tensor:
    """`total` split in proportion to `counts`, by largest remainder; int64 [classes], never above `counts`."""
    quota = counts.double() * total / int(counts.sum())
    shares = quota.floor().long()
    if total >= int((counts > 0).sum()):
        shares = torch.maximum(shares, (counts > 0).long())
    while int(shares.sum()) > total:  # the ones lent to tiny classes come back from the largest share
        shares[shares.argmax()] -= 1
    while int(shares.sum()) < total:
        shares[(quota - shares).masked_fill(shares >= counts, -torch.inf).argmax()] += 1
    return shares


def _draw(labels: Tensor, shares: Tensor, seed: int) -> Tensor:
    """`shares[c]` random positions of each class c, shuffled; the first ones of a fixed order, hence nested."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels[order]
    chosen = torch.cat([order[shuffled == c][:share] for c, share in enumerate(shares.tolist())])
    return chosen[torch.randperm(len(chosen), generator=generator)]


def resize_square(images: Tensor, size: int) -> Tensor:
    """uint8 [N, C, H, W] → uint8 [N, C, size, size]: the shorter side becomes `size`, then the centre is cut out.

    Bilinear with antialiasing, as torchvision does it; square images are resized whole, nothing is cut off.
    """
    if images.shape[-2:] == (size, size):
        return images
    from torchvision.transforms.v2 import functional  # takes half a second; only needed here

    if not len(images):
        return images.new_empty(0, images.shape[1], size, size)
    pieces = (functional.resize(piece, [size], antialias=True) for piece in images.split(1024))  # bounds the memory
    return torch.cat([functional.center_crop(piece, [size, size]) for piece in pieces])
