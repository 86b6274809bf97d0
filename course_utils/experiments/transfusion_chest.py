"""Notebook 03, pneumonia in chest X-rays of 28 px: architecture × {random, transfer}, and more."""

from __future__ import annotations

from ..settings import Course
from .transfusion_table import run_table

TITLE = "Transfer to chest X-rays (PneumoniaMNIST): AUC by architecture and first weights"
CELLS = (("cbr_tiny", None, 8), ("cbr_small", None, 8), ("cbr_large_t", None, 8), ("cbr_large_w", None, 4),
         ("resnet10", None, 8), ("efficientnet_lite0", 64, 2))
GPU = tuple((name, None if name.startswith("cbr") or name == "resnet10" else 64, 20)
            for name in ("cbr_tiny", "cbr_small", "cbr_large_t", "cbr_large_w", "resnet10", "efficientnet_lite0",
                         "resnet18", "resnet50"))


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each cell, all labels; parts of a transfer; 2 and 10 % of the labels."""
    cells = course.pick(smoke=(("cbr_tiny", None, 2),), laptop=CELLS, gpu=GPU)
    few = (("cbr_tiny", None, course.pick(smoke={0.5: 1}, laptop={0.02: 40, 0.1: 20}, gpu={0.02: 80, 0.1: 40})),
           ("efficientnet_lite0", 64, course.pick(smoke={}, laptop={0.02: 40, 0.1: 8}, gpu={0.02: 80, 0.1: 40})))
    return run_table(course, "chest", cells, parts=(("cbr_tiny", None, course.pick(smoke=2, laptop=8, gpu=20)),),
                     few=few)
