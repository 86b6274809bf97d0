"""What is f(x) worth? Nearest neighbours, kNN accuracy, linear probes, few labels, fine-tuning.

Nothing here changes the encoder it is given: its parameters and BatchNorm buffers are bit-equal before and after.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from .auc import auc, auc_per_class, screening
from .contrast import alignment, contrastive_statistics, uniformity
from .datasets.imageset import ImageSet, balanced_indices
from .intervals import auc_interval, correlation_interval, mean_interval, wilson_interval
from .probes import (
    PROBE_L2,
    NonlinearProbe,
    Probe,
    check_features,
    check_labels,
    linear_probe,
    nearest_prototype,
    nonlinear_probe,
)

if TYPE_CHECKING:
    import pandas

    from .training import History

__all__ = ["NonlinearProbe", "PROBE_L2", "Probe", "alignment", "auc", "auc_interval", "auc_per_class",
           "contrastive_statistics", "correlation_interval", "features", "fine_tune", "frozen", "knn_accuracy",
           "knn_predict", "label_efficiency", "linear_probe", "mean_interval", "nearest_neighbors", "nearest_prototype",
           "nonlinear_probe", "screening", "uniformity", "wilson_interval"]


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """`module` in eval mode and without gradients; restores the mode of each submodule afterwards.

    A "frozen" encoder left in train mode is a well-known bug: its BatchNorm statistics drift with every batch it sees.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield module
    finally:
        for part, mode in modes:
            part.training = mode


