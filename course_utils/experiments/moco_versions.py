"""Notebook 07: from MoCo v1 to v2, one part at a time, with SimCLR beside them (MoCo v2, Tables 1 and 2)."""

from __future__ import annotations

from ..settings import Course
from .moco_runs import budget, choose_rate, run_once
from .runs import load_sets, rows

TITLE = "MoCo v1 to v2 by their parts on 10,000 CIFAR-10 images: probes"
V1 = dict(head="linear", temperature=0.07, views="v1", schedule="step")
V2 = dict(head="mlp", temperature=0.2, views="v2", schedule="cosine")
MLP = {key: V2[key] for key in ("head", "temperature")}  # each head with the temperature that the papers give it
VARIANTS = {  # name: its settings, and the paper's top-1 (ImageNet, 200 epochs, batch 256) where it has one
    "MoCo v1": (V1, 60.6), "v1 + MLP head": (V1 | MLP, 66.2), "v1 + v2's views": (V1 | {"views": "v2"}, 63.4),
    "v1 + cosine": (V1 | {"schedule": "cosine"}, None), "MoCo v2": (V2, 67.5),
    "SimCLR, same batch": (V2 | {"method": "simclr"}, 61.9)}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each; the rate is chosen on val for v1 (and all with its head), for v2 (the same) and SimCLR."""
    sets, size = load_sets(course), budget(course)
    rates, found = {}, []
    for name, (variant, paper) in VARIANTS.items():
        group = name if name.startswith("SimCLR") else {"linear": "MoCo v1", "mlp": "MoCo v2"}[variant["head"]]
        if group not in rates:
            rates[group] = choose_rate(course, sets, **VARIANTS[group][0])
        lr = rates[group][0]
        runs = [run_once(course, sets, seed, lr, **variant) for seed in range(size["seeds"])]
        about = {"variant": name, "lr": lr, **variant}
        found += rows(about | {"paper": paper}, runs, len(sets.test), ["linear probe"])
        found += rows(about | {"paper": None}, runs, len(sets.test), ["kNN"])
    settings = {"val_accuracy_by_lr": {group: tried for group, (_, tried) in rates.items()}, "queue_length": 4096,
                "momentum": 0.99, **size, "images": len(sets.train)}
    return found, settings, sets.test.source
