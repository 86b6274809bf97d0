"""Notebook 07: the momentum m, from 0 to 0.999. Does a fast key encoder fail, as in the paper's ablation?"""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, run_once
from .runs import load_sets, rows

TITLE = "MoCo's momentum m on 10,000 CIFAR-10 images: probes, and the loss of the first steps"
MOMENTA = (0.0, 0.9, 0.99, 0.999)
PAPER = {0.0: None, 0.9: 55.2, 0.99: 57.8, 0.999: 59.0}  # ImageNet top-1, He et al. 2020, Section 4.1; m = 0 "fails"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each m at one learning rate, chosen on val with m = 0.99; probes on test."""
    sets, size = load_sets(course), budget(course)
    lr, rates = choose_rate(course, sets)
    found = []
    for m in MOMENTA:
        runs = [run_once(course, sets, seed, lr, momentum=m) for seed in range(size["seeds"])]
        about = {"momentum": m, "step": None, "paper": None}
        found += rows(about | {"paper": PAPER[m]}, runs, len(sets.test), ["linear probe"])
        found += rows(about, runs, len(sets.test), ["kNN"])
        for quantity, key, n in (("loss", "first losses", size["batch_size"]),
                                 ("epoch loss", "epoch losses", len(sets.train))):
            for step, values in enumerate(zip(*[run[key] for run in runs], strict=True), 1):
                found += rows(about | {"step": step}, [{quantity: value} for value in values], n,
                              accuracies=False)
    settings = {"lr": lr, "val_accuracy_by_lr": rates, "queue_length": 4096, **size, "images": len(sets.train),
                "steps": len(sets.train) // size["batch_size"] * size["epochs"]}
    return found, settings, sets.test.source
