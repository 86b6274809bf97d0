"""Notebook 04: few labels. A network trained from scratch on them, against a probe on frozen RotNet features."""

from __future__ import annotations

import torch
from torch import nn

from .. import checkpoints, datasets, encoders
from ..evaluation import features, linear_probe, mean_interval, nonlinear_probe, wilson_interval
from ..methods import Supervised
from ..settings import Course
from ..training import fit
from .pretrain import crop_and_flip, head_accuracy
from .rotation_stages import AFTER_STEM

TITLE = "Labels per class, CIFAR-10: supervised from scratch against probes on frozen RotNet features"
STEPS = {20: 600, 100: 1000, 400: 1600, 1000: 2500}  # of 128 images, from scratch


def run(course: Course) -> tuple[list[dict], dict, str]:
    """20 to 1,000 labels per class, three draws of the labels, on test; with all labels one run each.

    From scratch a draw has first weights of its own. With all labels "from scratch" is the shipped network.
    """
    train = datasets.load("cifar10", "train", limit=course.pick(smoke=400, laptop=None, gpu=None))
    val = datasets.load("cifar10", "val", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=100, laptop=None, gpu=None))
    encoder = checkpoints.load("rotation-cifar10").encoder.to(course.device)
    counts = course.pick(smoke=(5, 20), laptop=tuple(STEPS), gpu=tuple(STEPS))
    seeds = range(course.pick(smoke=2, laptop=3, gpu=3))
    stages = {stage: _stage(encoder, stage, grid, train, val) for stage, grid in AFTER_STEM.items()}
    stage = max(stages, key=stages.get)
    grid = AFTER_STEM[stage]
    rates = course.pick(smoke=(0.05,), laptop=(0.03, 0.1), gpu=(0.03, 0.1))
    rates = {lr: _from_scratch(train.few(min(100, max(counts)), 99), val, lr, 0, course) for lr in rates}
    lr = max(rates, key=rates.get)
    print(f"on val: probe by stage {stages}, from scratch by lr {rates}", flush=True)
    train_z, test_z = (features(encoder, data, stage=stage, grid=grid) for data in (train, test))
    rows = []
    for count in counts:
        found = {"supervised from scratch": [], "RotNet + linear probe": [], "RotNet + non-linear probe": []}
        for seed in seeds:
            few = datasets.balanced_indices(train.labels, count, len(train.classes), seed)
            z, y = train_z[few], train.labels[few]
            found["RotNet + linear probe"].append(linear_probe(z, y, test_z, test.labels).accuracy)
            found["RotNet + non-linear probe"].append(
                nonlinear_probe(z, y, test_z, test.labels, batch_size=64, epochs=60).accuracy)
            found["supervised from scratch"].append(_from_scratch(train[few], test, lr, seed, course))
        print(count, found, flush=True)
        for way, values in found.items():
            low, high = mean_interval(values)
            rows.append({"way": way, "per_class": count, "value": sum(values) / len(values), "low": low, "high": high,
                         "n": len(test), "seeds": len(values)})
    everything = {"RotNet + linear probe": linear_probe(train_z, train.labels, test_z, test.labels).accuracy,
                  "RotNet + non-linear probe": nonlinear_probe(train_z, train.labels, test_z, test.labels).accuracy,
                  "supervised from scratch": _shipped_classifier(test, course)}
    for way, value in everything.items():
        low, high = wilson_interval(value, len(test))
        rows.append({"way": way, "per_class": len(train) // len(train.classes), "value": value, "low": low,
                     "high": high, "n": len(test), "seeds": 1})
    settings = {"stage": stage, "grid": grid, "val_accuracy_by_stage": stages,
                "lr": lr, "val_accuracy_by_lr": rates, "steps": STEPS, "batch_size": 128}
    return rows, settings, test.source


def _stage(encoder: nn.Module, stage: str, grid: int, train: datasets.ImageSet, val: datasets.ImageSet) -> float:
    """Accuracy on val of a linear probe on that stage, from 5,000 training images."""
    bank = train[datasets.limited_indices(train.labels, min(5_000, len(train)), seed=0)]
    z, val_z = (features(encoder, data, stage=stage, grid=grid) for data in (bank, val))
    return round(linear_probe(z, bank.labels, val_z, val.labels).accuracy, 4)


def _from_scratch(train: datasets.ImageSet, cases: datasets.ImageSet, lr: float, seed: int, course: Course) -> float:
    """Accuracy on `cases` of the laptop encoder, trained on these images alone, after the last epoch."""
    torch.manual_seed(seed)
    views = crop_and_flip(train.images.shape[-1])
    method = Supervised(encoders.resnet10("fast"), len(train.classes), augment=views).to(course.device)
    batch = min(128, len(train))
    steps = 4 if course.profile == "smoke" else STEPS[len(train) // len(train.classes)]
    fit(method, train, epochs=max(1, steps // (len(train) // batch)), batch_size=batch, lr=lr, seed=seed)
    return head_accuracy(method.head, features(method.encoder, cases), cases.labels)


def _shipped_classifier(cases: datasets.ImageSet, course: Course) -> float:
    """Accuracy of the shipped supervised network, which saw all labels of the train split."""
    shipped = checkpoints.load("supervised-cifar10")
    z = features(shipped.encoder.to(course.device), cases)
    return head_accuracy(shipped.head.to(course.device), z, cases.labels)
