"""Notebook 04: linear and non-linear probes on each stage of RotNet, a supervised and a random network."""

from __future__ import annotations

import torch

from .. import checkpoints, datasets, encoders
from ..evaluation import features, linear_probe, nonlinear_probe
from ..settings import Course

TITLE = "Probes by stage, CIFAR-10: rotation prediction, supervised, random weights"
GRID = {"stem": 6, "stage1": 6, "stage2": 4, "stage3": 3, "stage4": 2}  # cells a side: about 1,100 numbers everywhere
AFTER_STEM = {stage: grid for stage, grid in GRID.items() if stage != "stem"}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Two probes on five stages of three networks, trained on 20,000 images, on test. One run each."""
    bank = datasets.load("cifar10", "train", limit=course.pick(smoke=400, laptop=20_000, gpu=20_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=100, laptop=None, gpu=None))
    torch.manual_seed(0)
    networks = {"rotation": checkpoints.load("rotation-cifar10").encoder,
                "supervised": checkpoints.load("supervised-cifar10").encoder,
                "random": encoders.resnet10("fast")}
    rows = []
    for network, encoder in networks.items():
        encoder.to(course.device)
        for stage, grid in GRID.items():
            bank_z, test_z = (features(encoder, data, stage=stage, grid=grid) for data in (bank, test))
            for kind, probe in (("linear", linear_probe), ("non-linear", nonlinear_probe)):
                found = probe(bank_z, bank.labels, test_z, test.labels)
                low, high = found.interval
                rows.append({"network": network, "stage": stage, "probe": kind, "dimension": bank_z.shape[1],
                             "value": found.accuracy, "low": low, "high": high, "n": len(test), "seeds": 1})
                print(f"{network}, {stage}, {kind}: {found.accuracy:.3f}", flush=True)
    return rows, {"bank_size": len(bank), "grid": GRID}, test.source
