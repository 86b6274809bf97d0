"""Notebook 06, Figure 9 of SimCLR: batch size against epochs, large batches in the memory of small ones."""

from __future__ import annotations

from ..settings import Course
from .runs import load_sets, rows
from .simclr_runs import attempt, settings

TITLE = "Batch size and epochs on 10,000 CIFAR-10 images: linear probe"
MICRO_BATCH = 512  # views that the encoder sees at a time, where the batch is larger


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Learning rate of each batch size from short trials on val; then batch size × epochs × three seeds, on test."""
    sets, fit = load_sets(course), settings(course)
    batches = course.pick(smoke=(32, 64), laptop=(64, 256, 1_024), gpu=(128, 512, 2_048))
    lengths = course.pick(smoke=(1,), laptop=(2, 6), gpu=(25, 100))
    seeds = range(course.pick(smoke=2, laptop=3, gpu=3))
    found, chosen = [], {}
    for batch_size in batches:
        micro_batch = MICRO_BATCH if 2 * batch_size > MICRO_BATCH else None
        own = fit | {"batch_size": batch_size, "epochs": lengths[0]}
        root = (batch_size / 256)**0.5 * course.pick(smoke=0.2, laptop=0.2, gpu=0.04)
        rates = [round(root * factor, 4) for factor in course.pick(smoke=(1,), laptop=(0.5, 1, 2), gpu=(0.5, 1, 2))]
        trials = {lr: attempt(course, "simclr-batch", {"split": "val"}, sets.train, sets.val, own | {"lr": lr}, 0,
                              micro_batch=micro_batch) for lr in rates}
        on_val = {lr: round(trial["linear probe"], 4) if trial else 0.0 for lr, trial in trials.items()}
        lr = max(on_val, key=on_val.get)
        chosen[batch_size] = on_val
        for epochs in lengths:
            runs = [attempt(course, "simclr-batch", {"split": "test"}, sets.train, sets.test,
                            own | {"lr": lr, "epochs": epochs}, seed, micro_batch=micro_batch) for seed in seeds]
            steps = epochs * (len(sets.train) // batch_size)
            found += rows({"batch_size": batch_size, "epochs": epochs, "steps": steps, "lr": lr}, runs, len(sets.test))
    settings_ = {**fit, "lr": "chosen on val", "epochs": lengths, "batch_size": batches, "micro_batch": MICRO_BATCH,
                 "val_accuracy_by_lr": chosen, "images": len(sets.train)}
    return found, settings_, sets.test.source
