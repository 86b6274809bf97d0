"""What the tables of notebook 03 share: the tasks, one training, and the rows that it gives.

Runs are kept on the disk (`runs.once`) and shared: "100 % of the labels" in one table is a plain run of another.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .. import augment, datasets, training
from ..datasets.medical import lecture_pathologies
from ..evaluation import auc_per_class, frozen, wilson_interval
from ..methods import Supervised
from ..settings import Course
from . import transfusion_starts as starts
from .runs import Sets, once, rows

RATES = (0.02, 0.06)  # one of them is chosen on val, for each start
FEW_RATES = (0.006, *RATES)  # with few labels, for each number of them: batches are smaller there
SETS = {"retina": "fundus", "retinamnist": "retinamnist", "chest": "pneumoniamnist", "chestmnist": "chestmnist"}


def load_task(course: Course, task: str, size: int | None) -> Sets:
    """Train, val and test of a task: retina and retinamnist (moderate or worse), chest (pneumonia), chestmnist (five).

    size: in pixels, None for the source's own. Raises DatasetUnavailable where a real set is not at hand.
    """
    limits = {"train": course.pick(smoke=64, laptop=10_000, gpu=None),
              "val": course.pick(smoke=40, laptop=1_000, gpu=None),
              "test": course.pick(smoke=40, laptop=5_000, gpu=None)}
    found = {split: datasets.load(SETS[task], split, size=size, download=course.profile != "smoke") for split in limits}
    for split, limit in limits.items():
        data = found[split]
        if limit is not None and len(data) > limit:
            data = data[datasets.limited_indices(data.labels, limit, seed=0, balanced=False)]
        if task == "retinamnist":
            data = replace(data, labels=(data.labels >= 2).long(), classes=("no or mild", "moderate or worse"))
        found[split] = lecture_pathologies(data) if task == "chestmnist" else data
    return Sets(**found)


def views(task: str) -> nn.Module:
    """Changes that leave the diagnosis as it is. An eye may be turned; in a chest, left and right are not the same."""
    if task.startswith("retina"):
        return nn.Sequential(augment.RandomHorizontalFlip(), augment.RandomRotation90())
    return augment.RandomCrop(padding=2)


def run_once(course: Course, task: str, sets: Sets, *, architecture: str, start: str, seed: int, size: int | None,
             epochs: int, lr: float, labels: int | None = None) -> dict:
    """`train_run` with these settings, or what it gave before; labels: how many, None for all."""
    labels = min(labels or len(sets.train), len(sets.train))
    run = {"task": task, "architecture": architecture, "start": start, "seed": seed, "size": size, "epochs": epochs,
           "lr": lr, "labels": labels, "cases": len(sets.test),
           "made": starts.made(course, architecture, start)}
    return once(course, "transfusion", run, lambda: train_run(course, task, sets, run))


def train_run(course: Course, task: str, sets: Sets, run: dict) -> dict:
    """Train once; AUC on test of each class after the last epoch, and the mean AUC on val after each epoch.

    With few labels, on val after the last epoch alone: looking at all of val would take longer than to train.
    """
    encoder = starts.weights(course, run["architecture"], run["start"], run["seed"])
    torch.manual_seed(run["seed"])  # of the new head
    few = draw(sets.train, run["labels"], run["seed"])
    method = Supervised(encoder, len(few.classes), augment=views(task)).to(course.device).requires_grad_(True)

    def on_epoch(epoch: int, method: nn.Module) -> dict:
        if len(few) < len(sets.train) and epoch < run["epochs"]:
            return {}
        return {"val AUC": mean(aucs(scores(method, sets.val), sets.val.labels))}

    history = training.fit(method, few, epochs=run["epochs"], batch_size=64 if len(few) >= 1_000 else 16, lr=run["lr"],
                           weight_decay=1e-4, warmup_epochs=1 if run["epochs"] > 2 else 0, seed=run["seed"],
                           on_epoch=on_epoch)
    found = aucs(scores(method, sets.test), sets.test.labels)
    return {"AUC": dict(zip(diagnoses(sets.test), found, strict=True)), "val AUC": history.column("val AUC"),
            "seconds": sum(history.column("seconds"))}


def draw(train: datasets.ImageSet, labels: int, seed: int) -> datasets.ImageSet:
    """So many labelled images, ill and healthy in the set's proportion, others for each seed."""
    if labels >= len(train):
        return train
    return train[datasets.limited_indices(train.labels, labels, seed, balanced=False)]


