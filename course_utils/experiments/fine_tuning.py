"""Notebook 02: learning curves of the same network from ImageNet weights and from random ones, at the same budget."""

from __future__ import annotations

import torch

from .. import augment, datasets, encoders
from ..evaluation import fine_tune, mean_interval
from ..settings import Course

TITLE = "Fine-tuning EfficientNet-Lite0 on 1,000 CIFAR-10 images: ImageNet weights against random ones"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Test accuracy after each of ten epochs, three seeds; learning rate chosen on val for each start."""
    size, epochs = course.pick(smoke=(32, 1), laptop=(64, 10), gpu=(64, 10))
    train = datasets.load("cifar10", "train", limit=course.pick(smoke=40, laptop=1_000, gpu=1_000), size=size)
    val = datasets.load("cifar10", "val", limit=course.pick(smoke=20, laptop=500, gpu=500), size=size)
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=20, laptop=2_000, gpu=2_000), size=size)
    seeds = course.pick(smoke=2, laptop=3, gpu=3)
    rows, chosen = [], {}
    for start in ("random", "ImageNet"):
        rates = course.pick(smoke=(0.05,), laptop=(0.01, 0.05, 0.2), gpu=(0.01, 0.05, 0.2))
        scores = {lr: _curve(start, train, val, epochs, lr, 0, course)[-1] for lr in rates}
        chosen[start] = max(scores, key=scores.get)
        print(f"{start}: val accuracy by learning rate {scores}", flush=True)
        curves = [_curve(start, train, test, epochs, chosen[start], seed, course) for seed in range(seeds)]
        for epoch, accuracies in enumerate(zip(*curves, strict=True), start=1):
            low, high = mean_interval(accuracies)
            rows.append({"start": start, "epoch": epoch, "value": sum(accuracies) / seeds, "low": low, "high": high,
                         "n": len(test), "seeds": seeds})
    return rows, {"lr": chosen, "images": len(train), "size": size, "batch_size": 50}, test.source


def _curve(start: str, train: datasets.ImageSet, cases: datasets.ImageSet, epochs: int, lr: float, seed: int,
           course: Course) -> list[float]:
    torch.manual_seed(seed)
    encoder = encoders.pretrained("efficientnet_lite0") if start == "ImageNet" else encoders.efficientnet_lite0()
    history = fine_tune(encoder.to(course.device), train, cases, epochs=epochs, lr=lr, batch_size=50, seed=seed,
                        augment=augment.RandomHorizontalFlip())
    return history.column("accuracy")
