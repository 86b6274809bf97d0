"""Notebook 07: what a key gives away through BatchNorm, and what split and shuffled BatchNorm change."""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, run_once
from .runs import load_sets, rows

TITLE = "BatchNorm in pieces, shuffled or not, MoCo on 10,000 CIFAR-10 images: probes, and contrastive accuracy on val"
VARIANTS = {"one piece": (1, True), "4 pieces, shuffled": (4, True), "8 pieces, shuffled": (8, True),
            "8 pieces, not shuffled": (8, False)}
QUANTITIES = {"linear probe": "test", "kNN": "test", "contrastive accuracy, train mode": "val",
              "contrastive accuracy, eval mode": "val"}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each at one learning rate, chosen on val with one piece; probes on test."""
    sets, size = load_sets(course), budget(course)
    lr, rates = choose_rate(course, sets)
    found = []
    for name, (pieces, shuffle) in VARIANTS.items():
        runs = [run_once(course, sets, seed, lr, split_bn=pieces, shuffle=shuffle) for seed in range(size["seeds"])]
        n = {quantity: len(getattr(sets, split)) for quantity, split in QUANTITIES.items()}
        found += rows({"variant": name, "pieces": pieces, "shuffle": shuffle}, runs, n, QUANTITIES)
    settings = {"lr": lr, "val_accuracy_by_lr": rates, "queue_length": 4096, "momentum": 0.99, **size,
                "images": len(sets.train)}
    return found, settings, sets.test.source
