"""Notebook 04: one minute of rotation prediction on `scenes`, against random weights."""

from __future__ import annotations

import torch

from .. import datasets, encoders, evaluation, methods, training
from ..settings import Course

TITLE = "A minute of rotation prediction on scenes (pictures made by code), linear probe"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds: probe with a 5,000-image bank on test, before training and after at most a minute of it."""
    train = datasets.load("scenes", "train", limit=course.pick(smoke=256, laptop=10_000, gpu=10_000))
    test = datasets.load("scenes", "test", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000))
    bank = train[datasets.limited_indices(train.labels, min(5_000, len(train)), seed=0)]
    settings = dict(epochs=course.pick(smoke=1, laptop=5, gpu=10), lr=0.1, warmup_epochs=0.5,
                    batch_size=course.pick(smoke=32, laptop=128, gpu=128))
    found = {"random weights": [], "rotation prediction": []}
    minutes = []
    for seed in range(course.pick(smoke=2, laptop=3, gpu=3)):
        torch.manual_seed(seed)
        method = methods.RotationPrediction(encoders.resnet10("fast")).to(course.device)
        for name in found:
            if name == "rotation prediction":
                history = training.fit(method, train, **settings, seed=seed, max_minutes=1)
                minutes.append(round(history.minutes, 2))
            z, test_z = (evaluation.features(method.encoder, data) for data in (bank, test))
            found[name].append(evaluation.linear_probe(z, bank.labels, test_z, test.labels).accuracy)
    print(f"{found}, minutes {minutes}", flush=True)
    rows = []
    for name, values in found.items():
        low, high = evaluation.mean_interval(values)
        rows.append({"feature": name, "value": sum(values) / len(values), "low": low, "high": high, "n": len(test),
                     "seeds": len(values)})
    return rows, settings | {"images": len(train), "minutes": minutes}, test.source
