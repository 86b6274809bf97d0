"""Notebook 07: the momentum m, from 0 to 0.999. Does a fast key encoder fail, as in the paper's ablation?"""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, load_sets, over_seeds, run_once

TITLE = "MoCo's momentum m on 10,000 CIFAR-10 images: probes, and the loss of the first steps"
MOMENTA = (0.0, 0.9, 0.99, 0.999)
PAPER = {0.0: None, 0.9: 55.2, 0.99: 57.8, 0.999: 59.0}  # ImageNet top-1, He et al. 2020, Section 4.1; m = 0 "fails"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each m at one learning rate, chosen on val with m = 0.99; probes on test."""
    sets, size = load_sets(course), budget(course)
    lr, rates = choose_rate(course, sets)
    rows = []
    for m in MOMENTA:
        runs = [run_once(course, sets, seed, lr, momentum=m) for seed in range(size["seeds"])]
        for quantity in ("linear probe", "kNN"):
            rows.append({"momentum": m, "step": None, "paper": PAPER[m] if quantity == "linear probe" else None,
                         "n": len(sets.test)} | over_seeds(runs, quantity))
        for step, losses in enumerate(zip(*[run["first losses"] for run in runs], strict=True), 1):
            rows.append({"momentum": m, "step": step, "paper": None, "n": size["batch_size"]}
                        | over_seeds([{"loss": loss} for loss in losses], "loss"))
        for epoch, losses in enumerate(zip(*[run["epoch losses"] for run in runs], strict=True), 1):
            rows.append({"momentum": m, "step": epoch, "paper": None, "n": len(sets.train)}
                        | over_seeds([{"epoch loss": loss} for loss in losses], "epoch loss"))
    settings = {"lr": lr, "val_accuracy_by_lr": rates, "queue_length": 4096, **size, "images": len(sets.train),
                "steps": len(sets.train) // size["batch_size"] * size["epochs"]}
    return rows, settings, sets.test.source
