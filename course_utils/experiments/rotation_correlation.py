"""Notebook 04: does accuracy on classes follow accuracy on rotations, epoch by epoch?"""

from __future__ import annotations

import numpy as np
import torch

from .. import datasets, encoders, evaluation, methods, training
from ..settings import Course
from .pretrain import crop_and_flip, head_accuracy

TITLE = "Pretext against downstream accuracy over the epochs of rotation prediction, CIFAR-10"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds on 10,000 images: after each epoch rotation accuracy and a linear probe, both on the val split.

    Rows: one for each seed, epoch and quantity, and the correlation of each seed (quantity "correlation", whose
    interval takes the epochs as independent) with their mean over the seeds (quantity "mean correlation").
    """
    train = datasets.load("cifar10", "train", limit=course.pick(smoke=256, laptop=10_000, gpu=10_000))
    val = datasets.load("cifar10", "val", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000))
    bank = train[:course.pick(smoke=256, laptop=5_000, gpu=5_000)]
    settings = dict(epochs=course.pick(smoke=4, laptop=12, gpu=12), lr=0.1,
                    batch_size=course.pick(smoke=64, laptop=128, gpu=128))
    views = crop_and_flip(train.images.shape[-1])
    rows, correlations = [], []
    for seed in range(course.pick(smoke=2, laptop=3, gpu=3)):
        torch.manual_seed(seed)
        method = methods.RotationPrediction(encoders.resnet10("fast"), augment=views).to(course.device)
        seen = training.fit(method, train, **settings, seed=seed,
                            on_epoch=lambda epoch, method: measure(method, bank, val)).rows
        print(f"seed {seed}: {seen}", flush=True)
        for row in seen:
            for quantity in ("rotation accuracy", "linear probe"):
                low, high = evaluation.wilson_interval(row[quantity], len(val))
                rows.append({"seed": seed, "epoch": row["epoch"], "quantity": quantity, "value": row[quantity],
                             "low": low, "high": high, "n": len(val), "seeds": 1})
        r = np.corrcoef(*([row[q] for row in seen] for q in ("rotation accuracy", "linear probe")))[0, 1].item()
        low, high = evaluation.correlation_interval(r, len(seen))
        correlations.append(r)
        rows.append({"seed": seed, "quantity": "correlation", "value": r, "low": low, "high": high, "n": len(seen),
                     "seeds": 1})
    z = np.arctanh(correlations)  # Fisher's transformation: r itself is skewed, and an interval could leave [-1, 1]
    low, high = evaluation.mean_interval(z.tolist())
    rows.append({"quantity": "mean correlation", "value": np.tanh(z.mean()), "low": np.tanh(low),
                 "high": np.tanh(high), "n": len(seen), "seeds": len(correlations)})
    return rows, settings | {"images": len(train), "bank": len(bank)}, val.source


def measure(method: methods.RotationPrediction, bank: datasets.ImageSet, val: datasets.ImageSet) -> dict[str, float]:
    """Accuracy on the rotations and, by a linear probe, on the classes of val."""
    turned = methods.all_rotations(val.images)  # [4N, 3, H, W]
    turns = torch.arange(4).repeat_interleave(len(val))
    z = evaluation.features(method.encoder, turned)
    bank_z = evaluation.features(method.encoder, bank)
    probe = evaluation.linear_probe(bank_z, bank.labels, z[:len(val)], val.labels)
    return {"rotation accuracy": head_accuracy(method.head, z, turns), "linear probe": probe.accuracy}
