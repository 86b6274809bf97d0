"""Loss functions that learn from pairs: triplet with mining, NT-Xent, NT-Logistic, margin triplet, InfoNCE.

In all of them:

- A batch of embeddings is a float tensor [B, D] on any device; the loss is a scalar, a mean, and has a gradient.
- Row i of `z1` and row i of `z2` are two views of image i. Each of the 2B views is an anchor u once; v⁺ is the other
  view of its image, the v⁻ are the 2B - 2 views of all other images.
- The arithmetic is float32 (float64 stays), inside autocast and for half inputs too: at τ = 0.01 logits reach ±100,
  where float16 overflows in exp and bfloat16 rounds to halves.
- No shape depends on the contents of a tensor and nothing waits for the device, so contents (NaN, say) are not checked.
- Wrong shapes and numbers out of range raise ValueError.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

MINING_KINDS = "random", "semi-hard", "hard"


# ---- triplets --------------------------------------------------------------------------------------------------------

def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, *,
            valid: Tensor | None = None) -> Tensor:
    """Triplet loss max(0, |a - p|² - |a - n|² + margin), averaged over all triplets, active or not.

    anchor, positive, negative: [B, D], not normalised here. margin >= 0, in squared distance. valid: bool [B], the mask
    of `mine_triplets`; only these triplets count. With no active triplet the loss is a zero whose gradient is zero.
    Schroff et al. 2015 (FaceNet), Section 3.1.
    """
    _check(1, anchor=anchor, positive=positive, negative=negative)
    _check_margin(margin)
    if valid is not None and valid.shape != (len(anchor),):
        raise ValueError(f"valid must be a mask [{len(anchor)}], got {list(valid.shape)}")
    anchor, positive, negative = _wide(anchor), _wide(positive), _wide(negative)
    loss = F.relu((anchor - positive).square().sum(1) - (anchor - negative).square().sum(1) + margin)  # [B]
    return loss.mean() if valid is None else torch.where(valid, loss, 0).sum() / valid.sum().clamp_min(1)


def mine_triplets(z: Tensor, labels: Tensor, kind: str = "random",
                  margin: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose one triplet for each row of z: (anchor, positive, negative), indices int64 [B], and valid, bool [B].

    z: [B, D]; labels: integer [B], rows with equal labels are each other's positives. Distance is squared L2, as in
    `triplet`, and margin >= 0 the margin used there. Every row is an anchor once; valid is False where it has no
    positive or no negative in the batch (its indices then mean nothing). Draws come from torch's global generator on
    z's device.

    kind "random": a random positive and a random negative.
    "semi-hard": a random positive, and the nearest negative with d(a, p) < d(a, n) < d(a, p) + margin: farther than the
    positive, but within the margin (FaceNet, Section 3.2). Where there is none, the farthest negative: its loss is
    zero, or, where all negatives are nearer than the positive, it is the least hard.
    "hard": the farthest positive and the nearest negative ("batch hard", Hermans et al. 2017, Section 2).
    """
    _check(1, z=z)
    _check_margin(margin)
    if kind not in MINING_KINDS:
        raise ValueError(f"kind must be one of {', '.join(MINING_KINDS)}; got {kind!r}")
    if labels.shape != (len(z),) or labels.is_floating_point():
        raise ValueError(f"z {list(z.shape)} needs integer labels [{len(z)}], got {labels.dtype} {list(labels.shape)}")
    anchor = torch.arange(len(z), device=z.device)
    same = labels[:, None] == labels  # [B, B]
    is_positive, is_negative = same & (anchor[:, None] != anchor), ~same
    if kind == "hard":
        distance = _squared_distances(z.detach())
        positive = distance.masked_fill(~is_positive, -math.inf).argmax(dim=1)
        negative = distance.masked_fill(~is_negative, math.inf).argmin(dim=1)
    else:
        draw = torch.rand(same.shape, device=z.device)  # the largest number wins, among some: a uniform draw from them
        positive = draw.masked_fill(~is_positive, -1).argmax(dim=1)
        negative = draw.masked_fill(~is_negative, -1).argmax(dim=1)
    if kind == "semi-hard":
        distance = _squared_distances(z.detach())
        negative = _semi_hard(distance, distance.gather(1, positive[:, None]), is_negative, margin)
    return anchor, positive, negative, is_positive.any(dim=1) & is_negative.any(dim=1)


