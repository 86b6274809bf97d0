"""Notebook 02: accuracy against labels per class, on frozen features of four f(x)."""

from __future__ import annotations

from .. import datasets
from ..evaluation import PROBE_L2, label_efficiency
from ..settings import Course
from .scoreboard_cifar10 import representations

TITLE = "Few labels on frozen features, CIFAR-10"
PER_CLASS = (1, 2, 5, 10, 50)


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Linear probes on 1 to 50 labels per class, five draws of the labels each, on the test split."""
    bank = datasets.load("cifar10", "train", limit=course.pick(smoke=600, laptop=5_000, gpu=5_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=200, laptop=5_000, gpu=None))
    rows = []
    for name, (notebook, f) in representations(course).items():
        if notebook > 2:
            continue
        curve = label_efficiency((f(bank), f(test)), bank, test, PER_CLASS, seeds=5)
        rows += [{"feature": name, "value": row.pop("accuracy"), **row} for row in curve.to_dict("records")]
    return rows, {"probe_l2": PROBE_L2, "pool": len(bank)}, test.source
