"""Notebook 03, the paper's Table 1 on made retina photographs: architecture × {random, transfer}, and more."""

from __future__ import annotations

from ..settings import Course
from .transfusion_table import run_table

TITLE = "Transfer to retina photographs made by code (moderate or worse): AUC by architecture and first weights"
CELLS = (("cbr_tiny", 32, 12), ("cbr_small", 32, 12), ("cbr_large_t", 32, 12), ("cbr_large_w", 32, 12),
         ("cbr_tiny", 64, 8), ("resnet10", 64, 8), ("efficientnet_lite0", 64, 3))
GPU = tuple((name, 128, 20) for name in ("cbr_tiny", "cbr_small", "cbr_large_t", "cbr_large_w", "resnet10",
                                         "efficientnet_lite0", "resnet18", "resnet50"))


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each cell, all labels; parts of a transfer; 2 and 10 % of the labels; 32, 64 and 128 px."""
    cells = course.pick(smoke=(("cbr_tiny", 32, 2),), laptop=CELLS, gpu=GPU)
    fine = course.pick(smoke=32, laptop=64, gpu=128)
    epochs = course.pick(smoke=2, laptop=8, gpu=20)
    few = (("cbr_tiny", fine, course.pick(smoke={0.5: 1}, laptop={0.02: 40, 0.1: 20}, gpu={0.02: 80, 0.1: 40})),
           ("efficientnet_lite0", fine, course.pick(smoke={}, laptop={0.02: 40, 0.1: 8}, gpu={0.02: 80, 0.1: 40})))
    sizes = tuple(("resnet10", size, epochs) for size in course.pick(smoke=(32,), laptop=(32, 64, 128),
                                                                     gpu=(32, 64, 128, 224)))
    return run_table(course, "retina", cells, parts=cells[:1], few=few, sizes=sizes)