def margin_triplet(z1: Tensor, z2: Tensor, margin: float = 1.0, mining: str = "none") -> Tensor:
    """Triplet loss on dot products, max(u·v⁻ - u·v⁺ + margin, 0), with ℓ2-normalised vectors.

    z1, z2: [B, D], B >= 2. margin >= 0, in cosine: |u - v|² = 2 - 2 u·v, so this is half of `triplet` with twice the
    margin. mining "none": the mean over all 2B (2B - 2) triplets. "semi-hard": over one triplet for each of 2B anchors,
    its negative chosen as in `mine_triplets`, where nearer means a larger dot product. SimCLR, Table 2 and Section 5.1.
    """
    _check(2, z1=z1, z2=z2)
    _check_margin(margin)
    if mining not in ("none", "semi-hard"):
        raise ValueError(f"mining must be one of none, semi-hard; got {mining!r}")
    z = _unit(torch.cat([z1, z2]))  # [2B, D]
    positive = (z * z.roll(len(z1), dims=0)).sum(1)  # [2B], u·v⁺
    if mining == "none":
        excess = _dots(z, z).sub_((positive - margin)[:, None])  # [2B, 2B]
        _hide_own_image(excess, -math.inf)
        return F.relu(excess).sum() / _pairs(z1)
    image = torch.arange(len(z1), device=z.device).repeat(2)  # [2B]
    with torch.no_grad():
        negative = _semi_hard(-_dots(z, z), -positive[:, None], image[:, None] != image, margin)
    return F.relu((z * z[negative]).sum(1) - positive + margin).mean()


def _semi_hard(distance: Tensor, positive: Tensor, is_negative: Tensor, margin: float) -> Tensor:
    """For each row of distance [N, M], the index of its semi-hard negative, else of its farthest; positive: [N, 1]."""
    semi_hard = is_negative & (distance > positive) & (distance < positive + margin)
    nearest = distance.masked_fill(~semi_hard, math.inf).argmin(dim=1)
    farthest = distance.masked_fill(~is_negative, -math.inf).argmax(dim=1)
    return torch.where(semi_hard.any(dim=1), nearest, farthest)


# ---- all negatives at once -------------------------------------------------------------------------------------------

def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5, normalize: bool = True) -> Tensor:
    """SimCLR's loss: which of the other 2B - 1 views belongs to the same image? Cross-entropy of u·v / τ, 2B times.

    z1, z2: [B, D], B >= 2. temperature > 0. normalize=False takes raw dot products (SimCLR, Table 5). Between 0 and
    infinity; log(2B - 1) where all embeddings are equal. SimCLR (Chen et al. 2020), Eq. 1 and Algorithm 1.
    """
    _check(2, z1=z1, z2=z2)
    _check_temperature(temperature)
    z = torch.cat([z1, z2])  # [2B, D]
    z = _unit(z) if normalize else _wide(z)
    logits = _dots(z / temperature, z)  # [2B, 2B]
    with torch.no_grad():  # in place, and no step of the gradient: softmax gives -inf no weight, so none flows there
        logits.fill_diagonal_(-math.inf)  # no view is its own candidate
    other_view = torch.arange(len(z), device=z.device).roll(len(z1))  # row i belongs with row i + B, and i + B with i
    return F.cross_entropy(logits, other_view)


