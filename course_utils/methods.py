"""Training methods: a module that joins augmentation, encoder, head and loss, and whose forward returns the loss."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .batchnorm import SplitBatchNorm, StatisticsKept
from .distributed import gather, of_first, share, world
from .encoders import projection_head
from .losses import MINING_KINDS, info_nce, mine_triplets, nt_xent, triplet


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


class TripletNetwork(nn.Module):
    """Learn from triplets: two views of one image belong together, a view of any other image does not.

    augment: makes a view; called twice on each batch. head: maps features to the embedding z, thrown away afterwards
    (see `encoders.projection_head`). margin: in squared L2 distance. mining: "random", "semi-hard" or "hard", as in
    `losses.mine_triplets`. normalize: scale z to length one, as FaceNet does (squared distances then lie in [0, 4]);
    without it the network can please the loss by growing. Schroff et al. 2015, Section 3; ValueError for a bad setting.
    """

    name = "triplet"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module, head: nn.Module, margin: float = 1.0,
                 mining: str = "semi-hard", normalize: bool = True):
        super().__init__()
        if mining not in MINING_KINDS:
            raise ValueError(f"mining must be one of {', '.join(MINING_KINDS)}; got {mining!r}")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be at least 0, got {margin}")
        self.encoder, self.head, self.augment = encoder, head, augment
        self.margin, self.mining, self.normalize = margin, mining, normalize

    def extra_repr(self) -> str:
        return f"margin={self.margin}, mining={self.mining}, normalize={self.normalize}"

    def embed(self, views: Tensor) -> Tensor:
        """Embeddings z, float [B, D], of images in [0, 1], without augmentation."""
        z = self.head(self.encoder(views)).float()
        return F.normalize(z, dim=1) if self.normalize else z

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean loss (a scalar) over one triplet for each of the 2B views; class labels are not looked at."""
        z1, z2 = self.embed(torch.cat([self.augment(images), self.augment(images)])).chunk(2)  # [B, D] each
        z = torch.cat([gather(z1), gather(z2)])  # [2B, D], of all processes
        image = torch.arange(len(z) // 2, device=z.device).repeat(2)  # [2B]: which image a view was made from
        a, p, n, valid = mine_triplets(z, image, self.mining, self.margin)
        return triplet(z[a], z[p], z[n], self.margin, valid=valid)


class SimCLR(nn.Module):
    """Two views of each image must find each other among all views of the batch (Chen et al. 2020, Algorithm 1).

    augment: makes a view; called twice on each batch. head: maps features h to g(h), thrown away afterwards.
    temperature: of NT-Xent, > 0. micro_batch: the encoder sees so many views at a time and forgets its activations,
    which backward computes again, while the loss sees all 2B views: a contrastive batch of any size in the memory of
    one piece. Without BatchNorm the gradients equal the whole batch's; with it, each piece has its own statistics.
    Raises ValueError for a bad setting.
    """

    name = "simclr"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module, head: nn.Module, temperature: float = 0.5,
                 micro_batch: int | None = None):
        super().__init__()
        if not 0 < temperature < math.inf or (micro_batch is not None and micro_batch < 1):
            raise ValueError(f"needs temperature > 0 and micro_batch >= 1 or None, got {temperature}, {micro_batch}")
        self.encoder, self.head, self.augment = encoder, head, augment
        self.temperature, self.micro_batch = temperature, micro_batch

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, micro_batch={self.micro_batch}"

    def embed(self, views: Tensor) -> Tensor:
        """Projections g(h), [B, D], of images in [0, 1], without augmentation and not normalised."""
        if self.micro_batch is None:
            return self.head(self.encoder(views))
        h = [checkpoint(self.encoder, piece, use_reentrant=False,  # the second context is that of the second pass
                        context_fn=lambda: (nullcontext(), StatisticsKept(self.encoder)))
             for piece in views.split(self.micro_batch)]
        return self.head(torch.cat(h))  # [B, D]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """NT-Xent (a scalar) of two views of the batch; class labels are not looked at."""
        z1, z2 = self.embed(torch.cat([self.augment(images), self.augment(images)])).chunk(2)  # [B, D] each
        return nt_xent(gather(z1), gather(z2), self.temperature)


