"""Time of training to a given kNN accuracy: `fit` against lightly's loop, same images, encoder, recipe and seed.

    python benchmarks/time_to_accuracy.py [--images 20000] [--epochs 10] [--target 0.5] [--seeds 0 1 2]

The two train in turns, an epoch each, so that whatever else the machine does slows both. kNN accuracy (k 20, τ 0.07)
is measured on val after every epoch and its time does not count. Times and accuracies are means over the seeds. Without
a target it is the lower of the two final accuracies. An epoch that crosses the target counts in part, by linear
interpolation.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import statistics

import peer
import torch
from torch import nn

from course_utils import datasets, encoders, evaluation, training
from course_utils.checkpoints import machine
from course_utils.datasets.imageset import ImageSet
from course_utils.experiments.pretrain import contrastive_views
from course_utils.methods import SimCLR

TEMPERATURE, BATCH = 0.2, 256
NAMES = ("ours", "lightly")


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
                         temperature=TEMPERATURE, workers=args.workers)
    times, knn = {name: [] for name in NAMES}, {name: [] for name in NAMES}

    def on_epoch(epoch: int, method: SimCLR) -> None:
        knn["ours"].append(accuracy(method.encoder))
        times["lightly"].append(next(theirs))
        knn["lightly"].append(accuracy(other))
        print(f"seed {seed}, epoch {epoch}: kNN {knn['ours'][-1]:.3f}, lightly's loop {knn['lightly'][-1]:.3f}",
              flush=True)

    history = training.fit(method, train, epochs=args.epochs, batch_size=BATCH, lr=args.lr, seed=seed,
                           on_epoch=on_epoch)
    times["ours"] = history.column("seconds")
    return times, knn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--cases", type=int, default=2_000, help="of val")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--target", type=float)
    parser.add_argument("--lr", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of lightly's DataLoader")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    train = datasets.load(args.dataset, "train", limit=args.images)
    val = datasets.load(args.dataset, "val", limit=args.cases)
    runs = [compare(args, seed, train, val) for seed in args.seeds]
    times, knn = ({name: [statistics.mean(values) for values in zip(*(run[k][name] for run in runs), strict=True)]
                   for name in NAMES} for k in (0, 1))  # of each epoch
    target = args.target or min(values[-1] for values in knn.values())
    print(f"\n{machine()}, {torch.get_num_threads()} threads, {args.workers} workers, {train.source}, {len(train):,} "
          f"images, {args.epochs} epochs, seeds {args.seeds}\n\n| | s per epoch | final kNN | s to {target:.3f} |\n"
          "|---|---|---|---|")
    reached = {name: seconds_to(target, times[name], knn[name]) for name in NAMES}
    for name, name_times in times.items():
        when = "never" if reached[name] is None else f"{reached[name]:.0f}"
        print(f"| {name} | {sum(name_times) / args.epochs:.1f} | {knn[name][-1]:.3f} | {when} |")
    if all(reached.values()):
        print(f"\nours takes {reached['ours'] / reached['lightly']:.2f} of the time")
    for name, values in knn.items():
        clock = itertools.accumulate(times[name])
        print(f"{name}: " + ", ".join(f"{t:.0f} s {value:.3f}" for t, value in zip(clock, values, strict=True)))


if __name__ == "__main__":
    main()
