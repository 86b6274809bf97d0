"""Notebook 07: how many keys in the queue? From fewer than a batch to four for each image of the data set."""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, load_sets, over_seeds, run_once

TITLE = "MoCo's queue length K on 10,000 CIFAR-10 images: probes"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each K at one learning rate, chosen on val with K = 4,096; probes on test."""
    sets, size = load_sets(course), budget(course)
    images = len(sets.train)
    lengths = course.pick(smoke=(32, 4096), laptop=(128, 1024, 4096, images, 4 * images),
                          gpu=(128, 1024, 4096, images, 4 * images))
    lr, rates = choose_rate(course, sets)
    rows = []
    for length in lengths:
        runs = [run_once(course, sets, seed, lr, queue_length=length) for seed in range(size["seeds"])]
        for quantity in ("linear probe", "kNN"):
            rows.append({"queue_length": length, "share_of_set": length / images, "n": len(sets.test)}
                        | over_seeds(runs, quantity))
    settings = {"lr": lr, "val_accuracy_by_lr": rates, "momentum": 0.99, **size, "images": images}
    return rows, settings, sets.test.source