class MoCo(nn.Module):
    """A view must find the other view of its image among K keys of earlier batches (He et al. 2020, Algorithm 1).

    The keys come from the momentum encoder, θk ← m θk + (1 - m) θq, and wait in `queue`, float [K, D] of unit vectors
    (random ones at first). augment, head: as for SimCLR; v1 has a linear head, v2 an MLP, other views and a cosine
    schedule. queue_length K >= 1; momentum m in [0, 1]; temperature > 0. split_bn: BatchNorm sees the batch (of
    each process) in so many pieces, and the keys in another order, as on so many GPUs with shuffled BN (Section 3.3);
    the layers of encoder and head are replaced (`SplitBatchNorm`). symmetric: each view is query once and key once; the
    loss is the mean of both terms, and both keys enter the queue, after both terms. Raises ValueError for a bad
    setting, or for a batch that is no multiple of split_bn.
    """

    name = "moco"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module, head: nn.Module, queue_length: int = 4096,
                 momentum: float = 0.99, temperature: float = 0.2, split_bn: int = 1, symmetric: bool = False):
        super().__init__()
        if queue_length < 1 or not 0 <= momentum <= 1 or not 0 < temperature < math.inf or split_bn < 1:
            raise ValueError(f"needs queue_length >= 1, 0 <= momentum <= 1, temperature > 0, split_bn >= 1; got "
                             f"{queue_length}, {momentum}, {temperature}, {split_bn}")
        if split_bn > 1:
            encoder, head = (SplitBatchNorm.convert(part, split_bn) for part in (encoder, head))
        self.encoder, self.head, self.augment = encoder, head, augment
        self.momentum, self.temperature, self.split_bn, self.symmetric = momentum, temperature, split_bn, symmetric
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(head).requires_grad_(False)
        h = next(encoder.parameters()).new_zeros(1, encoder.feature_dim)  # on the encoder's device
        queue = torch.randn(queue_length, copy.deepcopy(head).eval()(h).shape[1], device=h.device)
        self.register_buffer("queue", F.normalize(queue, dim=1))  # [K, D]
        self.register_buffer("position", torch.zeros((), dtype=torch.int64, device=h.device))  # of the next key

    def extra_repr(self) -> str:
        return (f"queue_length={len(self.queue)}, momentum={self.momentum}, temperature={self.temperature}, "
                f"split_bn={self.split_bn}, symmetric={self.symmetric}")

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """InfoNCE (a scalar) of two views of the batch; in train mode the queue then takes the batch's keys."""
        x1, x2 = self.augment(images), self.augment(images)
        if self.training:
            self.update_key_encoder()
        keys = [self.keys(x2)]
        loss = info_nce(self.queries(x1), keys[0], self.queue, self.temperature)
        if self.symmetric:
            keys.append(self.keys(x1))
            loss = (loss + info_nce(self.queries(x2), keys[1], self.queue, self.temperature)) / 2
        if self.training:
            self.enqueue(torch.cat([gather(k) for k in keys]))  # of all processes: they all have the same queue
        return loss

    def queries(self, views: Tensor) -> Tensor:
        """Projections [B, D] of images in [0, 1] by the encoder that learns; not normalised."""
        return self.head(self.encoder(views))

    @torch.no_grad()
    def keys(self, views: Tensor) -> Tensor:
        """Unit vectors [B, D] of images in [0, 1] by the momentum encoder; they carry no gradient."""
        network = nn.Sequential(self.key_encoder, self.key_head)
        with StatisticsKept(network):  # they follow the query encoder's, and not the keys' own batches
            if self.split_bn == 1 and world() == 1:
                z = network(views)
            else:
                views = gather(views)  # from all processes, for the shuffle goes across them
                order = of_first(torch.randperm(len(views), device=views.device))
                z = network(share(views[order]))
                z = share(gather(z)[order.argsort()])  # unshuffled: else query and key would share their piece
        return F.normalize(z.float(), dim=1)

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """θk ← m θk + (1 - m) θq, for BatchNorm's statistics as well (Eq. 2)."""
        for key, query in ((self.key_encoder, self.encoder), (self.key_head, self.head)):
            for old, new in zip(key.state_dict().values(), query.state_dict().values(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, 1 - self.momentum)
                else:
                    old.copy_(new)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write keys [B, D] over the oldest ones, modulo the queue's length; of more than K keys the last K stay."""
        length = len(self.queue)
        place = self.position + torch.arange(len(keys), device=keys.device)
        self.queue[place[-length:] % length] = keys[-length:].to(self.queue.dtype)
        self.position.add_(len(keys)).remainder_(length)
