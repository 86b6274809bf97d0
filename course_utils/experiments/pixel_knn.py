"""Notebook 01: what nearest neighbours in pixel space are worth on CIFAR-10, by metric and by scaling."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from .. import datasets
from ..evaluation import knn_accuracy, nearest_neighbors, wilson_interval
from ..settings import Course

TITLE = "kNN on raw pixels, CIFAR-10"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Weighted cosine kNN (k 20, τ 0.07) with a 10,000-image bank, and 1-NN with the full 50,000 as CS231n has it."""
    limit = course.pick(smoke=200, laptop=None, gpu=None)
    bank = datasets.load("cifar10", "train", limit=limit or 10_000)
    everything = datasets.load("cifar10", "train+val", limit=limit)
    test = datasets.load("cifar10", "test", limit=limit)
    rows = []

    def add(accuracy: float, **about) -> None:
        low, high = wilson_interval(accuracy, len(test))
        rows.append({**about, "value": accuracy, "low": low, "high": high, "n": len(test), "seeds": 1})

    for scaling, scale in (("raw", flat), ("standardised per channel", standardised)):
        accuracy = knn_accuracy(scale(bank), bank.labels, scale(test), test.labels)
        add(accuracy, scaling=scaling, metric="cosine", vote="20 nearest, weighted", bank=len(bank))
    for metric in ("l1", "l2", "cosine"):
        _, index = nearest_neighbors(flat(test).to(course.device), flat(everything).to(course.device), 1, metric)
        accuracy = (everything.labels[index[:, 0].cpu()] == test.labels).float().mean().item()
        add(accuracy, scaling="raw", metric=metric, vote="nearest", bank=len(everything))
    return rows, {"bank_seed": 0, "k": 20, "temperature": 0.07}, test.source


def flat(data: datasets.ImageSet) -> Tensor:
    """Pixels in [0, 1] as vectors [N, C·H·W]."""
    return data.float_images().flatten(1)


def standardised(data: datasets.ImageSet) -> Tensor:
    """Pixels [N, C·H·W], each channel scaled to mean 0 and standard deviation 1 over CIFAR-10's training images."""
    mean, std = _channel_statistics()
    return ((data.float_images() - mean) / std).flatten(1)


@cache
def _channel_statistics() -> tuple[Tensor, Tensor]:
    train = datasets.load("cifar10", "train+val").float_images()
    return train.mean(dim=(0, 2, 3), keepdim=True), train.std(dim=(0, 2, 3), keepdim=True)
