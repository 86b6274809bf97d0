"""Notebook 07: memory and time at equal numbers of negatives, as in the lecture's Table 3 (MoCo v2)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from .. import datasets
from ..settings import Course
from .moco_runs import DEFAULT, build
from .runs import once

TITLE = "Memory and time of a training step at equal numbers of negatives, laptop encoder"
WAYS = ("MoCo", "end-to-end", "end-to-end, micro-batches")  # end-to-end: SimCLR, whose negatives are the batch
SMALL = 128  # MoCo's batch, and the micro-batch, in images


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Peak memory beyond the idle process's, and images per second, each in a process of its own."""
    source = datasets.load("cifar10", "val", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000)).source
    rows = []
    for negatives in course.pick(smoke=(126,), laptop=(254, 1022, 4094), gpu=(254, 1022, 4094, 16382)):
        for way in WAYS:
            batch = min(SMALL, negatives // 2 + 1) if way == "MoCo" else negatives // 2 + 1  # 2B - 2 negatives
            repeats = course.pick(smoke=1, laptop=3, gpu=10)
            settings = dict(way=way, negatives=negatives, batch=batch, repeats=repeats, device=course.device.type)
            found = once(course, "moco-memory", settings, lambda s=settings: in_own_process(s))
            print(way, negatives, found, flush=True)
            for quantity, value in found.items():
                rows.append({"way": way, "negatives": negatives, "batch": batch, "quantity": quantity, "value": value,
                             "low": None, "high": None, "n": repeats, "seeds": 1})
    return rows, {"micro_batch": SMALL, "threads": torch.get_num_threads()}, source


def in_own_process(settings: dict) -> dict[str, float]:
    """`measure(settings)` in a new Python, where nothing else has yet asked for memory."""
    answer = subprocess.run([sys.executable, "-m", __name__, json.dumps(settings)], capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"measuring {settings} failed:\n{answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def measure(settings: dict) -> dict[str, float]:
    """Peak MiB of a step beyond a step of two images, and images/s (the best of the repeats: others share the machine).

    The images are noise: time and memory do not depend on what they show.
    """
    device = torch.device(settings["device"])
    variant = {**DEFAULT, "seed": 0, "queue_length": settings["negatives"],
               "method": "moco" if settings["way"] == "MoCo" else "simclr"}
    method = build(variant, 32).to(device, memory_format=torch.channels_last)
    if "micro" in settings["way"]:
        method.micro_batch = SMALL
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    step(method, optimizer, torch.rand(2, 3, 32, 32, device=device))  # the optimizer's and the libraries' own memory
    forget_peak(device)
    before, seconds = peak(device), []
    for _ in range(settings["repeats"]):
        images = torch.rand(settings["batch"], 3, 32, 32, device=device)
        started = time.perf_counter()
        step(method, optimizer, images)
        seconds.append(time.perf_counter() - started)
    return {"peak MiB": (peak(device) - before) / 2**20, "images per second": settings["batch"] / min(seconds)}


def step(method: torch.nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    loss = method(images)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()  # waits for the device


def forget_peak(device: torch.device) -> None:
    """From now on `peak` counts from what is held at this moment (on macOS: from the peak of the start-up)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """The most bytes held so far: by tensors on a GPU, by the process on a CPU (Linux and macOS)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":  # not getrusage: its peak begins with that of the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
