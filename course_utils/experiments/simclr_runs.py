"""What the experiments of notebook 06 share: short runs with two views, and probes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .. import datasets, encoders, training
from ..evaluation import features, knn_accuracy, linear_probe
from ..losses import nt_xent
from ..methods import SimCLR
from ..settings import Course
from .pretrain import contrastive_views
from .runs import once


def settings(course: Course, share: float = 1.0) -> dict:
    """`fit`'s settings for a short run; share: of its epochs, for a trial on val."""
    epochs, batch_size = course.pick(smoke=(1, 64), laptop=(6, 128), gpu=(50, 512))
    epochs = max(1, round(share * epochs))
    return dict(epochs=epochs, batch_size=batch_size, lr=course.pick(smoke=0.1, laptop=0.15, gpu=0.06),
                weight_decay=5e-4, warmup_epochs=1 if epochs > 2 else 0)


class TwoViews(nn.Module):
    """SimCLR with any `loss(z1, z2)` in place of NT-Xent."""

    name = "simclr"

    def __init__(self, encoder: nn.Module, *, augment: nn.Module, head: nn.Module,
                 loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.encoder, self.head, self.augment, self.loss = encoder, head, augment, loss

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        views = torch.cat([self.augment(images), self.augment(images)])
        return self.loss(*self.head(self.encoder(views)).chunk(2))  # [B, D] each


def first_weights(course: Course, seed: int) -> encoders.ResNet:
    """The encoder that `train` starts from."""
    torch.manual_seed(seed)
    return encoders.resnet18("cifar") if course.profile == "gpu" else encoders.resnet10("fast")


def train(course: Course, data: datasets.ImageSet, fit: dict, seed: int, *, loss: Callable = None,
          views: nn.Module | None = None, kind: str = "mlp", out_dim: int = 128, temperature: float = 0.2,
          micro_batch: int | None = None) -> TwoViews | SimCLR:
    """One run from random weights: the laptop encoder, `loss` (or NT-Xent), 128 numbers behind an MLP head."""
    encoder = first_weights(course, seed)
    head = encoders.projection_head(encoder.feature_dim, out_dim, kind=kind)
    views = views or contrastive_views(data.images.shape[-1])
    if micro_batch is not None:
        method = SimCLR(encoder, augment=views, head=head, temperature=temperature, micro_batch=micro_batch)
    else:
        method = TwoViews(encoder, augment=views, head=head,
                          loss=loss or (lambda z1, z2: nt_xent(z1, z2, temperature)))
    training.fit(method.to(course.device), data, **fit, seed=seed)
    return method


def probes(encoder: nn.Module, bank: datasets.ImageSet, cases: datasets.ImageSet) -> dict[str, float]:
    """Accuracy on `cases` of a linear probe and of kNN (k 20, τ 0.07) on features of `bank`.

    Raises FloatingPointError where features are not finite.
    """
    z, cases_z = features(encoder, bank), features(encoder, cases)
    if not (torch.isfinite(z).all() and torch.isfinite(cases_z).all()):
        raise FloatingPointError("the loss stayed finite, but the features are not")
    return {"linear probe": linear_probe(z, bank.labels, cases_z, cases.labels).accuracy,
            "kNN": knn_accuracy(z, bank.labels, cases_z, cases.labels)}


def attempt(course: Course, experiment: str, run: dict, data: datasets.ImageSet, cases: datasets.ImageSet, fit: dict,
            seed: int, **options) -> dict[str, float] | None:
    """`probes` of one run of `train` with these options; None where it diverged. Done once."""
    def compute() -> dict[str, float] | None:
        try:
            return probes(train(course, data, fit, seed, **options).encoder, data, cases)
        except FloatingPointError:
            return None

    return once(course, experiment, run | {"fit": fit, "seed": seed, "images": len(data), "cases": len(cases)}, compute)
