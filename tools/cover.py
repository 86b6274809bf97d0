"""The picture at the head of README.md: one image's neighbours under every f(x), and the scoreboard beside them.

    python tools/cover.py     (with CIFAR-10 at hand; two minutes)

The bars are read from data/results; the neighbours come from the 20,000 training images that the scoreboard's kNN votes
with. The image is not picked by hand: of the first 200 test images it is the one whose share of neighbours of its own
class lies closest, over all f(x), to the mean share.
"""

from __future__ import annotations

import io
from pathlib import Path

import PIL.Image
import torch
from matplotlib import pyplot as plt

from course_utils import datasets, plots, scoreboard
from course_utils.evaluation import nearest_neighbors
from course_utils.experiments.scoreboard_cifar10 import representations
from course_utils.settings import setup

ROOT = Path(__file__).resolve().parent.parent
CANDIDATES, NEIGHBOURS, GAP = 200, 8, 5
NAMES = {"pixels": "01  pixels", "supervised (small, CIFAR-10)": "02  labels, CIFAR-10",
         "supervised (ImageNet)": "02  labels, ImageNet", "rotation": "04  rotation", "triplet": "05  triplet loss",
         "simclr": "06  SimCLR", "moco": "07  MoCo"}  # as in the scoreboard, and as in the picture


def draw() -> plt.Figure:
    """A row for each f(x): the image, its nearest neighbours (blue frame: same class), kNN accuracy on all of test."""
    functions, bank = representations(setup()), datasets.load("cifar10", "train", limit=20_000)
    queries = datasets.load("cifar10", "test")[:CANDIDATES]
    index = torch.stack([nearest_neighbors(functions[name][1](queries), functions[name][1](bank), NEIGHBOURS)[1]
                         for name in NAMES])  # [f, query, k]
    same = bank.labels[index] == queries.labels[:, None]
    share = same.float().mean(2)  # [f, query]
    typical = (share - share.mean(1, keepdim=True)).square().sum(0).argmin()
    index, same, label = index[:, typical], same[:, typical], queries.labels[typical]

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), width_ratios=(1.6, 1))
    pictures = torch.cat([torch.cat([queries.images[typical][None], bank.images[row]]) for row in index])
    frames = [frame for row in same for frame in (plots.BLACK, *(plots.BLUE if hit else None for hit in row))]
    centres = plots.montage(left, pictures, NEIGHBOURS + 1, gap=GAP, frames=frames).reshape(len(NAMES), -1, 2)
    left.set_aspect("auto")  # both axes have the same height, so that a bar stands beside its row
    for row, name in zip(centres, NAMES.values(), strict=True):
        left.text(-4, row[0, 1], name, ha="right", va="center", fontsize=12)
    left.set_title(f"A test image ({queries.classes[label]}) and its nearest; blue: same class", loc="left")

    measured = scoreboard.table("scoreboard-cifar10")
    rows = [scoreboard.select(measured, feature=name, metric="kNN") for name in NAMES]
    plots.bars([""] * len(rows), [row["value"] for row in rows], [(row["low"], row["high"]) for row in rows],
               title=f"kNN accuracy, all {rows[0]['n']:,} test images", xlabel="95 % intervals", chance=0.1,
               axis=right)
    margin = (GAP + 16) / (GAP + 32)  # from the first row's centre to the edge, in rows
    right.set(ylim=(len(rows) - 1 + margin, -margin), yticks=[])
    return figure


def main() -> None:
    drawn = io.BytesIO()
    draw().savefig(drawn, format="png", dpi=110, bbox_inches="tight")
    PIL.Image.open(drawn).convert("RGB").quantize(256).save(ROOT / "cover.png", "PNG", optimize=True)


if __name__ == "__main__":
    main()
