"""What the experiments of notebook 06 share: short runs with two views, probes, a memory of finished runs, rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints, datasets, encoders, training
from ..evaluation import features, knn_accuracy, linear_probe, mean_interval, wilson_interval
from ..losses import nt_xent
from ..methods import SimCLR
from ..settings import Course
from .pretrain import contrastive_views


def once(course: Course, experiment: str, run: dict, compute: Callable[[], Any]) -> Any:
    """compute(), or what it gave when this `run` (its settings) was last finished: an experiment cut off goes on there.

    Kept as JSON in data/runs/experiments/<experiment>; delete that folder to measure anew, after a change of code, say.
    """
    run = {"profile": course.profile, **run}
    name = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
    path = checkpoints.DATA / "runs" / "experiments" / experiment / f"{course.profile}-{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["found"]
    text = json.dumps({"run": run, "found": compute()}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)
    print(f"{experiment}: {run}", flush=True)
    return json.loads(text)["found"]  # as it will be read: keys of dicts become strings


@dataclass(frozen=True)
class Sets:
    """Images to train encoder and probe on, val for settings, test for the report."""

    train: datasets.ImageSet
    val: datasets.ImageSet
    test: datasets.ImageSet


def load(course: Course) -> Sets:
    """CIFAR-10: 10,000 training images on a laptop, all on a GPU."""
    limits = {"train": course.pick(smoke=256, laptop=10_000, gpu=None),
              "val": course.pick(smoke=100, laptop=2_500, gpu=None),
              "test": course.pick(smoke=100, laptop=None, gpu=None)}
    return Sets(**{split: datasets.load("cifar10", split, limit=limit) for split, limit in limits.items()})


def settings(course: Course, share: float = 1.0) -> dict:
    """`fit`'s settings for a short run; share: of its epochs, for a trial on val."""
    epochs, batch_size = course.pick(smoke=(1, 64), laptop=(8, 128), gpu=(50, 512))
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


def train(course: Course, data: datasets.ImageSet, fit: dict, seed: int, *, loss: Callable = None,
          views: nn.Module | None = None, kind: str = "mlp", out_dim: int = 128, temperature: float = 0.2,
          micro_batch: int | None = None) -> TwoViews | SimCLR:
    """One run from random weights: the laptop encoder, `loss` (or NT-Xent), 128 numbers behind an MLP head."""
    torch.manual_seed(seed)
    encoder = encoders.resnet18("cifar") if course.profile == "gpu" else encoders.resnet10("fast")
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


def rows(about: dict, runs: Iterable[dict[str, float] | None], n: int) -> list[dict]:
    """One row for each quantity: the mean over runs and its t-interval; for a single run Wilson's, of an accuracy.

    Runs that are None, since they diverged, are left out: `seeds` tells how many are not.
    """
    runs, found = [run for run in runs if run is not None], []
    for quantity in runs[0] if runs else ():
        values = [run[quantity] for run in runs]
        low, high = mean_interval(values)
        if len(values) == 1 and 0 <= values[0] <= 1:
            low, high = wilson_interval(values[0], n)
        found.append({**about, "quantity": quantity, "value": sum(values) / len(values), "low": low, "high": high,
                      "n": n, "seeds": len(values)})
    return found
