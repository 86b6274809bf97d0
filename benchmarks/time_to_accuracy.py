"""Time of training to a given kNN accuracy: `fit` against lightly's loop, same images, encoder, recipe and seeds.

    python benchmarks/time_to_accuracy.py [--images 10000] [--epochs 8] [--target 0.4] [--seeds 0 1 2 3 4 5]

The two train in turns, an epoch each, so that whatever else the machine does slows both. kNN accuracy (k 20, τ 0.07)
is measured on val after every epoch and its time does not count. Times and accuracies are means over the seeds; one
seed alone says little, its accuracy moves by two points. Without a target it is the lower of the two final accuracies.
An epoch that crosses the target counts in part, by linear interpolation. Writes time_to_accuracy.json and .png.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import os
import random
import statistics
import sys
from pathlib import Path

import peer
import torch
from torch import nn

from course_utils import datasets, encoders, evaluation, training
from course_utils.checkpoints import machine
from course_utils.datasets.imageset import ImageSet
from course_utils.experiments.pretrain import contrastive_views
from course_utils.methods import SimCLR

TEMPERATURE, BATCH = 0.2, 256
LABELS = {"ours": "fit", "lightly": "lightly's loop"}
NAMES = tuple(LABELS)


def seconds_to(target: float, seconds: list[float], accuracy: list[float]) -> float | None:
    """When the accuracy, measured after each epoch, first reaches the target; None if it never does."""
    clock, before = 0.0, 0.0
    for took, now in zip(seconds, accuracy, strict=True):
        if now >= target:
            return clock + took * (max(target - before, 0) / (now - before) if now > before else 1)
        clock, before = clock + took, now
    return None


def compare(args: argparse.Namespace, seed: int, train: ImageSet, val: ImageSet) -> tuple[dict, dict]:
    """Seconds and kNN accuracy of every epoch, by name, of the two trained side by side from the same weights."""
    bank = train[:5_000]

    def accuracy(encoder: nn.Module) -> float:
        z, cases = evaluation.features(encoder, bank), evaluation.features(encoder, val)
        return evaluation.knn_accuracy(z, bank.labels, cases, val.labels)

    torch.manual_seed(seed)
    encoder = encoders.resnet10("fast").to(args.device)
    head = encoders.projection_head(encoder.feature_dim).to(args.device)
    method = SimCLR(encoder, augment=contrastive_views(train.images.shape[-1]), head=head, temperature=TEMPERATURE)
    other = copy.deepcopy(encoder)
    theirs = peer.epochs(other, copy.deepcopy(head), train.images, count=args.epochs, batch=BATCH, lr=args.lr,
                         temperature=TEMPERATURE, workers=args.workers, warmup=args.warmup)
    times, knn = {name: [] for name in NAMES}, {name: [] for name in NAMES}

    def on_epoch(epoch: int, method: SimCLR) -> None:
        knn["ours"].append(accuracy(method.encoder))
        times["lightly"].append(next(theirs))
        knn["lightly"].append(accuracy(other))
        print(f"seed {seed}, epoch {epoch}: kNN {knn['ours'][-1]:.3f}, lightly's loop {knn['lightly'][-1]:.3f}",
              flush=True)

    history = training.fit(method, train, epochs=args.epochs, batch_size=BATCH, lr=args.lr, seed=seed,
                           warmup_epochs=args.warmup, on_epoch=on_epoch)
    times["ours"] = history.column("seconds")
    return times, knn


def mean_curves(runs: list[tuple[dict, dict]]) -> tuple[dict, dict]:
    """Seconds and kNN accuracy of every epoch, by name, as means over the seeds."""
    return tuple({name: [statistics.mean(values) for values in zip(*(run[k][name] for run in runs), strict=True)]
                  for name in NAMES} for k in (0, 1))


def ratio(runs: list[tuple[dict, dict]], target: float | None) -> tuple[float, dict[str, float]]:
    """The target, and the seconds to it by name, of the mean curves (inf where it is not reached)."""
    times, knn = mean_curves(runs)
    target = target or min(values[-1] for values in knn.values())
    return target, {name: seconds_to(target, times[name], knn[name]) or math.inf for name in NAMES}


def interval(runs: list[tuple[dict, dict]], target: float | None, draws: int = 2_000) -> tuple[float, float]:
    """95 % of the time ratios in bootstrap samples of the seeds; in each the target is chosen anew, if it is chosen."""
    chance, found = random.Random(0), []
    for _ in range(draws):
        _, seconds = ratio(chance.choices(runs, k=len(runs)), target)
        found.append(seconds["ours"] / seconds["lightly"])
    found.sort()
    return found[int(0.025 * draws)], found[int(0.975 * draws)]


def draw(runs: list[tuple[dict, dict]], path: Path) -> None:
    """kNN accuracy against seconds of training: every seed thin, their mean thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, color in zip(NAMES, ("C0", "C1"), strict=True):
        for k, (times, knn) in enumerate([*runs, mean_curves(runs)]):
            mean = k == len(runs)
            axes.plot(list(itertools.accumulate(times[name])), knn[name], color=color, lw=2.5 if mean else 0.6,
                      marker="o" if mean else None, label=LABELS[name] if mean else None)
    axes.set(xlabel="seconds of training", ylabel="kNN accuracy on val",
             title=f"SimCLR on CIFAR-10, {len(runs)} seeds (thin) and their mean")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=5_000, help="of val")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--target", type=float)
    parser.add_argument("--lr", type=float, default=0.3)
    parser.add_argument("--warmup", type=float, default=1, help="epochs of linear warm-up; it and lr as on a laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of lightly's DataLoader")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train = datasets.load(args.dataset, "train", limit=args.images)
    val = datasets.load(args.dataset, "val", limit=args.cases)
    runs = [compare(args, seed, train, val) for seed in args.seeds]
    about = (f"{machine()}, {torch.get_num_threads()} threads, {args.workers} workers, {train.source}, "
             f"{len(train):,} images, {args.epochs} epochs, {len(val):,} of val, seeds {args.seeds}")
    rows = [{"seed": seed, "seconds": times, "knn": knn} for seed, (times, knn) in zip(args.seeds, runs, strict=True)]
    (args.out / "time_to_accuracy.json").write_text(json.dumps(
        {"about": about, "lr": args.lr, "warmup epochs": args.warmup, "temperature": TEMPERATURE, "batch size": BATCH,
         "runs": rows}, indent=1) + "\n")
    draw(runs, args.out / "time_to_accuracy.png")
    times, knn = mean_curves(runs)
    target, seconds = ratio(runs, args.target)
    if math.inf in seconds.values():
        sys.exit(f"not both reach {target}: they end at " + " and ".join(f"{knn[name][-1]:.3f}" for name in NAMES))
    print(f"\n{about}\n\n| | s per epoch | final kNN | s to {target:.3f} |\n|---|---|---|---|")
    for name in NAMES:
        print(f"| {name} | {sum(times[name]) / args.epochs:.1f} | {knn[name][-1]:.3f} | {seconds[name]:.0f} |")
    for goal in (*(step / 100 for step in range(math.ceil(100 * target) - 6, math.ceil(100 * target))), args.target):
        at, took = ratio(runs, goal)
        low, high = interval(runs, goal)
        print(f"to {at:.3f} ours takes {took['ours'] / took['lightly']:.2f} of the time ({low:.2f} to {high:.2f})")
    for name, values in knn.items():
        clock = itertools.accumulate(times[name])
        print(f"{name}: " + ", ".join(f"{t:.0f} s {value:.3f}" for t, value in zip(clock, values, strict=True)))


if __name__ == "__main__":
    main()
