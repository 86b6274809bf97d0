"""One command for the day a GPU is at hand: speed, memory and matrix-unit share of each method, then all tests on it.

    python benchmarks/gpu_check.py [--batch 512] [--steps 100] [--device cuda] [--no-tests]

ResNet-18 with the CIFAR stem at 32 px, `fit`'s own step in the device's own precision. Prints a Markdown
table; the exit status is that of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import torch
from step import noise
from torch.utils.flop_counter import FlopCounterMode

from course_utils import training
from course_utils.checkpoints import machine
from course_utils.experiments import pretrain
from course_utils.precision import autocast_dtype
from course_utils.settings import choose_device

TRAIN = 50_000  # images of CIFAR-10's train and val splits, as the published runs use them
PUBLISHED = {"simclr": "20 (A100, dkobak/simclr-cifar10)"}  # minutes per 100 epochs
# Dense bfloat16 (T4: float16) TFLOP/s of the matrix units, from NVIDIA's data sheets, by a part of the device's name.
PEAK = {"H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "L4": 121,
        "A10G": 70, "A10": 125, "RTX 4090": 165, "RTX 3090": 71, "V100": 125, "T4": 65}


def peak_flops(device: torch.device) -> float | None:
    """FLOP/s of this GPU's matrix units; None for one that is not in the list."""
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    return next((1e12 * value for part, value in PEAK.items() if set(part.split()) <= set(words)), None)


def measure(name: str, batch: int, steps: int, device: torch.device, profile: str) -> dict[str, float | None]:
    """images/s, peak GiB, share of the matrix units' peak and minutes per 100 epochs, of an epoch of `fit`."""
    torch.manual_seed(0)
    data = noise(batch * steps)
    method = pretrain.build(name, data, profile).to(device)
    on_gpu = device.type == "cuda"
    with contextlib.redirect_stdout(io.StringIO()):  # the progress bars
        training.fit(method, data[:2 * batch], epochs=1, batch_size=batch, lr=0.01)  # chooses kernels, fills caches
        with FlopCounterMode(display=False) as counter:
            training.fit(method, data[:batch], epochs=1, batch_size=batch, lr=0.01)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        started = time.perf_counter()
        training.fit(method, data, epochs=1, batch_size=batch, lr=0.01)  # ends with a look at the loss: synchronised
        seconds = time.perf_counter() - started
    rate, peak = batch * steps / seconds, peak_flops(device) if on_gpu else None
    return {"images/s": rate, "GiB": torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else None,
            "share": counter.get_total_flops() * steps / seconds / peak if peak else None,
            "minutes": 100 * TRAIN / rate / 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", default="gpu", choices=("gpu", "laptop"), help="laptop: its small encoder")
    parser.add_argument("--no-tests", action="store_true")
    args = parser.parse_args()
    try:
        device = choose_device(args.device)
    except ValueError:
        sys.exit(f"no device {args.device!r} here; to see that this runs: "
                 "--device cpu --profile laptop --batch 16 --steps 2 --no-tests")
    precision = str(autocast_dtype(device) or torch.float32).removeprefix("torch.")
    print(f"{machine()}, {device}, {precision}, {args.profile} profile's encoder, batch {args.batch}, "
          f"{args.steps} steps\n\n| method | images/s | peak GiB | share of the matrix units' peak | "
          "min per 100 epochs of 50,000 | published |\n|---|---|---|---|---|---|")
    for name in pretrain.METHODS:
        found = {key: "–" if value is None else f"{value:,.{digits}f}" for (key, value), digits in zip(
            measure(name, args.batch, args.steps, device, args.profile).items(), (0, 2, 3, 1), strict=True)}
        print(f"| {name} | " + " | ".join(found.values()) + f" | {PUBLISHED.get(name, '–')} |", flush=True)
    if not args.no_tests:  # tests/test_devices.py finds the accelerator by itself; the table stands, whatever they say
        tests = [sys.executable, "-m", "pytest", "-q"]
        sys.exit(subprocess.run(tests, cwd=Path(__file__).resolve().parent.parent).returncode)


if __name__ == "__main__":
    main()