def features(encoder: nn.Module, data: ImageSet | Tensor, *, stage: str | None = None, grid: int = 1,
             size: int | None = None, batch_size: int = 256) -> Tensor:
    """The features float32 [N, D] of all images, on the encoder's device.

    data: an ImageSet, or images uint8 or float in [0, 1], [N, C, H, W]. stage: that stage's map instead of
    the final features, average-pooled to grid×grid cells (D = channels · grid²). size: resize each batch to size×size
    first (an ImageNet encoder sees nothing at 32 px).
    """
    images = data.images if isinstance(data, ImageSet) else data
    device = next(encoder.parameters()).device
    pieces = []
    with frozen(encoder):
        for batch in tqdm(images.split(batch_size), desc="features", unit="batch", delay=2, leave=False,
                          file=sys.stdout):
            batch = batch.to(device)
            batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch
            if size is not None and batch.shape[-2:] != (size, size):
                batch = F.interpolate(batch, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
            batch = batch.contiguous(memory_format=torch.channels_last)  # depthwise convolutions: 1.7 times as fast
            if stage is None:
                z = encoder(batch)
            else:
                z = F.adaptive_avg_pool2d(encoder.stages(batch)[stage], grid).flatten(1)
            pieces.append(z.float())
    return torch.cat(pieces)  # [N, D]


def nearest_neighbors(query: Tensor, bank: Tensor, k: int, metric: str = "cosine", *,
                      chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The k nearest rows of bank [M, D] for each row of query [N, D]: (distance, index int64), both [N, k].

    The nearest comes first. metric: "cosine" (1 - similarity), "l2" (Euclidean) or "l1". Memory is bounded by `chunk`
    × M scores. Raises ValueError where shapes disagree, k is larger than the bank, the metric is unknown or a feature
    is not finite.
    """
    check_features(query, bank)
    if not 1 <= k <= len(bank):
        raise ValueError(f"k must lie between 1 and the bank's size {len(bank)}, got {k}")
    if metric not in ("cosine", "l2", "l1"):
        raise ValueError(f"metric must be 'cosine', 'l2' or 'l1', got {metric!r}")
    query, bank = query.detach().flatten(1).float(), bank.detach().flatten(1).float()
    if metric == "cosine":
        query, bank = F.normalize(query), F.normalize(bank)
    if metric == "l2":  # from the bank's mean, not from the origin: the sum below is of small numbers then, and exact
        centre = bank.mean(dim=0)
        query, bank = query - centre, bank - centre
        half_norms = 0.5 * bank.square().sum(dim=1)
    buffer = bank.new_empty(min(chunk, len(query)), len(bank))  # reused: new memory is slow
    found = []
    for q in query.split(chunk):
        if metric == "l1":
            score = -torch.cdist(q, bank, p=1)  # [chunk, M], larger is nearer
        else:
            score = _product(q, bank, out=buffer[:len(q)])
        if metric == "l2":  # |q - b|² = |q|² - 2 (q·b - |b|²/2)
            score -= half_norms
        best, index = _top_k(score, k)
        if metric == "l2":
            best = (q.square().sum(dim=1, keepdim=True) - 2 * best).clamp(min=0).sqrt()
        found.append((1 - best if metric == "cosine" else best.abs(), index))
    return torch.cat([d for d, _ in found]), torch.cat([i for _, i in found])


def _product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a @ b.T, [n, M], written into `out`; on the CPU by NumPy, whose BLAS is the faster one on AMD processors."""
    if out.device.type == "cpu":
        np.matmul(a.numpy(), b.T.numpy(), out=out.numpy())
        return out
    return torch.mm(a, b.T, out=out)


def _top_k(score: Tensor, k: int, block: int = 64) -> tuple[Tensor, Tensor]:
    """`score.topk(k)` for wide rows [n, M]: the k largest entries lie in the k blocks with the largest maxima."""
    n, m = score.shape
    blocks = m // block
    if blocks < 4 * k:
        return score.topk(k)
    head = score[:, :blocks * block].unflatten(1, (blocks, block))
    chosen = head.amax(dim=2).topk(k).indices  # [n, k] block numbers
    candidates = torch.gather(head, 1, chosen[:, :, None].expand(-1, -1, block)).flatten(1)  # [n, k * block]
    where = (chosen[:, :, None] * block + torch.arange(block, device=score.device)).flatten(1)
    rest = torch.arange(blocks * block, m, device=score.device).expand(n, -1)
    best, position = torch.cat([candidates, score[:, blocks * block:]], dim=1).topk(k)
    return best, torch.cat([where, rest], dim=1).gather(1, position)


def knn_predict(train_z: Tensor, train_y: Tensor, test_z: Tensor, k: int = 20, temperature: float = 0.07) -> Tensor:
    """The class int64 [N] that the k nearest training features vote for, each with weight exp(similarity / τ).

    Features are ℓ2-normalised, so similarity is the cosine. Protocol of Wu et al. 2018; k and τ as in DINO. Raises
    ValueError as `nearest_neighbors` does, and where labels and features disagree or τ is not positive.
    """
    check_labels(train_z, train_y)
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    distance, index = nearest_neighbors(test_z, train_z, k)
    weight = ((distance[:, :1] - distance) / temperature).exp()  # relative to the nearest, so that not all are 0
    classes = int(train_y.max()) + 1  # from the training labels alone
    votes = torch.zeros(len(test_z), classes, device=weight.device)
    return votes.scatter_add_(1, train_y.to(index.device)[index], weight).argmax(dim=1)


def knn_accuracy(train_z: Tensor, train_y: Tensor, test_z: Tensor, test_y: Tensor, k: int = 20,
                 temperature: float = 0.07) -> float:
    """The share of test features [N, D] whose class `knn_predict` gets right."""
    check_labels(test_z, test_y)
    prediction = knn_predict(train_z, train_y, test_z, k, temperature)
    return (prediction == test_y.to(prediction.device)).float().mean().item()


def label_efficiency(encoder_or_features: nn.Module | tuple[Tensor, Tensor], train: ImageSet, test: ImageSet,
                     per_class: Sequence[int] = (1, 2, 5, 10, 50), seeds: int = 3,
                     l2: float = PROBE_L2) -> pandas.DataFrame:
    """Linear-probe accuracy against labels per class: columns per_class, accuracy, low, high, seeds, n.

    encoder_or_features: an encoder, or the pair of its features (train [N, D], test [M, D]). Each seed draws other
    labelled images; low and high are the 95 % t-interval of the mean over seeds, n the number of test images.
    """
    import pandas

    if isinstance(encoder_or_features, nn.Module):
        encoder_or_features = features(encoder_or_features, train), features(encoder_or_features, test)
    train_z, test_z = encoder_or_features
    rows = []
    for count in per_class:
        accuracies = []
        for seed in range(seeds):
            few = balanced_indices(train.labels, count, len(train.classes), seed).to(train_z.device)
            labels = train.labels.to(train_z.device)[few]
            accuracies.append(linear_probe(train_z[few], labels, test_z, test.labels, l2=l2).accuracy)
        low, high = mean_interval(accuracies)
        rows.append({"per_class": count, "accuracy": sum(accuracies) / seeds, "low": low, "high": high,
                     "seeds": seeds, "n": len(test)})
    return pandas.DataFrame(rows)


def fine_tune(encoder: nn.Module, train: ImageSet, test: ImageSet, *, epochs: int, lr: float = 0.02,
              batch_size: int = 64, weight_decay: float = 1e-4, augment: nn.Module | None = None,
              seed: int = 0) -> History:
    """Train a copy of `encoder` and a new linear layer on `train`; the history has each epoch's test `accuracy`."""
    from .methods import Supervised
    from .training import fit

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the new layer's weights
        method = Supervised(copy.deepcopy(encoder), len(train.classes), augment=augment)
    method.to(next(encoder.parameters()).device)
    for parameter in method.parameters():
        parameter.requires_grad_(True)

    def accuracy(epoch: int, method: Supervised) -> dict:
        with frozen(method):
            logits = torch.cat([method.logits(images.to(method.head.weight.device).float() / 255)
                                for images in test.images.split(256)])
        return {"accuracy": (logits.argmax(dim=1) == test.labels.to(logits.device)).float().mean().item()}

    return fit(method, train, epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, seed=seed,
               warmup_epochs=1 if epochs > 2 else 0, on_epoch=accuracy)
