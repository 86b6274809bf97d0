"""Notebook 07: how many keys in the queue? From fewer than a batch to four for each image of the data set."""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, run_once
from .runs import load_sets, rows

TITLE = "MoCo's queue length K on 10,000 CIFAR-10 images: probes"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each K at one learning rate, chosen on val with K = 4,096; probes on test."""
    sets, size = load_sets(course), budget(course)
    images = len(sets.train)
    lengths = course.pick(smoke=(32, 4096), laptop=(128, 1024, 4096, images, 4 * images),
                          gpu=(128, 1024, 4096, images, 4 * images))
    lr, rates = choose_rate(course, sets)
    found = []
    for length in lengths:
        runs = [run_once(course, sets, seed, lr, queue_length=length) for seed in range(size["seeds"])]
        about = {"queue_length": length, "share_of_set": length / images}
        found += rows(about, runs, len(sets.test), ("linear probe", "kNN"))
    settings = {"lr": lr, "val_accuracy_by_lr": rates, "momentum": 0.99, **size, "images": images}
    return found, settings, sets.test.source
