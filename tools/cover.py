"""The picture at the head of README.md: one image's neighbours under every f(x), and the scoreboard beside them.

    python tools/cover.py     (with CIFAR-10 at hand; two minutes)

The bars are read from data/results; the neighbours come from the 20,000 training images that the scoreboard's kNN votes
with. The image is not picked by hand: of the first 200 test images it is the one whose share of neighbours of its own
class lies closest, over all f(x), to the mean share.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib import pyplot as plt

from course_utils import datasets, plots, scoreboard
from course_utils.evaluation import nearest_neighbors
from course_utils.experiments.scoreboard_cifar10 import representations
from course_utils.settings import setup

ROOT = Path(__file__).resolve().parent.parent
CANDIDATES, NEIGHBOURS = 200, 8
NAMES = {"pixels": "01  pixels", "supervised (small, CIFAR-10)": "02  labels, CIFAR-10",
         "supervised (ImageNet)": "02  labels, ImageNet", "rotation": "04  rotation", "triplet": "05  triplet loss",
         "simclr": "06  SimCLR", "moco": "07  MoCo"}  # as in the scoreboard, and as in the picture


def draw() -> plt.Figure:
    """A row for each f(x): the image, its nearest neighbours (blue frame: same class), kNN accuracy on all of test."""
    functions, bank = representations(setup()), datasets.load("cifar10", "train", limit=20_000)
    queries = datasets.load("cifar10", "test")[:CANDIDATES]
    index = torch.stack([nearest_neighbors(functions[name][1](queries), functions[name][1](bank), NEIGHBOURS)[1]
                         for name in NAMES])  # [f, query, k]
    share = (bank.labels[index] == queries.labels[:, None]).float().mean(2)  # [f, query]
    typical = (share - share.mean(1, keepdim=True)).square().sum(0).argmin().item()

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), width_ratios=(1.6, 1))
    query = queries[torch.full((len(NAMES),), typical)]
    plots.neighbor_grid(query, bank, index[:, typical], axis=left, legend=False,
                        title=f"A test image ({query.classes[query.labels[0]]}) and its nearest; blue: same class")
    for text, name in zip(left.texts, NAMES.values(), strict=True):
        text.set_text(name)  # each row is the same image under another f(x)
    left.set_aspect("auto")  # both axes have the same height, so that a bar stands beside its row

    measured = scoreboard.table("scoreboard-cifar10")
    rows = [scoreboard.select(measured, feature=name, metric="kNN") for name in NAMES]
    plots.bars([""] * len(rows), [row["value"] for row in rows], [(row["low"], row["high"]) for row in rows],
               title=f"kNN accuracy, all {rows[0]['n']:,} test images", xlabel="95 % intervals", chance=0.1,
               axis=right)
    margin = (3 + 16) / (3 + 32)  # from the first row's centre to the edge, in rows of 32 pixels and a gap of 3
    right.set(ylim=(len(rows) - 1 + margin, -margin), yticks=[])
    return figure


if __name__ == "__main__":
    plots.as_picture(draw()).save(ROOT / "cover.png", "PNG", optimize=True)
