"""Notebook 03, the paper's Table 1 on real retina photographs (RetinaMNIST, where it can be had), 28 px."""

from __future__ import annotations

from ..settings import Course
from .transfusion_chest import GPU
from .transfusion_table import run_table

TITLE = "Transfer to retina photographs (RetinaMNIST, moderate or worse): AUC by architecture and first weights"
CELLS = (("cbr_tiny", None, 15), ("cbr_small", None, 15), ("cbr_large_t", None, 15), ("resnet10", None, 15))


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each cell; grade 2 or above against the rest."""
    return run_table(course, "retinamnist", course.pick(smoke=(("cbr_tiny", None, 1),), laptop=CELLS, gpu=GPU))