def nt_logistic(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Is this pair of one image? -log σ(u·v⁺ / τ) - log σ(-u·v⁻ / τ), with ℓ2-normalised vectors.

    z1, z2: [B, D], B >= 2. temperature > 0. Balanced: the mean over the B positive pairs plus the mean over the
    2B (2B - 2) negative pairs, that is one positive and one average negative for each anchor. In a plain mean over all
    pairs positives would weigh 1 / (2B - 1), and nothing would hold them together. SimCLR, Table 2.
    """
    _check(2, z1=z1, z2=z2)
    _check_temperature(temperature)
    z = _unit(torch.cat([z1, z2]))  # [2B, D]
    positive = (z[:len(z1)] * z[len(z1):]).sum(1) / temperature  # [B]
    minus_negative = _dots(z / -temperature, z)  # [2B, 2B]
    _hide_own_image(minus_negative, math.inf)  # log σ(inf) = 0
    return -F.logsigmoid(positive).mean() - F.logsigmoid(minus_negative).sum() / _pairs(z1)


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """MoCo's loss: which of 1 + K keys belongs to the query? Cross-entropy of q·k / τ, and the answer is always key 0.

    query, key: [B, D], ℓ2-normalised here. queue: [K, D], taken as it is, since it holds normalised keys already.
    temperature > 0. Key and queue are detached here: only the query gets a gradient. The queue is copied, so that the
    caller may write into it before `backward`. MoCo (He et al. 2020), Eq. 1 and Algorithm 1; τ as in MoCo v2.
    """
    _check(1, query=query, key=key)
    _check_temperature(temperature)
    if queue.ndim != 2 or len(queue) == 0 or queue.shape[1] != query.shape[1] or not queue.is_floating_point():
        raise ValueError(f"query {list(query.shape)} needs a float queue [K, {query.shape[1]}] with K >= 1, "
                         f"got {queue.dtype} {list(queue.shape)}")
    query, key = _unit(query) / temperature, _unit(key.detach())
    queue = queue.detach().to(query.dtype, copy=True)
    logits = torch.cat([(query * key).sum(1, keepdim=True), _dots(query, queue)], dim=1)  # [B, 1 + K]
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


# ---- helpers ---------------------------------------------------------------------------------------------------------

def _wide(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _unit(z: Tensor) -> Tensor:
    return F.normalize(_wide(z), dim=1)


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """All dot products a·b, [N, M]. Inside autocast a matrix product would round them to 8 or 11 bits."""
    with full_precision(a):
        return a @ b.T


def _squared_distances(z: Tensor) -> Tensor:
    """|z_i - z_j|² [B, B], from the batch's mean: near collapse the differences are of small numbers then."""
    z = _wide(z)
    z = z - z.mean(dim=0)
    norms = z.square().sum(1)
    return (norms[:, None] + norms - 2 * _dots(z, z)).clamp_min(0)


def _hide_own_image(scores: Tensor, value: float) -> None:
    """Overwrite the scores [2B, 2B] of each view with both views of its own image, where the loss has no gradient."""
    b = len(scores) // 2
    with torch.no_grad():
        scores.view(2, b, 2, b).diagonal(dim1=1, dim2=3).fill_(value)


def _pairs(z1: Tensor) -> int:
    """The number of (anchor, negative) pairs among 2B views."""
    return 2 * len(z1) * (2 * len(z1) - 2)


def _check(least: int, **tensors: Tensor) -> None:
    """All tensors are float [B, D] of one shape, and B >= least."""
    shape = next(iter(tensors.values())).shape
    if any(len(z.shape) != 2 or z.shape != shape or not z.is_floating_point() for z in tensors.values()):
        got = ", ".join(f"{name} {z.dtype} {list(z.shape)}" for name, z in tensors.items())
        raise ValueError(f"{', '.join(tensors)} must be float [B, D], all of one shape; got {got}")
    if shape[0] < least:
        why = ": with one image there is no negative" if least == 2 and shape[0] == 1 else ""
        raise ValueError(f"needs B >= {least}, got {', '.join(tensors)} of shape {list(shape)}{why}")


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature}")


def _check_margin(margin: float) -> None:
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be at least 0, got {margin}")
