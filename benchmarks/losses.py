"""NT-Xent, forward and backward, against lightly's and pytorch-metric-learning's: time and peak memory.

    python benchmarks/losses.py [--pairs 256 1024 4096] [--dim 128] [--repeats 9] [--limit-gib 12]

Memory is measured in a process of its own for each loss and size, over what it held before the call; one that would
need more than the limit is reported so. Times are medians of calls in turns within one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from course_utils.checkpoints import machine
from course_utils.experiments.moco_memory import forget_peak, peak
from course_utils.losses import nt_xent

CPU, TEMPERATURE = torch.device("cpu"), 0.5


def contender(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of that name, as a function of two views [B, D]."""
    if name == "course_utils":
        return lambda z1, z2: nt_xent(z1, z2, TEMPERATURE)
    if name == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(TEMPERATURE)
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(TEMPERATURE))


def views(pairs: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    z1 = torch.randn(pairs, dim)
    return z1.requires_grad_(), (z1.detach() + torch.randn(pairs, dim)).requires_grad_()


def memory(name: str, pairs: int, dim: int, limit_gib: float) -> float | None:
    """Peak MiB of one call and its backward, measured in a process of its own; None beyond the limit."""
    command = [sys.executable, __file__, "--child", json.dumps([name, pairs, dim, limit_gib])]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode and "memory" not in answer.stderr.lower():
        raise RuntimeError(answer.stderr[-2000:])
    return None if answer.returncode else json.loads(answer.stdout.splitlines()[-1])


def child(name: str, pairs: int, dim: int, limit_gib: float) -> float:
    import resource

    loss = contender(name)
    loss(*views(4, dim)).backward()  # what the libraries themselves need
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gib * 2**30),) * 2)  # an error, and not the kernel's killer
    z1, z2 = views(pairs, dim)
    forget_peak(CPU)
    before = peak(CPU)
    loss(z1, z2).backward()
    return (peak(CPU) - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit-gib", type=float, default=12)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(*json.loads(args.child))))
        return
    print(f"{machine()}, {torch.get_num_threads()} threads, {args.dim} dimensions, forward and backward\n")
    print("| pairs | loss | ms | peak MiB | time, ours is 1 | memory, ours is 1 |\n|---|---|---|---|---|---|")
    for pairs in args.pairs:
        names = ["course_utils", "lightly", "pytorch-metric-learning"]
        peaks = {name: memory(name, pairs, args.dim, args.limit_gib) for name in names}
        losses = {name: contender(name) for name in names if peaks[name] is not None}
        times = {name: [] for name in losses}
        for _ in range(args.repeats + 1):
            for name, loss in losses.items():
                if sum(times[name]) > 20:  # one of them takes seconds even for 256 pairs
                    continue
                z1, z2 = views(pairs, args.dim)
                started = time.perf_counter()
                loss(z1, z2).backward()
                times[name].append(time.perf_counter() - started)
        medians = {name: statistics.median(seconds[1:] or seconds) for name, seconds in times.items()}
        for name in names:
            if name not in medians:
                print(f"| {pairs:,} | {name} | – | over {args.limit_gib * 1024:,.0f} | – | – |")
                continue
            print(f"| {pairs:,} | {name} | {1e3 * medians[name]:.1f} | {peaks[name]:.1f} "
                  f"| {medians[name] / medians['course_utils']:.2f} "
                  f"| {peaks[name] / max(peaks['course_utils'], 0.1):.2f} |")


if __name__ == "__main__":
    main()
