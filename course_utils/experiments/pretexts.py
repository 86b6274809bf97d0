"""Notebook 04: rotation, jigsaw and masked patches at the same budget of images, probes on the same chart."""

from __future__ import annotations

import torch

from .. import datasets, encoders, methods, pretexts, training
from ..evaluation import features, linear_probe, mean_interval
from ..settings import Course
from .pretrain import crop_and_flip
from .rotation_stages import AFTER_STEM

TITLE = "Three pretext tasks at the same budget on 10,000 CIFAR-10 images: linear probes"
TASKS = {"random weights": (None, 0), "rotation": (methods.RotationPrediction, 1), "jigsaw": (pretexts.Jigsaw, 4),
         "masked patches": (pretexts.MaskedPatches, 4)}  # epochs, in units of rotation's, which shows an image 4 times


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each: 160,000 images through the encoder, then linear probes on test; the best stage is val's."""
    train = datasets.load("cifar10", "train", limit=course.pick(smoke=256, laptop=10_000, gpu=10_000))
    val = datasets.load("cifar10", "val", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=100, laptop=None, gpu=None))
    unit, seeds = course.pick(smoke=(1, 2), laptop=(4, 3), gpu=(4, 3))
    rates = course.pick(smoke=(0.1,), laptop=(0.03, 0.1), gpu=(0.03, 0.1))
    rows, chosen = [], {}
    for task, (make, times) in TASKS.items():
        settings = dict(epochs=max(1, unit * times), batch_size=128)
        trial = {lr: _stages(_train(make, train, lr, 0, settings, course), train, val)
                 for lr in (rates if make else rates[:1])}
        lr = max(trial, key=lambda lr: max(trial[lr].values()))
        stage = max(trial[lr], key=trial[lr].get)
        chosen[task] = {"lr": lr, "stage": stage, "val": trial}
        print(f"{task}, on val: {chosen[task]}", flush=True)
        runs = [_stages(_train(make, train, lr, seed, settings, course), train, test)
                for seed in range(seeds)]
        for name in trial[lr]:
            values = [run[name] for run in runs]
            low, high = mean_interval(values)
            rows.append({"task": task, "stage": name, "chosen": name == stage, "value": sum(values) / seeds,
                         "low": low, "high": high, "n": len(test), "seeds": seeds})
        print(f"{task}, on test: {runs}", flush=True)
    return rows, {"chosen_on_val": chosen, "images": len(train), "batch_size": 128, "epochs": unit}, test.source


def _train(make: type | None, train: datasets.ImageSet, lr: float, seed: int, settings: dict,
           course: Course) -> encoders.ResNet:
    """The encoder after its pretext task; with random weights where there is none."""
    torch.manual_seed(seed)
    encoder = encoders.resnet10("fast").to(course.device)
    if make is not None:
        views = crop_and_flip(train.images.shape[-1])
        training.fit(make(encoder, augment=views).to(course.device), train, **settings, lr=lr, seed=seed)
    return encoder


def _stages(encoder: encoders.ResNet, bank: datasets.ImageSet, cases: datasets.ImageSet) -> dict[str, float]:
    """Accuracy of a linear probe on each stage, and on the pooled features."""
    found = {}
    for stage, grid in {**AFTER_STEM, "features": 1}.items():
        stage_or_none = None if stage == "features" else stage
        z, cases_z = (features(encoder, data, stage=stage_or_none, grid=grid) for data in (bank, cases))
        found[stage] = round(linear_probe(z, bank.labels, cases_z, cases.labels).accuracy, 4)
    return found
