"""Notebook 03, the paper's Table 2: five pathologies in chest X-rays (ChestMNIST, where it can be had), 28 px."""

from __future__ import annotations

from ..settings import Course
from .transfusion_chest import GPU
from .transfusion_table import run_table

TITLE = "Transfer to five pathologies in chest X-rays (ChestMNIST): AUC by architecture and first weights"
CELLS = (("cbr_tiny", None, 5), ("cbr_small", None, 5), ("cbr_large_t", None, 5), ("resnet10", None, 5))


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each cell; 10,000 training images on a laptop."""
    return run_table(course, "chestmnist", course.pick(smoke=(("cbr_tiny", None, 1),), laptop=CELLS, gpu=GPU))
