"""A SimCLR step of `fit` against its encoder, head and loss alone, and against lightly's loop with a DataLoader.

    python benchmarks/step.py [--batch 256] [--steps 8] [--repeats 5] [--workers 2] [--device cpu]

Each contender trains for an epoch of `steps` batches, in turns within one run; the table gives medians. "alone" starts
from views that are made and on the device: no augmentation, no indexing, no progress bar. lightly's loop has the same
encoder, head, autocast and optimiser; its workers start before its first epoch, which does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import os
import statistics
import time

import peer
import torch

from course_utils import encoders, training
from course_utils.checkpoints import machine
from course_utils.datasets.imageset import ImageSet
from course_utils.experiments.pretrain import contrastive_views
from course_utils.losses import nt_xent
from course_utils.methods import SimCLR
from course_utils.precision import autocast_dtype

LR, TEMPERATURE = 0.1, 0.2


def noise(n: int, size: int = 32) -> ImageSet:
    """Images of noise: the time of a step does not depend on what they show."""
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    return ImageSet(images, torch.zeros(n, dtype=torch.int64), ("a", "b"), "noise", "made by this benchmark")


def alone(method: SimCLR, views: torch.Tensor, steps: int) -> None:
    """`steps` updates of encoder and head on the same views [2B, 3, H, W]."""
    optimizer = torch.optim.SGD(method.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, nesterov=True)
    dtype = autocast_dtype(views.device)
    method.train()
    for _ in range(steps):
        with torch.autocast(views.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            loss = nt_xent(*method.head(method.encoder(views)).chunk(2), TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # waits for the device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="images per batch")
    parser.add_argument("--steps", type=int, default=8, help="batches per epoch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of lightly's DataLoader")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    data = noise(args.steps * args.batch).to(args.device)
    encoder = encoders.resnet10("fast").to(args.device, memory_format=torch.channels_last)
    head = encoders.projection_head(encoder.feature_dim).to(args.device)
    method = SimCLR(encoder, augment=contrastive_views(32), head=head, temperature=TEMPERATURE)
    views = torch.cat([data.float_images()[:args.batch]] * 2).contiguous(memory_format=torch.channels_last)
    theirs = peer.epochs(copy.deepcopy(encoder), copy.deepcopy(head), data.images.cpu(), count=args.repeats + 1,
                         batch=args.batch, lr=LR, temperature=TEMPERATURE, workers=args.workers)
    calls = {"fit, the whole step": lambda: training.fit(method, data, epochs=1, batch_size=args.batch, lr=LR),
             "encoder, head and loss alone": lambda: alone(method, views, args.steps),
             "lightly's loop": lambda: next(theirs)}
    times = {name: [] for name in calls}
    for repeat in range(args.repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):  # fit's progress bar
                call()
            if repeat:  # the first round warms up
                times[name].append((time.perf_counter() - started) / args.steps)
    whole = statistics.median(times["fit, the whole step"])
    print(f"{machine()}, {torch.get_num_threads()} threads, {args.workers} workers, batch {args.batch}\n")
    print("|  | ms per step | images/s | speed of fit against it |\n|---|---|---|---|")
    for name, seconds in times.items():
        t = statistics.median(seconds)
        print(f"| {name} | {1e3 * t:.0f} | {args.batch / t:,.0f} | {t / whole:.2f} |")


if __name__ == "__main__":
    main()
