"""Notebook 03: the two tables of Raghu et al. 2019 on a task, with what the slide leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from ..settings import Course
from .runs import Sets
from .transfusion_runs import FEW_RATES, SETS, choose_rate, load_task, measured, source_row

Cell = tuple[str, int | None, int]  # architecture, side of the images in pixels (None: the source's), epochs


def run_table(course: Course, task: str, cells: Sequence[Cell], *, parts: Sequence[Cell] = (),
              few: Sequence[tuple[str, int | None, dict[float, int]]] = (),
              sizes: Sequence[Cell] = ()) -> tuple[list[dict], dict, str]:
    """All rows of a table, in the order: cells, source accuracies, parts, few labels, sizes.

    cells: random against transfer; the first with each kind of source chooses the learning rate on val. parts: cells
    for Mean Var and for the first blocks alone. few: (architecture, side, {share of the labels: epochs}). sizes: cells
    from random weights alone, for the resolution curve.
    """
    seeds = course.pick(smoke=2, laptop=3, gpu=3)
    sets: dict[int | None, Sets] = {}
    rates: dict[str, tuple[float, dict]] = {}

    def at(size: int | None) -> Sets:
        if size not in sets:
            sets[size] = load_task(course, task, size)
        return sets[size]

    def rate(architecture: str, start: str) -> float:
        kind = "ImageNet networks" if architecture in IMAGENET else "CBR and ResNet-10"
        key = f"{kind}, {'random' if start == 'random' else 'transfer'}"
        if key not in rates:
            name, size, epochs = next(cell for cell in cells if (cell[0] in IMAGENET) == (architecture in IMAGENET))
            rates[key] = choose_rate(course, task, at(size), architecture=name, size=size, epochs=epochs,
                                     start="random" if start == "random" else "transfer")
        return rates[key][0]

    def rows(architecture: str, start: str, size: int | None, epochs: int, **more) -> list[dict]:
        return measured(course, task, at(size), seeds, architecture=architecture, start=start, size=size,
                        epochs=epochs, lr=rate(architecture, start), **more)

    found = []
    for cell in cells:
        found += [row for start in ("random", "transfer") for row in rows(cell[0], start, *cell[1:])]
    for architecture in dict.fromkeys(cell[0] for cell in cells):
        found += source_row(course, architecture)
    for cell in parts:
        found += [row for start in ("mean and variance", "first two blocks") for row in rows(cell[0], start, *cell[1:])]
    few_rates = {}
    for architecture, size, shares in few:
        new, tried = few_rows(course, task, at(size), seeds, architecture, size, shares)
        found, few_rates = found + new, few_rates | tried
    for cell in sizes:
        found += rows(cell[0], "random", *cell[1:])
    settings = {"set": SETS[task], "batch_size": "64; 16 with few labels", "weight_decay": 1e-4,
                "val_auc_by_lr": {key: tried for key, (_, tried) in rates.items()} | few_rates}
    return _unique(found), settings, at(cells[0][1]).test.source


def few_rows(course: Course, task: str, sets: Sets, seeds: int, architecture: str, size: int | None,
             shares: dict[float, int]) -> tuple[list[dict], dict]:
    """Random against transfer with these {shares of the labels: epochs}, and what each rate reached on val.

    Each start and each number of labels chooses its own rate: one chosen on all labels ruins a transfer with few.
    """
    found, rates = [], {}
    for share, epochs in shares.items():
        labels = round(share * len(sets.train))
        for start in ("random", "transfer"):
            run = dict(architecture=architecture, start=start, size=size, epochs=epochs, labels=labels)
            lr, rates[f"{architecture}, {start}, {labels} labels"] = choose_rate(course, task, sets, FEW_RATES, **run)
            found += measured(course, task, sets, seeds, lr=lr, curve=False, **run)
    return found, rates


IMAGENET = ("efficientnet_lite0", "resnet18", "resnet50")  # whose source is ImageNet


def _unique(rows: list[dict]) -> list[dict]:
    """The rows without repetitions: a cell may belong to two parts of the table."""
    return [row for i, row in enumerate(rows) if row not in rows[:i]]