def scores(method: Supervised, data: datasets.ImageSet) -> Tensor:
    """[N, L]: how much speaks for each diagnosis; of two classes, for the second, [N, 1]."""
    device = method.head.weight.device
    with frozen(method):
        logits = torch.cat([method.logits(images.to(device).float() / 255).float().cpu()
                            for images in data.images.split(128)])
    return logits if data.labels.ndim == 2 else logits[:, 1:] - logits[:, :1]


def aucs(scores: Tensor, labels: Tensor) -> list[float]:
    """The AUC of each column of scores [N, L]; NaN for a diagnosis that is not among the cases."""
    return auc_per_class(scores, labels if labels.ndim == 2 else labels[:, None])


def diagnoses(data: datasets.ImageSet) -> tuple[str, ...]:
    return data.classes if data.labels.ndim == 2 else data.classes[1:]


def mean(values: Iterable[float]) -> float:
    """The mean of those that are numbers."""
    return statistics.fmean([value for value in values if not math.isnan(value)] or [math.nan])


def choose_rate(course: Course, task: str, sets: Sets, rates: tuple[float, ...] = RATES,
                **run) -> tuple[float, dict[str, float]]:
    """The rate with the best AUC on val after the last epoch, seed 0, and what each rate reached."""
    found = {lr: round(run_once(course, task, sets, seed=0, lr=lr, **run)["val AUC"][-1], 4)
             for lr in course.pick(smoke=rates[-1:], laptop=rates, gpu=rates)}
    return max(found, key=found.get), found


def measured(course: Course, task: str, sets: Sets, seeds: int, *, curve: bool = True, **run) -> list[dict]:
    """The rows of one cell: AUC of each diagnosis with its sd over the seeds, speed, and the curve on val."""
    runs = [run_once(course, task, sets, seed=seed, **run) for seed in range(seeds)]
    about = {key: run[key] for key in ("architecture", "start", "size", "epochs", "lr")}
    about |= {"task": task, "size": sets.train.images.shape[-1], "labels": min(run.get("labels") or len(sets.train),
                                                                               len(sets.train))}
    found = []
    for diagnosis in diagnoses(sets.test):
        values = [run["AUC"][diagnosis] for run in runs]
        if not any(math.isnan(value) for value in values):
            found += with_sd(about | {"diagnosis": diagnosis}, "AUC", values, len(sets.test))
    if curve:
        speeds = [epochs_to(run["val AUC"]) for run in runs]
        found += with_sd(about, "epochs to 95 %", speeds, len(sets.val))
        for epoch, values in enumerate(zip(*[run["val AUC"] for run in runs], strict=True), 1):
            found += with_sd(about | {"epoch": epoch}, "val AUC", values, len(sets.val))
    print(about, [round(mean(run["AUC"].values()), 4) for run in runs], flush=True)
    return found


def with_sd(about: dict, quantity: str, values: Iterable[float], n: int) -> list[dict]:
    """The row of one quantity, with its standard deviation over the seeds beside the interval of the mean."""
    values = list(values)
    row, = rows(about, [{quantity: float(value)} for value in values], n, accuracies="AUC" in quantity)
    if len(values) == 1:
        return [row | {"low": None, "high": None, "sd": None}]  # one run says nothing about the spread of runs
    return [row | {"sd": statistics.stdev(values)}]


def epochs_to(curve: list[float], share: float = 0.95) -> int:
    """The first epoch, from 1, whose AUC is at least `share` of the last epoch's."""
    return next(epoch for epoch, value in enumerate(curve, 1) if value >= share * curve[-1])


def source_row(course: Course, architecture: str) -> list[dict]:
    """The row of an architecture's accuracy on its own natural-image task, where that was measured here."""
    found = starts.source_accuracy(course, architecture)
    if found is None:
        return []
    value, n = found["source accuracy"], found["n"]
    low, high = wilson_interval(value, n)
    return [{"architecture": architecture, "quantity": "source accuracy", "value": value, "low": low, "high": high,
             "n": n, "seeds": 1}]
