"""Notebook 06, the lecture's transfer table: SimCLR, supervised and random weights, frozen and fine-tuned elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from .. import augment, checkpoints, datasets, encoders
from ..evaluation import features, fine_tune, linear_probe
from ..settings import Course
from .runs import Sets, once, rows

TITLE = "Transfer from CIFAR-10 with 1,000 labels: linear probe and fine-tuning"
STARTS = {"SimCLR": "simclr-cifar10", "supervised": "supervised-cifar10", "random": None}
RATES = (0.01, 0.05)


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Each start on each target; the learning rate of fine-tuning is val's; three draws of labels and new layers."""
    seeds = range(course.pick(smoke=2, laptop=3, gpu=3))
    size = {"epochs": course.pick(smoke=1, laptop=10, gpu=30), "labels": course.pick(smoke=60, laptop=1_000, gpu=1_000)}
    rates = course.pick(smoke=RATES[:1], laptop=RATES, gpu=RATES)
    found, chosen, sources = [], {}, []
    for target, sets in targets(course).items():
        sources.append(sets.test.source)
        majority = torch.bincount(sets.test.labels).max().item() / len(sets.test)
        for start, name in STARTS.items():
            card = checkpoints.load(name).card if name else {}
            run = {"target": target, "start": start, "made": card.get("date"), "pre-trained": card.get("epochs_run"),
                   "cases": len(sets.test), **size}

            def tuned(lr: float, seed: int, split: str, start=start, sets=sets, run=run) -> float:
                encoder, few = weights(start, seed).to(course.device), draw(sets.train, size["labels"], seed)
                return once(course, "simclr-transfer", run | {"lr": lr, "seed": seed, "split": split},
                            partial(fine_tuned, encoder, few, getattr(sets, split), lr, size["epochs"], seed))

            on_val = {lr: round(tuned(lr, 0, "val"), 4) for lr in rates}
            chosen[f"{start}, {target}"], lr = on_val, max(on_val, key=on_val.get)
            runs = [{"linear": probed(weights(start, seed).to(course.device), draw(sets.train, size["labels"], seed),
                                      sets.test), "fine-tuned": tuned(lr, seed, "test")} for seed in seeds]
            found += rows({"target": target, "start": start, "majority": majority}, runs, len(sets.test))
    return found, {**size, "batch_size": 64, "val_accuracy_by_lr": chosen}, "; ".join(dict.fromkeys(sources))


def targets(course: Course) -> dict[str, Sets]:
    """Five tasks at 32 px: CIFAR-10 itself, objects and places in `scenes`, scanned digits, X-rays of the chest."""
    splits = {"train": None, "val": course.pick(smoke=60, laptop=1_000, gpu=None),
              "test": course.pick(smoke=60, laptop=2_000, gpu=None)}

    def sets(name: str, **options) -> Sets:
        return Sets(*(datasets.load(name, split, limit=limit, **options) for split, limit in splits.items()))

    scenes = sets("scenes")
    places = Sets(*(quadrants(getattr(scenes, split)) for split in splits))
    return {"CIFAR-10": sets("cifar10"), "scenes: object": scenes, "scenes: place": places, "digits": digits(),
            "pneumonia": sets("pneumoniamnist", size=32)}


def quadrants(scenes: datasets.ImageSet) -> datasets.ImageSet:
    """The same pictures; the question is in which quarter of the picture the object's centre lies."""
    x, y = (scenes.factors["position"] > 0.5).long().unbind(1)
    return replace(scenes, labels=2 * y + x, classes=("top left", "top right", "bottom left", "bottom right"))


def digits() -> Sets:
    """scikit-learn's 1,797 scanned digits, 8×8 made 32×32: 1,100 to train on, 297 val, 400 test."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = torch.tensor(scans.images / 16 * 255).round().to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    data = datasets.ImageSet(datasets.resize_square(images, 32), torch.tensor(scans.target).long(), tuple("0123456789"),
                             "digits", "scikit-learn's scanned digits")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return Sets(*(data[part] for part in order.split([1_100, 297, 400])))


def draw(train: datasets.ImageSet, labels: int, seed: int) -> datasets.ImageSet:
    """So many labelled training images, other ones for each seed (of the digits, mostly the same)."""
    return train[datasets.limited_indices(train.labels, min(labels, len(train)), seed)]


def weights(start: str, seed: int) -> nn.Module:
    """The encoder that this start means; random weights are drawn by the seed."""
    if STARTS[start]:
        return checkpoints.load(STARTS[start]).encoder
    torch.manual_seed(seed)
    return encoders.resnet10("fast")


def probed(encoder: nn.Module, few: datasets.ImageSet, cases: datasets.ImageSet) -> float:
    """Accuracy on `cases` of a linear probe on frozen features."""
    return linear_probe(features(encoder, few), few.labels, features(encoder, cases), cases.labels).accuracy


def fine_tuned(encoder: nn.Module, few: datasets.ImageSet, cases: datasets.ImageSet, lr: float, epochs: int,
               seed: int) -> float:
    """Accuracy on `cases` after the last epoch of training all layers on."""
    views = augment.RandomCrop(padding=2)  # no mirror images: a mirrored 2 is no 2
    return fine_tune(encoder, few, cases, epochs=epochs, lr=lr, augment=views, seed=seed).column("accuracy")[-1]
