"""How time and memory of training grow with batch, set size, queue length and image size; written and drawn.

    python benchmarks/growth.py [--quick] [--device cpu] [--out benchmarks]

Every point is measured in a process of its own, so that its peak memory is its own. Images are noise. Writes
growth.json and growth.png; a dashed line is what growth in proportion to the work would be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from step import noise

from course_utils import encoders, training
from course_utils.checkpoints import machine
from course_utils.experiments.moco_memory import forget_peak, peak
from course_utils.experiments.pretrain import contrastive_views
from course_utils.methods import MoCo, SimCLR

PIECE = 256  # views that the encoder sees at a time, where SimCLR works in pieces
GRID = {"batch": (64, 128, 256, 512, 1024, 2048, 4096), "batch, in pieces": (256, 1024, 2048, 4096),
        "images": (5_000, 10_000, 20_000, 50_000), "queue": (1024, 4096, 16_384, 65_536), "pixels": (32, 64, 96, 128)}
QUICK = {"batch": (8, 16), "batch, in pieces": (8, 16), "images": (64, 128), "queue": (32, 64), "pixels": (16, 32)}


def measure(axis: str, value: int, device: str, quick: bool) -> dict[str, float]:
    """ms per image, of the faster of two epochs of `fit` (one of a large set), and peak MiB beyond a fit on two."""
    where = torch.device(device)
    batch = value if axis.startswith("batch") else 16 if quick else 64 if axis == "pixels" else 256
    n = value if axis == "images" else batch * (1 if quick else max(2, 1024 // batch))
    size = value if axis == "pixels" else 32
    torch.manual_seed(0)
    encoder = encoders.resnet10("fast", width=4 if quick else 32)
    parts = dict(augment=contrastive_views(size), head=encoders.projection_head(encoder.feature_dim), temperature=0.2)
    if axis == "queue":
        method = MoCo(encoder, **parts, queue_length=value).to(where)
    else:
        method = SimCLR(encoder, **parts, micro_batch=PIECE if "pieces" in axis else None).to(where)
    training.fit(method, noise(2), epochs=1, batch_size=2, lr=0.01)  # the libraries' own memory, and their warming up
    forget_peak(where)
    before, data = peak(where), noise(n, size)
    history = training.fit(method, data, epochs=1 + (n <= 10_000), batch_size=batch, lr=0.01)
    return {"ms per image": 1e3 * min(history.column("seconds")) / (n // batch * batch),
            "peak MiB": (peak(where) - before) / 2**20}


def draw(found: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Two rows of panels: time of training on an image, and peak memory, against each of the four axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    axes_of = {"batch": "images per batch", "images": "images in the set", "queue": "keys in the queue",
               "pixels": "pixels on a side"}
    figure, panels = plt.subplots(2, len(axes_of), figsize=(13, 6), sharex="col", sharey="row", layout="constrained")
    for column, (axis, label) in enumerate(axes_of.items()):
        for row, quantity in enumerate(("ms per image", "peak MiB")):
            panel = panels[row, column]
            for name, style in ((axis, "o-"), (f"{axis}, in pieces", "s-")):
                if name in found:
                    points = [found[name][value][quantity] for value in found[name]]
                    panel.plot(list(found[name]), points, style, label=name)
            x, first = list(found[axis]), found[axis][next(iter(found[axis]))][quantity]
            power = 2 if axis == "pixels" else int(row and axis == "batch")  # of x, in the work or bytes of an image
            panel.plot(x, [first * (value / x[0]) ** power for value in x], "k--", lw=1, label="in proportion")
            panel.set(xscale="log", yscale="log", xlabel=label if row else None, ylabel=None if column else quantity)
            panel.set_xticks(x[::2] if len(x) > 4 else x, [f"{value:,}" for value in (x[::2] if len(x) > 4 else x)])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.legend(fontsize=7)
    for row, ticks in ((0, (0.5, 1, 2, 5, 10)), (1, (50, 100, 200, 500, 1000, 2000))):
        panels[row, 0].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    figure.suptitle(f"Training with the laptop encoder; {machine()}")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*json.loads(args.child), args.device, args.quick)))
        return
    found = {}
    print(f"{machine()}\n\n| | | ms per image | peak MiB |\n|---|---|---|---|")
    for axis, values in (QUICK if args.quick else GRID).items():
        for value in values:
            command = [sys.executable, __file__, "--device", args.device, "--child", json.dumps([axis, value])]
            answer = subprocess.run(command + ["--quick"] * args.quick, capture_output=True, text=True)
            if answer.returncode:
                raise RuntimeError(f"{axis} {value} failed:\n{answer.stderr[-2000:]}")
            point = json.loads(answer.stdout.splitlines()[-1])
            found.setdefault(axis, {})[value] = point
            print(f"| {axis} | {value:,} | {point['ms per image']:.2f} | {point['peak MiB']:.0f} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "growth.json").write_text(json.dumps({"machine": machine(), "found": found}, indent=1) + "\n")
    draw(found, args.out / "growth.png")


if __name__ == "__main__":
    main()
