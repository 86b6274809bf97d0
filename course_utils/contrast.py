"""What contrastive training does to an embedding: can views find each other, are they aligned, are all spread out?"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def contrastive_statistics(z1: Tensor, z2: Tensor, temperature: float = 0.5, normalize: bool = True, *,
                           chunk: int = 1024) -> tuple[float, float]:
    """Entropy in nats and contrastive accuracy, means over 2B views, of the distribution that NT-Xent works on.

    z1, z2: [B, D], B >= 2; row i of both are two views of image i. For each view, the softmax of u·v / τ over the
    other 2B - 1 views: its entropy lies between 0 and log(2B - 1), and accuracy is the share of views whose most
    likely candidate is the other view of their image (a tie is no hit). SimCLR (Chen et al. 2020), Table 5.
    """
    _check(z1, z2)
    if len(z1) < 2 or not 0 < temperature < math.inf:
        raise ValueError(f"needs B >= 2 and temperature > 0, got B={len(z1)}, temperature={temperature}")
    z = torch.cat([z1, z2]).float()  # [2B, D]
    z = F.normalize(z, dim=1) if normalize else z
    view = torch.arange(len(z), device=z.device)
    other = view.roll(len(z1))
    entropy, hits = 0.0, 0
    for rows in view.split(chunk):
        logits = (z[rows] @ z.T / temperature)  # [chunk, 2B]
        logits[rows[:, None] == view] = -math.inf
        probability = logits.softmax(dim=1)
        entropy += torch.special.entr(probability).sum().item()
        found = logits.gather(1, other[rows, None])  # [chunk, 1]
        hits += ((logits >= found).sum(dim=1) == 1).sum().item()  # nothing else reaches it
    return entropy / len(z), hits / len(z)


def alignment(z1: Tensor, z2: Tensor, alpha: float = 2.0) -> float:
    """The mean of |u - v⁺|^α over pairs of views [B, D], scaled to length one: 0 where both views are one point.

    With α = 2 it equals 2 - 2 · mean cosine, and 2 for directions that have nothing to do with each other.
    Wang & Isola 2020, Section 4.1.
    """
    _check(z1, z2)
    distance = (F.normalize(z1.detach().double(), dim=1) - F.normalize(z2.detach().double(), dim=1)).norm(dim=1)
    return distance.pow(alpha).mean().item()


def uniformity(z: Tensor, t: float = 2.0) -> float:
    """log of the mean of exp(-t |u - v|²) over all pairs among N >= 2 embeddings [N, D], scaled to length one.

    0 where all are one point, lower the more evenly they are spread over the sphere; never below -4t. Memory grows
    with N²: a few thousand embeddings are enough. Wang & Isola 2020, Section 4.1.
    """
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"uniformity needs embeddings [N, D] with N >= 2, got {list(z.shape)}")
    distance = torch.pdist(F.normalize(z.detach().cpu().float(), dim=1))  # [N (N - 1) / 2]
    return distance.square().mul(-t).exp().double().mean().log().item()


def _check(z1: Tensor, z2: Tensor) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape or not len(z1):
        raise ValueError(f"two views need embeddings [B, D] of one shape, got {list(z1.shape)} and {list(z2.shape)}")
